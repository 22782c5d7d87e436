import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 10;

/** How long a test waits for what must happen. Only a hang takes so long, also on a slow and busy machine. */
export const LIMIT_MS = 90_000;

/** For waits of the client. */
export const withinLimit = (): AbortSignal => AbortSignal.timeout(LIMIT_MS);

/**
 * Waits for a fact: asks again and again until the answer is neither undefined nor false, and returns it.
 *
 * @param what the fact in words, for the error when `limitMs` passes; the last error of `fact`, if any, is its cause
 */
export async function until<T>(
  fact: () => Promise<T | undefined | false> | T | undefined | false,
  what: string,
  limitMs: number = LIMIT_MS,
): Promise<T> {
  const limit = performance.now() + limitMs;
  let lastError: unknown;
  for (;;) {
    try {
      const answer = await fact();
      if (answer !== undefined && answer !== false) return answer;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > limit) throw new Error(`not within ${limitMs} ms: ${what}`, { cause: lastError });
    await sleep(POLL_MS);
  }
}
