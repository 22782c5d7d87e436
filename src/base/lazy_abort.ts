/** What may be called off. Most of it never is, and few ask for the signal: it is made when somebody does. */
export class LazyAbort {
  aborted = false;
  reason: unknown;
  #controller: AbortController | undefined;
  #listener: (() => void) | undefined;

  /** Repeating it changes nothing. */
  abort(reason?: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    this.#controller?.abort(reason);
    this.#listener?.();
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.aborted) this.#controller.abort(this.reason);
    }
    return this.#controller.signal;
  }

  /** One listener hears of it; undefined: none any more. It is not told of what happened before. */
  set onAbort(listener: (() => void) | undefined) {
    this.#listener = listener;
  }
}
