/** Random inputs, outputs and behaviours, small enough that conditions about them are true now and then. */
import fc from "fast-check";
import type { Json, JsonObject } from "./expression.ts";
import { HOSTILE } from "./hostile.ts";
import type { Behaviour, SimulatedRetry, Steady } from "./model.ts";

/** A choice by weight that shrinks towards its first entry. */
export function weighted<T>(...choices: (readonly [number, fc.Arbitrary<T>])[]): fc.Arbitrary<T> {
  return fc.oneof(
    { withCrossShrink: true },
    ...choices.map(([weight, arbitrary]) => ({ weight, arbitrary })),
  );
}

export const smallInt = fc.nat(9);
export const word = fc.constantFrom("a", "b", "c");
export const scored: fc.Arbitrary<JsonObject> = fc.record(
  { score: smallInt, label: word, items: fc.array(smallInt, { maxLength: 3 }) },
  { requiredKeys: ["score"] },
);
export const integers: fc.Arbitrary<Json[]> = fc.array(smallInt, { maxLength: 4 });
export const scoredItems: fc.Arbitrary<Json[]> = fc.array(scored, { maxLength: 3 });
export const items: fc.Arbitrary<Json[]> = weighted<Json[]>(
  [3, integers],
  [2, scoredItems],
  [1, fc.array(fc.oneof(smallInt, word), { maxLength: 3 })],
);
const value: fc.Arbitrary<Json> = weighted<Json>(
  [2, smallInt],
  [12, scored],
  [2, items],
  [1, word],
  [1, fc.constantFrom(null, true, false)],
);
/** `at` is an instant: whoever submits the run may choose another. */
export const runInput: fc.Arbitrary<JsonObject> = weighted<JsonObject>(
  [2, scored],
  [5, scored.map((input) => ({ ...input, at: "2026-01-01T00:00:00.000Z" }))],
  [1, fc.constant({})],
);

export const failureCodes = ["E_FIRST", "E_SECOND"] as const;
export const code = fc.constantFrom(...failureCodes);
export const message = fc.constant("as told");
export const steady: fc.Arbitrary<Steady> = weighted<Steady>(
  [10, fc.record({ kind: fc.constant("output"), value })],
  [2, fc.constant({ kind: "echo" })],
  [2, fc.constant({ kind: "measure" })],
  [1, fc.constant({ kind: "bulk" })],
);
export const hostile: fc.Arbitrary<Behaviour> = fc.record({
  kind: fc.constant("hostile"),
  what: fc.constantFrom(...HOSTILE.keys()),
});
export const behaviour: fc.Arbitrary<Behaviour> = weighted<Behaviour>(
  [28, steady],
  [4, fc.record({ kind: fc.constant("fail"), code, message })],
  [2, fc.record({ kind: fc.constant("fail"), code, message, forGood: fc.constant(true) })],
  [
    5,
    fc.record({
      kind: fc.constant("flaky"),
      fails: fc.integer({ min: 1, max: 3 }),
      by: weighted<"throwing" | "hanging">([3, fc.constant("throwing")], [1, fc.constant("hanging")]),
      code,
      message,
      atLast: steady,
    }),
  ],
  [2, fc.constant({ kind: "hang" })],
  [6, hostile],
);
export const retry: fc.Arbitrary<SimulatedRetry | null> = weighted<SimulatedRetry | null>(
  [2, fc.constant(null)],
  [
    1,
    fc.record({ max_attempts: fc.integer({ min: 1, max: 4 }), backoff_ms: fc.integer({ min: 1, max: 20 }) }),
  ],
);
