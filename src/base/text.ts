/** Texts that come from outside (messages of errors, stacks), made fit to be stored and shown. */

const LONGEST = 8_192;

/** Passwords in URLs are replaced (up to the last @, as they may hold one), NUL and lone surrogates (which jsonb refuses) too; overlong texts are cut. */
export function presentable(text: string): string {
  const cut =
    text.length > LONGEST ? `${text.slice(0, LONGEST)}… (${text.length - LONGEST} more characters)` : text;
  return storable(cut)
    .replaceAll(/(:\/\/[^\s/:]*):\S+@/g, "$1:***@")
    .replaceAll(/([?&]password=)[^\s&#]+/g, "$1***");
}

/** What Postgres cannot hold, NUL and lone surrogates, is replaced. */
export function storable(text: string): string {
  return text.replaceAll("\u0000", "\u2400").toWellFormed();
}
