/** One timer tells all executions that their time is up: each once, none before its time. */
import { expect, test } from "vitest";
import { Deadlines } from "../../../src/engine/worker/deadlines.ts";
import { until } from "../../support/until.ts";

function limited(deadlines: Deadlines, inMs: number) {
  const one = {
    deadline: performance.now() + inMs,
    limitedAt: -1,
    expired: 0,
    early: false,
    expire() {
      one.expired += 1;
      one.early ||= performance.now() < one.deadline;
    },
  };
  deadlines.add(one);
  return one;
}

test("what came later and ends earlier expires first; what was over before does not; each once", async () => {
  const deadlines = new Deadlines();
  const order: number[] = [];
  const all = [60_000, 30, 10, 20, 10].map((ms) => limited(deadlines, ms));
  const [far, thirty, ten, twenty, other] = all;
  all.forEach((one, index) => {
    const expire = one.expire;
    one.expire = () => {
      order.push(index);
      expire();
    };
  });
  deadlines.delete(twenty as (typeof all)[number]);
  await until(() => thirty?.expired === 1, "the last of them expired");
  expect(order).toEqual([2, 4, 1]);
  expect([far, thirty, ten, twenty, other].map((one) => one?.expired)).toEqual([0, 1, 1, 0, 1]);
  expect(all.some(({ early }) => early)).toBe(false);
  deadlines.close();
});

test("what begins when all others are over has its time, too", async () => {
  const deadlines = new Deadlines();
  const first = limited(deadlines, 1);
  await until(() => first.expired === 1, "the first expired");
  const second = limited(deadlines, 1);
  await until(() => second.expired === 1, "the second expired");
  expect(first.expired).toBe(1);
  deadlines.close();
});
