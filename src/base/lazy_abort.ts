/** What may be called off. Most of it never is, and few ask for the signal: it is made when somebody does. */
export class LazyAbort {
  aborted = false;
  reason: unknown;
  #controller: AbortController | undefined;

  /** Repeating it changes nothing. */
  abort(reason?: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    this.#controller?.abort(reason);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.aborted) this.#controller.abort(this.reason);
    }
    return this.#controller.signal;
  }
}
