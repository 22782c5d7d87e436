/**
 * The times by which executions must be over: one timer for all of them, set to the first. Most are over long before.
 *
 * Owns: what is to be over, and the timer.
 */

import { Bag } from "../../base/bag.ts";

export interface Limited {
  /** As `performance.now()`. */
  readonly deadline: number;
  /** Its place among those that are to be over; -1: it is none of them. */
  limitedAt: number;
  /** It is over time. */
  expire(): void;
}

/** No timer may be set further ahead. */
const LONGEST_MS = 2 ** 31 - 1;

export class Deadlines {
  readonly #limited = new Bag<"limitedAt", Limited>("limitedAt");
  #timer: NodeJS.Timeout | undefined;
  #setTo = Number.POSITIVE_INFINITY;

  add(one: Limited): void {
    this.#limited.add(one);
    if (one.deadline < this.#setTo) this.#set(one.deadline);
  }

  delete(one: Limited): void {
    this.#limited.delete(one);
  }

  /** Nothing expires any more. */
  close(): void {
    this.#limited.clear();
    clearTimeout(this.#timer);
    this.#setTo = Number.POSITIVE_INFINITY;
  }

  #set(deadline: number): void {
    clearTimeout(this.#timer);
    this.#setTo = deadline;
    const ms = Math.min(Math.max(1, Math.ceil(deadline - performance.now())), LONGEST_MS);
    this.#timer = setTimeout(() => this.#sweep(), ms);
  }

  #sweep(): void {
    this.#setTo = Number.POSITIVE_INFINITY;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    const expired: Limited[] = [];
    for (const one of this.#limited) {
      if (one.deadline > now) next = Math.min(next, one.deadline);
      else expired.push(one);
    }
    // The loop may have been blocked since: they expire in their order all the same.
    expired.sort((a, b) => a.deadline - b.deadline);
    for (const one of expired) if (this.#limited.delete(one)) one.expire();
    if (next < this.#setTo) this.#set(next);
  }
}
