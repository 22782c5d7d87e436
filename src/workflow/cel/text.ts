/** Expressions of CEL as text. */

/** Offset after the CEL string that begins at `from`, or the text's end. Raw strings (`r"…"`) know no escapes. */
export function endOfString(text: string, from: number): number {
  const quote = text[from] as string;
  const triple = quote.repeat(3);
  const end = text.startsWith(triple, from) ? triple : quote;
  const isRaw = /(?:^|\W)(?:[rR][bB]?|[bB][rR])$/.test(text.slice(Math.max(0, from - 3), from));
  let at = from + end.length;
  while (at < text.length) {
    if (text[at] === "\\" && !isRaw) at += 2;
    else if (text.startsWith(end, at)) return at + end.length;
    else at += 1;
  }
  return text.length;
}

/**
 * CEL's grammar reserves the word `loop` without any use for it, and the library keeps to that; hitzero's variable has that
 * name. So the text that is parsed spells it otherwise, in as many characters: positions stay what they are.
 */
const LOOP_SPELLED = "l__p";

const WORD = /[A-Za-z0-9_]+/y;

/** The text as it is parsed: the identifier `loop` (no field, no part of a string or comment) as LOOP_SPELLED. */
export function spellLoop(source: string): string {
  if (!source.includes("loop")) return source;
  let spelled = "";
  let at = 0;
  while (at < source.length) {
    const from = at;
    const character = source[at] as string;
    WORD.lastIndex = at;
    if (character === '"' || character === "'") at = endOfString(source, at);
    else if (source.startsWith("//", at)) at = lineEnd(source, at);
    else at += WORD.exec(source)?.[0].length ?? 1;
    const piece = source.slice(from, at);
    spelled += piece === "loop" && !/\.\??\s*$/.test(spelled) ? LOOP_SPELLED : piece;
  }
  return spelled;
}

/** A message about the text that was parsed, in the author's spelling. */
export function unspellLoop(message: string): string {
  return message.replaceAll(LOOP_SPELLED, "loop");
}

function lineEnd(text: string, from: number): number {
  const end = text.indexOf("\n", from);
  return end === -1 ? text.length : end;
}
