/** What escapes from an execution is attributed to it; everything else has its ordinary effect. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLog } from "../../../src/base/log.ts";
import { Attempt, type Attempted, Escape } from "../../../src/engine/worker/attempt.ts";
import { Deadlines } from "../../../src/engine/worker/deadlines.ts";
import { isOfExecution, performWatched, watchEscapes } from "../../../src/engine/worker/escapes.ts";
import { Slot } from "../../../src/engine/worker/slot.ts";
import { TurnEnds } from "../../../src/engine/worker/turn_ends.ts";
import { irOf } from "../../support/ir.ts";
import { until } from "../../support/until.ts";

const EVENTS = ["uncaughtException", "unhandledRejection"] as const;
type Listener = (...args: unknown[]) => void;
/** Those of the test runner, which would count each error as a failure. */
let others: Listener[][] = [];
let unwatch = () => {};

beforeEach(() => {
  others = EVENTS.map((event) => process.rawListeners(event) as Listener[]);
  for (const event of EVENTS) process.removeAllListeners(event);
  unwatch = watchEscapes();
});
afterEach(() => {
  unwatch();
  for (const event of EVENTS) process.removeAllListeners(event);
  EVENTS.forEach((event, index) => {
    for (const listener of others[index] as Listener[]) process.on(event, listener);
  });
});

const throwIt = (error: unknown) => () => {
  throw error;
};
const ESCAPES: [string, (error: unknown) => void][] = [
  ["a promise that nobody awaits", (error) => void Promise.reject(error)],
  ["an async function that is not awaited", (error) => void (async () => throwIt(error)())()],
  ["a timer", (error) => setTimeout(throwIt(error), 1)],
  ["a timer set by a timer", (error) => setTimeout(() => setImmediate(throwIt(error)), 1)],
  ["a tick", (error) => process.nextTick(throwIt(error))],
];

test.each(ESCAPES)("%s is attributed to its own execution among several", async (_name, leak) => {
  const escaped: [string, unknown][] = [];
  const inside: boolean[] = [];
  const observe = () => inside.push(isOfExecution());
  process.on("uncaughtException", observe);
  const errors = ["first", "second"].map((name) => new Error(name));
  for (const error of errors) {
    performWatched({ name: error.message, onEscape: (thrown) => escaped.push([error.message, thrown]) }, () =>
      leak(error),
    );
  }
  await until(() => escaped.length === 2, "both are attributed");
  expect(escaped).toEqual(errors.map((error) => [error.message, error]));
  expect(inside.every((is) => is)).toBe(true);
});

const LEFT_BEHIND: [string, (error: unknown) => void][] = [
  ["a promise that nobody awaits", (error) => void Promise.reject(error)],
  ["a tick", (error) => process.nextTick(throwIt(error))],
  ["an immediate", (error) => setImmediate(throwIt(error))],
  [
    "an immediate that a promise sets",
    (error) => void Promise.resolve().then(() => setImmediate(throwIt(error))),
  ],
  ["an immediate that a tick sets", (error) => process.nextTick(() => setImmediate(throwIt(error)))],
];

test.each(LEFT_BEHIND)(
  "what is over with its call fails by %s, and nothing else of that turn does",
  async (_name, leak) => {
    const room = {
      workerId: "w",
      deadlines: new Deadlines(),
      turns: new TurnEnds(),
      log: createLog("silent"),
    };
    const ir = irOf("a", []);
    const told = new Map<string, unknown>();
    const begin = (name: string, work: () => unknown) => {
      const identity = {
        generation: 1,
        digest: "d",
        node: 0,
        scope: "",
        attempt: 1,
        delivery: 1,
        nonce: "n",
      };
      const attempted: Attempted = {
        work,
        endsWithTurn: true,
        produced: (value) => told.set(name, value),
        failed: (thrown) => told.set(name, thrown instanceof Escape ? thrown.cause : "no escape"),
      };
      new Attempt(new Slot(0, ir, { runId: name, ...identity }), room).run(attempted);
    };
    const names = Array.from({ length: 9 }, (_, index) => `run-${index}`);
    // Some leave something behind, at once or when they have waited; the others do not.
    const expected = new Map<string, unknown>();
    names.forEach((name, index) => {
      const error = new Error(name);
      expected.set(name, index % 3 === 0 ? index : error);
      if (index % 3 === 0) begin(name, () => index);
      else if (index % 3 === 1) begin(name, () => leak(error));
      else begin(name, async () => leak(await Promise.resolve(error)));
    });
    await until(() => told.size === names.length, "all are over");
    expect(told).toEqual(expected);
    room.deadlines.close();
  },
);

test("what belongs to no execution reaches other listeners alone, as it came", async () => {
  const seen: unknown[] = [];
  process.on("uncaughtException", (error) => seen.push(error, isOfExecution()));
  process.on("unhandledRejection", (reason) => seen.push(reason));
  const [thrown, rejected] = [new Error("thrown"), new Error("rejected")];
  setTimeout(throwIt(thrown), 1);
  await until(() => seen.length === 2, "the error is seen");
  void Promise.reject(rejected);
  await until(() => seen.length === 3, "the rejection is seen");
  expect(seen).toEqual([thrown, false, rejected]);
});

test("without other listeners it is raised again as if nobody listened, then they listen again", async () => {
  const raised: unknown[] = [];
  const raise = (event: (typeof EVENTS)[number], error: Error) => {
    process.emit(event as never, error as never, Promise.resolve() as never);
    // Where Node would end the process.
    process.once("uncaughtException", (again) => raised.push(again));
  };
  const [thrown, rejected] = [new Error("thrown"), new Error("rejected")];
  raise("uncaughtException", thrown);
  await until(() => raised.length === 1, "the error is raised");
  await until(() => process.listenerCount("uncaughtException") === 1, "they listen again");
  raise("unhandledRejection", rejected);
  await until(() => raised.length === 2, "the rejection is raised");
  expect(raised).toEqual([thrown, rejected]);
  await until(() => process.listenerCount("unhandledRejection") === 1, "they listen again");
  unwatch();
  expect(EVENTS.map((event) => process.listenerCount(event))).toEqual([0, 0]);
});
