import type { Recorded } from "./recorder.ts";

/** What a reader's services go by in one round. */
export interface Round extends Recorded {
  /** A second or more after the last that was due: what comes about by itself is looked for. */
  due: boolean;
  /** Somebody rang: there may be a command. */
  rung: boolean;
}

/**
 * A part of the reader that looks after one thing. `look` does what is to be done now, a bounded part of it, and answers at
 * what time the next look is wanted (as `performance.now()`): at once, or when something happens, which is a second later at most. What is
 * interrupted is found again by a later look, of this reader or the next.
 */
export interface Service {
  look(round: Round): Promise<number>;
}

export const AT_ONCE = 0;
export const WHEN_IT_COMES = Number.POSITIVE_INFINITY;

/** A time that comes round. */
export class Rhythm {
  readonly #everyMs: number;
  #nextAt: number;

  /** `firstMs`: from now. */
  constructor(everyMs: number, firstMs = 0) {
    this.#everyMs = everyMs;
    this.#nextAt = performance.now() + firstMs;
  }

  /** Has it come? Then the next is so much later. */
  comes(): boolean {
    const now = performance.now();
    if (now < this.#nextAt) return false;
    this.#nextAt = now + this.#everyMs;
    return true;
  }

  /** The next comes within this time. */
  hasten(ms: number): void {
    this.#nextAt = Math.min(this.#nextAt, performance.now() + ms);
  }
}
