/** Waiting that can be cut short. */

/** Resolves after `ms`, or at once when `signal` is aborted. Never rejects. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
  });
}

/** Answers as `work` does, or undefined when `signal` is aborted before; what becomes of the work then is no news. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const ended = new AbortController();
  const aborted = new Promise<undefined>((resolve) => {
    const done = () => resolve(undefined);
    if (signal.aborted) return done();
    signal.addEventListener("abort", done, { once: true, signal: ended.signal });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    ended.abort();
  }
}

/** A bell: `rung()` resolves at the next `ring()`. */
export class Bell {
  #waiting: (() => void)[] = [];

  ring(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  rung(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Resolves at the next `ring()`, after `ms`, or when `signal` is aborted; no timer stays behind. */
  async rungWithin(ms: number, signal?: AbortSignal): Promise<void> {
    const over = new AbortController();
    const end = () => over.abort();
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted) end();
    await Promise.race([this.rung(), pause(ms, over.signal)]);
    signal?.removeEventListener("abort", end);
    end();
  }
}
