/**
 * Bounds the work of one evaluation. Work is counted in units, not timed, so that an expression ends alike everywhere.
 * Evaluation is synchronous and never nests, so one counter serves all expressions of the process.
 */
import { CelFault } from "./cel_fault.ts";
import { LIMITS } from "./limits.ts";

let left = 0;

/** Call before each evaluation. */
export function startWork(): void {
  left = LIMITS.expressionWork;
}

/** True once the budget was exceeded, even if `||` or a macro absorbed the fault that said so. */
export function workIsSpent(): boolean {
  return left < 0;
}

/** @throws CelFault when the budget is exceeded, and on every later call of the same evaluation. */
export function spend(units: number): void {
  left -= units;
  if (left < 0) throw workFault();
}

export function workFault(): CelFault {
  left = -1;
  return new CelFault(
    "the expression does more work than one evaluation may; process large lists in a function instead",
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

/** Spends what comparing (or searching) a value to its depths may cost. */
export function spendDeep(value: unknown): void {
  spend(1 + shallowWork(value));
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return;
  const items = value instanceof Map ? [...value.values()] : Object.values(value);
  for (const item of items) spendDeep(item);
}
