/** An execution in a worker changes its state as the table says, and in no other way. */
import { expect, test } from "vitest";
import { Slot } from "../../../src/engine/worker/slot.ts";
import { type SlotState, TRANSITIONS } from "../../../src/engine/worker/slot_states.ts";
import { decodeLease } from "../../../src/token/token.ts";
import { irOf } from "../../support/ir.ts";

const STATES = Object.keys(TRANSITIONS) as SlotState[];
const FINAL: readonly SlotState[] = ["over", "left"];
const identity = { runId: "run-1", generation: 1, digest: "d", node: 0, scope: "", attempt: 1, delivery: 2 };
const newSlot = () => new Slot(0, irOf("a b", ["a -> b"]), { ...identity, nonce: "n" });

/** A shortest way to a state, from where a slot begins. */
function wayTo(state: SlotState): SlotState[] {
  const ways: SlotState[][] = [["claiming"]];
  for (const way of ways) {
    const last = way.at(-1) as SlotState;
    if (last === state) return way.slice(1);
    for (const next of TRANSITIONS[last]) if (!way.includes(next)) ways.push([...way, next]);
  }
  throw new Error(`no way leads to ${state}`);
}

function slotIn(state: SlotState): Slot {
  const slot = newSlot();
  for (const next of wayTo(state)) slot.become(next);
  return slot;
}

test("the table is total: each state is reached, names only states, and can be left unless it is final", () => {
  for (const state of STATES) {
    expect(slotIn(state).state).toBe(state);
    expect(STATES).toEqual(expect.arrayContaining([...TRANSITIONS[state]]));
    expect([state, TRANSITIONS[state].length === 0]).toEqual([state, FINAL.includes(state)]);
  }
});

test.each(STATES)("from %s to what the table does not name: it throws, and stays as it was", (state) => {
  const illegal = STATES.filter((next) => !TRANSITIONS[state].includes(next));
  expect(illegal).toContain(state);
  for (const next of illegal) {
    const slot = slotIn(state);
    expect(() => slot.become(next)).toThrow(`node a of run run-1 is ${state}, and becomes ${next}`);
    expect(slot.state).toBe(state);
  }
});

test("whatever it has begun may be left to its lease; only what an answer ends is over", () => {
  for (const state of STATES.filter((one) => !FINAL.includes(one))) {
    expect([state, TRANSITIONS[state].includes("left")]).toEqual([state, true]);
    const isAnswered = ["claiming", "finishing", "failing"].includes(state);
    expect([state, TRANSITIONS[state].includes("over")]).toEqual([state, isAnswered]);
  }
});

test("its token is held from its arrival to the answer of its step, and leases know it by its own name", () => {
  const held = STATES.filter((state) => slotIn(state).isHeld);
  expect(held).toEqual(["receiving", "ready", "running", "storing", "finishing", "failing"]);
  const { digest, ...named } = identity;
  expect(decodeLease(newSlot().kept)).toEqual({ queue: "default", ...named, nonce: "n" });
});
