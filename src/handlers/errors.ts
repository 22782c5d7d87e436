/** What a handler may throw to say how its failure is to be taken. */
import { HitzeroError, type HitzeroErrorOptions } from "../base/errors.ts";
import { isOf, read } from "../base/foreign.ts";
import { LIMITS } from "../workflow/limits.ts";
import { recordedCode } from "./thrown.ts";

/** The attempt failed and another would fail too: no retry, whatever the node's policy. */
export class NonRetryableError extends Error {
  /** Stable code for conditions and the record; default NON_RETRYABLE. */
  readonly code: string;

  constructor(message: string, options: { code?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "NonRetryableError";
    this.code = options.code ?? "NON_RETRYABLE";
  }
}

/** The attempt failed and is to be tried again after this delay, if the node's policy has attempts left. */
export class RetryAfterError extends Error {
  readonly code: string;
  /** Milliseconds, as they were given: see `requestedDelayMs`. */
  readonly delayMs: number;

  constructor(message: string, delayMs: number, options: { code?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RetryAfterError";
    this.code = options.code ?? "RETRY_AFTER";
    this.delayMs = delayMs;
  }
}

/** A failure of one of hitzero's own node types, which knows whether another attempt may mend it. */
export class AttemptError extends HitzeroError {
  readonly retryable: boolean;
  /** Milliseconds until the next attempt; undefined: as the node's policy says. */
  readonly delayMs: number | undefined;

  constructor(
    code: string,
    message: string,
    options: HitzeroErrorOptions & { retryable: boolean; delayMs?: number | undefined },
  ) {
    super(code, message, options);
    this.retryable = options.retryable;
    this.delayMs = options.delayMs;
  }
}

/** Codes of hitzero's own failures that another attempt cannot mend. */
const FINAL_CODES = new Set([
  "CHILD_CANCELLED",
  "CHILD_FAILED",
  "LOOP_EXHAUSTED",
  "MAP_FAILED",
  "MAP_NOT_A_LIST",
  "MAP_TOO_LARGE",
  "RECURSION_LIMIT",
  "SIGNAL_TIMED_OUT",
  "WAIT_NOT_A_TIME",
  "WORKFLOW_NOT_FOUND",
  "CONDITION_FAILED",
  "DEAD_LETTER",
  "EXPRESSION_FAILED",
  "FILTER_NOT_A_LIST",
  "HANDLER_NOT_FOUND",
  "NOT_SUPPORTED_YET",
  "OUTPUT_NOT_JSON",
  "OUTPUT_TOO_DEEP",
  "OUTPUT_TOO_LARGE",
  "AGGREGATE_NOT_A_NUMBER",
  "AGGREGATE_NOT_AN_OBJECT",
]);

/** May what was thrown be tried again? Handlers are loaded in a module world of their own, so names count, not classes. */
export function isRetryable(thrown: unknown): boolean {
  if (isOf(thrown, AttemptError)) return thrown.retryable;
  return read(thrown, "name") !== "NonRetryableError" && !FINAL_CODES.has(recordedCode(thrown));
}

/**
 * The delay that a RetryAfterError or an AttemptError asks for: whole milliseconds, from 0 to the longest time limit of a node. What is
 * no number (a text, NaN) asks for nothing: undefined, the node's policy holds.
 */
export function requestedDelayMs(thrown: unknown): number | undefined {
  const delayMs = read(thrown, "delayMs");
  const mayAsk = isOf(thrown, AttemptError) || read(thrown, "name") === "RetryAfterError";
  if (!mayAsk || typeof delayMs !== "number" || Number.isNaN(delayMs)) return undefined;
  return Math.round(Math.min(Math.max(delayMs, 0), LIMITS.timeoutMs));
}
