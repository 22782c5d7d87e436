/**
 * Handlers of the pattern files beside this one. What a step would really do does not matter there, only when it is done:
 * so there are few.
 */

/** What these handlers use of the context that the worker passes. */
interface Context {
  /** The predecessor's output, or an object by node id when there are several. */
  data: unknown;
  /** The node's `config.params`. */
  params: Record<string, unknown>;
  /** Inside a map: its item. */
  item?: unknown;
  /** Aborted on timeout, cancel, withdrawal and drain. */
  signal: AbortSignal;
}

/** Work that is done at once; hands on what it is given. */
export function work({ data }: Context): unknown {
  return data;
}

/** Says `params.value`. */
export function say({ params }: Context): unknown {
  return params.value;
}

/** Fails with `params.message`. */
export function fail({ params }: Context): never {
  throw new Error(String(params.message ?? "it went wrong"));
}

/**
 * Work that lasts `params.ms` milliseconds, or the `ms` of its map's item; answers them. Ends at once when it is no longer
 * wanted: a minute stands for work that somebody withdraws.
 */
export function sleep({ params, item, signal }: Context): Promise<number> {
  const ms = Number(params.ms ?? (item as { ms?: number } | undefined)?.ms ?? 0);
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve(ms);
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
