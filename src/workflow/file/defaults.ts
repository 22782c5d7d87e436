/** Every default of a workflow file, in this one place. Documented in the published JSON Schema. */
import type { IRRetry } from "../ir/ir.ts";

export const DEFAULTS = {
  /** Per attempt, milliseconds. */
  nodeTimeoutMs: 5 * 60_000,
  triggerRule: "none_failed_min_one_success",
  queue: "default",
  /** Of a node: lower goes first. Of an edge: lower is looked at first. */
  priority: 0,
  edgeOn: "success",
  conditionalMode: "first",
  httpMethod: "GET",
  httpExpectStatus: "2xx",
  httpFollowRedirects: true,
  httpResponse: "auto",
  mapConcurrency: 1_000,
  toleratedFailures: 0,
  /** No limit of the whole run. */
  runTimeoutMs: 0,
  /** No limit. */
  maxParallelNodes: 0,
  failFast: false,
  /** When `retry` is given without it. */
  maxAttempts: 3,
  backoffMs: 1_000,
  backoffMultiplier: 2,
  maxBackoffMs: 60_000,
  jitter: true,
} as const;

/** The retry policy of a node that has no `retry`: one attempt, but three for `http`, whose failures are often short. */
export function retryWithoutPolicy(type: string): IRRetry {
  return {
    max_attempts: type === "http" ? DEFAULTS.maxAttempts : 1,
    backoff_ms: DEFAULTS.backoffMs,
    backoff_multiplier: DEFAULTS.backoffMultiplier,
    max_backoff_ms: DEFAULTS.maxBackoffMs,
    jitter: DEFAULTS.jitter,
  };
}
