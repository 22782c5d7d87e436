/** Texts that come from outside (messages of errors, stacks), made fit to be stored and shown. */

const LONGEST = 8_192;

/** Passwords in URLs are replaced, NUL and lone surrogates (which jsonb refuses) too; overlong texts are cut. */
export function presentable(text: string): string {
  const cut =
    text.length > LONGEST ? `${text.slice(0, LONGEST)}… (${text.length - LONGEST} more characters)` : text;
  return cut
    .replaceAll("\u0000", "\u2400")
    .toWellFormed()
    .replaceAll(/(:\/\/[^\s/:@]*):[^\s@/]+@/g, "$1:***@");
}
