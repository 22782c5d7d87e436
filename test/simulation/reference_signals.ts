/** Signals of a run: who waits for which, oldest first, and what nobody waited for. */
import type { Json } from "./expression.ts";

/** A signal as it was given. */
export interface Signal {
  name: string;
  /** Of the execution that it is for; null: whoever has waited longest. */
  scope: string | null;
  payload: Json;
  by: string | null;
  /** When it was given: RFC 3339 text. */
  at: string;
}

export interface Waiter {
  key: string;
  name: string;
  scope: string;
}

export type Fate = "taken" | "kept" | "dropped";

export class SignalLine {
  readonly #waiting: Waiter[] = [];
  readonly #kept: Signal[] = [];
  readonly #taken = new Map<string, Signal>();
  readonly #seen = new Set<string>();

  /** Begins to wait: takes the first kept signal that is for it, or stands in line. */
  stand(waiter: Waiter): void {
    this.#seen.add(waiter.key);
    this.#leave(waiter.key);
    const index = this.#kept.findIndex((signal) => isFor(signal, waiter));
    const [kept] = index < 0 ? [] : this.#kept.splice(index, 1);
    if (kept === undefined) this.#waiting.push(waiter);
    else this.#taken.set(waiter.key, kept);
  }

  /** What becomes of it, and who took it. `isAble`: does the execution still wait? */
  give(signal: Signal, isTransient: boolean, isAble: (key: string) => boolean): [Fate, string?] {
    const waiter = this.#waiting.find((one) => isFor(signal, one) && isAble(one.key));
    if (waiter !== undefined) {
      this.#leave(waiter.key);
      this.#taken.set(waiter.key, signal);
      return ["taken", waiter.key];
    }
    if (isTransient) return ["dropped"];
    this.#kept.push(signal);
    return ["kept"];
  }

  /** Has it ever waited? */
  knows(key: string): boolean {
    return this.#seen.has(key);
  }

  /** The signal that an execution took and has made nothing of yet. */
  inHand(key: string): Signal | undefined {
    return this.#taken.get(key);
  }

  /** Something is made of the signal that the execution took. */
  use(key: string): Signal | undefined {
    const signal = this.#taken.get(key);
    this.#taken.delete(key);
    return signal;
  }

  #leave(key: string): void {
    const index = this.#waiting.findIndex((waiter) => waiter.key === key);
    if (index >= 0) this.#waiting.splice(index, 1);
  }
}

function isFor({ name, scope }: Signal, waiter: Waiter): boolean {
  return name === waiter.name && (scope === null || scope === waiter.scope);
}
