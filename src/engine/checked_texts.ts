/** Short texts that users give with a call: bounded, and such as Postgres can hold, so that they are refused by name. */
import { HitzeroError } from "../base/errors.ts";

/** Characters. A scope names up to 16 bodies. */
export const TEXT_LIMITS = {
  tag: 128,
  tags: 100,
  idempotencyKey: 255,
  by: 128,
  scope: 2_400,
  signal: 128,
} as const;

/** @throws HitzeroError BAD_TEXT for what is no text, empty (unless it may be), too long, or holds NUL or half a surrogate pair */
export function checkText(what: string, text: unknown, most: number, mayBeEmpty = false): void {
  const refuse = (reason: string): never => {
    throw new HitzeroError("BAD_TEXT", `${what} ${reason}`, {
      hint: `It takes up to ${most} characters of text.`,
    });
  };
  if (typeof text !== "string") refuse("is no text");
  else if (text === "" && !mayBeEmpty) refuse("is empty");
  else if (text.length > most) refuse(`has ${text.length} characters; the limit is ${most}`);
  else if (text.includes("\u0000") || !text.isWellFormed()) refuse("holds a character that cannot be stored");
}

/** @throws HitzeroError BAD_TEXT */
export function checkTags(tags: readonly unknown[]): void {
  if (tags.length > TEXT_LIMITS.tags) {
    const message = `a run has ${tags.length} tags; the limit is ${TEXT_LIMITS.tags}`;
    throw new HitzeroError("BAD_TEXT", message, { hint: "Put what is not searched for into the input." });
  }
  for (const tag of tags) checkText("a tag", tag, TEXT_LIMITS.tag);
}
