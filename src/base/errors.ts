/**
 * The coded errors of hitzero.
 *
 * Two kinds of failure exist. Expected ones (bad input, a server away, a handler that throws) are `HitzeroError`s:
 * they carry a code, what happened, where, and what to do. A broken invariant is a plain assertion (`assert.ts`).
 */

/** One thing that is wrong with an input, with its place. Faults are collected, so that all are reported at once. */
export interface Fault {
  /** Stable code in CAPITALS, documented in docs/errors.md. */
  code: string;
  /** Where: a JSON path such as `$.edges[3].to`, or `line 4, column 2` for text that does not parse. */
  path: string;
  /** What is wrong, in one sentence. Never holds secrets or run data. */
  message: string;
  /** What to do about it. */
  hint: string;
}

/** By process exit code: 1 it failed, 2 invalid input or usage, 3 a server is away; the rest: 128 and the number of the signal that came. */
export type ExitCode = 1 | 2 | 3 | SignalExitCode;
/** SIGHUP, SIGINT, SIGTERM, as shells have them. */
export type SignalExitCode = 129 | 130 | 143;

export interface HitzeroErrorOptions {
  hint?: string;
  exitCode?: ExitCode;
  cause?: unknown;
}

/** An expected failure: code, message, hint. `message` and `hint` never hold secrets. */
export class HitzeroError extends Error {
  readonly code: string;
  readonly hint: string;
  readonly exitCode: ExitCode;

  constructor(code: string, message: string, options: HitzeroErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "HitzeroError";
    this.code = code;
    this.hint = options.hint ?? "";
    this.exitCode = options.exitCode ?? 2;
  }
}

/** Input that was refused, with every fault that was found in it. */
export class InvalidInputError extends HitzeroError {
  readonly faults: readonly Fault[];

  constructor(what: string, faults: readonly Fault[]) {
    super("INVALID_INPUT", `${what} has ${faults.length} ${faults.length === 1 ? "fault" : "faults"}`, {
      hint: "Correct each fault listed and try again.",
    });
    this.name = "InvalidInputError";
    this.faults = faults;
  }
}
