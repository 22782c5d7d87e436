/** When a failed attempt is tried again. Pure: the caller brings the random number. */
import type { IRRetry } from "../workflow/ir/ir.ts";

/**
 * Milliseconds until the attempt after `attempt` (from 1): exponential, bounded by `max_backoff_ms`. With jitter it is spread evenly over
 * the upper half, which keeps a herd apart and the wait near its target ("equal jitter", M. Brooker, "Exponential Backoff And Jitter",
 * AWS Architecture Blog, 2015). `random` is in [0, 1).
 */
export function backoffMs(retry: IRRetry, attempt: number, random: number): number {
  // The power of a late attempt is Infinity: bounded before it meets a back-off of 0, of which it would make NaN.
  const factor = Math.min(retry.backoff_multiplier ** (attempt - 1), Number.MAX_VALUE);
  const full = Math.min(retry.backoff_ms * factor, retry.max_backoff_ms);
  return Math.round(retry.jitter ? full / 2 + (full / 2) * random : full);
}
