/** Whose turn it is in a worker: the suspects', one at a time and alone, or everybody else's. */
import { expect, test } from "vitest";
import { SuspectTurns } from "../../../src/engine/worker/suspects.ts";

test("a worker of its own empties itself before a suspect begins, and again before anything else does", () => {
  const turns = new SuspectTurns("here");
  expect([turns.room(8, 3), turns.alone]).toEqual([5, false]);
  turns.listed(0, 2);
  turns.listed(1, 0);
  expect([turns.room(8, 3), turns.alone]).toEqual([0, false]);
  expect([turns.room(8, 0), turns.alone]).toEqual([1, true]);
  turns.performed = "kept";
  expect([turns.room(8, 1), turns.alone, turns.performed]).toEqual([0, true, "kept"]);
  turns.none();
  expect([turns.room(8, 1), turns.alone]).toEqual([0, true]);
  expect([turns.room(8, 0), turns.alone, turns.performed]).toEqual([8, false, ""]);
  expect(turns.always).toBe(false);
});

test("one that performs suspects only never performs anything else", () => {
  const turns = new SuspectTurns("only");
  expect([turns.room(1, 0), turns.alone, turns.always]).toEqual([1, true, true]);
  turns.none();
  expect([turns.room(1, 1), turns.room(1, 0)]).toEqual([0, 1]);
});

test("one whose suspects others perform tells them, and goes on", () => {
  let told = 0;
  const turns = new SuspectTurns(() => {
    told += 1;
  });
  turns.listed(0, 0);
  expect(told).toBe(0);
  turns.listed(0, 1);
  expect([told, turns.room(8, 3), turns.alone]).toEqual([1, 5, false]);
});
