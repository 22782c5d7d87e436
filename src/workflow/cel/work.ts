/**
 * Bounds the work of the expressions of one step: they share one budget, so that many of them cannot do together what one of
 * them may not. Work is counted in units, not timed, so that an expression ends alike everywhere. Evaluation is synchronous
 * and never nests, so the counter of the budget in use serves all expressions of the process.
 */

import { LIMITS } from "../limits.ts";
import { CelFault } from "./fault.ts";

let left = 0;

/** What the expressions of one step, or of one compilation, may still do. */
export class WorkBudget {
  private left: number = LIMITS.expressionWork;

  /**
   * Runs `work`, which may `spend`.
   * @throws CelFault when the budget was exceeded, even if `||` or a macro absorbed the fault that said so
   */
  use<T>(work: () => T): T {
    left = this.left;
    try {
      spend(1);
      const result = work();
      if (left < 0) throw workFault();
      return result;
    } finally {
      this.left = left;
    }
  }

  /** Units that are left; below 0: none. */
  get unspent(): number {
    return this.left;
  }
}

/** @throws CelFault when the budget is exceeded, and on every later call with the same budget. */
export function spend(units: number): void {
  left -= units;
  if (left < 0) throw workFault();
}

function workFault(): CelFault {
  left = -1;
  return new CelFault(
    "the expressions of a step, taken together, do more work than one evaluation may; process large lists in a function instead",
  );
}

const CHARACTERS_PER_UNIT = 8;

/** Work of touching a value once, without looking into its parts. */
export function shallowWork(value: unknown): number {
  if (typeof value === "string") return value.length / CHARACTERS_PER_UNIT;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return 0;
  if (value instanceof Uint8Array) return value.length / CHARACTERS_PER_UNIT;
  // The library asks an object for its first key, for which the JavaScript engine lists them all.
  return 2 * (value instanceof Map ? value.size : Object.keys(value).length);
}

/** Spends what writing a text costs. */
export function textWork(text: string): string {
  spend(text.length / CHARACTERS_PER_UNIT);
  return text;
}

/** Spends what comparing (or searching) a value to its depths may cost. */
export function spendDeep(value: unknown): void {
  spend(1 + shallowWork(value));
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return;
  const items = value instanceof Map ? [...value.values()] : Object.values(value);
  for (const item of items) spendDeep(item);
}
