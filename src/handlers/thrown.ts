/**
 * What a handler threw, as the record holds it. Handlers throw whatever they like, and reading it may run their code: of every
 * value there is an error, and none makes this throw.
 */

import { HitzeroError } from "../base/errors.ts";
import { describe, firstItems, isOf, read } from "../base/foreign.ts";
import { presentable } from "../base/text.ts";
import type { ErrorCause, ExecutionError } from "../token/journal.ts";

const CODE = /^[A-Z][A-Z0-9_]{0,63}$/;
/** The recorder acts on this one, so it is the engine's to give. */
const ENGINES_OWN = "DEAD_LETTER";
const MOST_CAUSES = 8;
const DEEPEST_CAUSE = 5;
const LONGEST_CAUSE = 1_000;
/** Of a stack's beginning, which repeats the message. */
const LONGEST_STACK_HEAD = 1_000;
const FIRST_FRAME = /\n {4}at /;

/** The record of a failed attempt, made of anything. */
export function errorOf(thrown: unknown, attempt: number, worker: string): ExecutionError {
  const stack = isOf(thrown, HitzeroError) ? undefined : stackOf(thrown);
  const causes = causesOf(thrown);
  return {
    code: recordedCode(thrown),
    message: messageOf(thrown) ?? presentable(`a value that is no Error was thrown: ${describe(thrown)}`),
    ...(stack === undefined ? {} : { stack }),
    ...(causes.length === 0 ? {} : { causes }),
    attempt,
    worker,
  };
}

/** What the record calls it. */
export function recordedCode(thrown: unknown): string {
  const code = codeOf(thrown);
  return code === undefined || (code === ENGINES_OWN && !isOf(thrown, HitzeroError)) ? "HANDLER_ERROR" : code;
}

function codeOf(thrown: unknown): string | undefined {
  const code = read(thrown, "code");
  return typeof code === "string" && CODE.test(code) ? code : undefined;
}

/** Its message, if it is an error: those of other realms (`vm`), and objects made like errors, count too. */
function messageOf(thrown: unknown): string | undefined {
  const message = typeof thrown === "object" ? read(thrown, "message") : undefined;
  if (message !== "") return message === undefined ? undefined : presentable(describe(message));
  const name = read(thrown, "name");
  return typeof name === "string" && name !== "" ? presentable(name) : "an error without a message";
}

function stackOf(thrown: unknown): string | undefined {
  const stack = read(thrown, "stack");
  if (typeof stack !== "string" || stack === "") return undefined;
  const frames = stack.search(FIRST_FRAME);
  const isLong = frames > LONGEST_STACK_HEAD;
  return presentable(isLong ? `${stack.slice(0, LONGEST_STACK_HEAD)}…${stack.slice(frames)}` : stack);
}

/** What led to it: `cause` and, of an AggregateError, `errors`, each followed by its own causes. */
function causesOf(thrown: unknown): ErrorCause[] {
  const causes: ErrorCause[] = [];
  const seen = new Set<unknown>([thrown]);
  const collect = (error: unknown, depth: number) => {
    if (typeof error !== "object" || depth > DEEPEST_CAUSE) return;
    for (const cause of [read(error, "cause"), ...firstItems(read(error, "errors"), MOST_CAUSES)]) {
      if (cause === undefined || cause === null || seen.has(cause) || causes.length === MOST_CAUSES) continue;
      seen.add(cause);
      causes.push(causeOf(cause, depth));
      collect(cause, depth + 1);
    }
  };
  collect(thrown, 1);
  return causes;
}

function causeOf(cause: unknown, depth: number): ErrorCause {
  const code = codeOf(cause);
  const message = messageOf(cause) ?? presentable(describe(cause));
  return {
    depth,
    ...(code === undefined ? {} : { code }),
    message: message.length > LONGEST_CAUSE ? `${message.slice(0, LONGEST_CAUSE)}…`.toWellFormed() : message,
  };
}
