/** Short texts that users give with a call: bounded, and such as Postgres can hold, so that they are refused by name. */
import { HitzeroError } from "../base/errors.ts";
import { QUEUE_NAME } from "../workflow/file/node_configs.ts";
import { LIMITS } from "../workflow/limits.ts";

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

/** The queues that a worker is to read, each once. @throws HitzeroError BAD_QUEUE */
export function checkQueues(queues: readonly string[]): string[] {
  const refuse = (message: string): never => {
    throw new HitzeroError("BAD_QUEUE", message, {
      hint: "Names have letters, digits, _, . and -. On the command line commas separate them: --queues default,reports",
    });
  };
  if (!Array.isArray(queues) || queues.length === 0) refuse("a worker reads one queue at least");
  const isName = (queue: unknown) =>
    typeof queue === "string" && queue.length <= LIMITS.idLength && QUEUE_NAME.test(queue);
  const bad = queues.find((queue) => !isName(queue));
  if (bad !== undefined) refuse(`${JSON.stringify(bad)} is no name of a queue`);
  return [...new Set(queues)];
}

/** @throws HitzeroError BAD_TEXT */
export function checkTags(tags: readonly unknown[]): void {
  if (tags.length > TEXT_LIMITS.tags) {
    const message = `a run has ${tags.length} tags; the limit is ${TEXT_LIMITS.tags}`;
    throw new HitzeroError("BAD_TEXT", message, { hint: "Put what is not searched for into the input." });
  }
  for (const tag of tags) checkText("a tag", tag, TEXT_LIMITS.tag);
}
