/** What escapes from an execution is attributed to it; everything else has its ordinary effect. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { isOfExecution, performWatched, watchEscapes } from "../../../src/engine/worker/escapes.ts";
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
