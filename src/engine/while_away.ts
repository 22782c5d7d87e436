/** One rule for a server that is away: what may be repeated is repeated, soon at first and then once a second, until somebody gives up. */
import type { HitzeroError } from "../base/errors.ts";
import { pause } from "../base/wait.ts";
import { isPostgresAway } from "../postgres/connection_errors.ts";
import { RedisAwayError } from "../redis/connection.ts";

export interface Waiting {
  /** Aborted when nobody waits any more. */
  signal: AbortSignal;
  /** How long, milliseconds. Default: until `signal` is aborted. */
  limitMs?: number;
  /** Told once, when it begins. */
  onAway?: (error: HitzeroError) => void;
}

/** Repeats a call while the server that it needs is away. @throws HitzeroError the call's own, when somebody gives up */
export async function whileAway<T>(
  { signal, limitMs = Number.POSITIVE_INFINITY, onAway }: Waiting,
  call: () => Promise<T>,
): Promise<T> {
  const begun = performance.now();
  for (let tries = 0; ; tries += 1) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof RedisAwayError || isPostgresAway(error))) throw error;
      if (signal.aborted || performance.now() - begun > limitMs) throw error;
      if (tries === 0) onAway?.(error);
      await pause(Math.min(50 * 2 ** Math.min(tries, 5), 1_000), signal);
    }
  }
}
