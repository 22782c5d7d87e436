import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RedisClock } from "../../../src/redis/clock.ts";

let monotonic = 0;
beforeEach(() => {
  monotonic = 1_000;
  vi.spyOn(performance, "now").mockImplementation(() => monotonic);
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** A server whose clock is `offset` ahead of this process's, and which takes `there` and `back` ms to reach. */
const measure = (clock: RedisClock, offset: number, there: number, back = there) =>
  clock.measure(async () => {
    monotonic += there;
    const micros = (monotonic + offset) * 1_000;
    monotonic += back;
    return [Math.floor(micros / 1_000_000), Math.round(micros % 1_000_000)];
  });

test("a slow reading does not spoil a good one", async () => {
  const clock = new RedisClock();
  await measure(clock, 50_000, 1);
  expect(clock.now() - monotonic).toBe(50_000);
  monotonic += 1_000;
  expect(await measure(clock, 50_000, 0, 900)).toBe(450);
  expect(clock.now() - monotonic).toBe(50_000);
});

test("clocks that part are followed", async () => {
  const clock = new RedisClock();
  await measure(clock, 50_000, 0.5);
  for (let second = 0; second < 60; second += 1) {
    monotonic += 1_000;
    await measure(clock, 50_000 + second, 1);
  }
  expect(Math.abs(clock.now() - monotonic - 50_059)).toBeLessThanOrEqual(2);
});

test("a server whose clock was set is followed at once, and so is another server", async () => {
  const clock = new RedisClock();
  await measure(clock, 4_000_000, 1);
  await measure(clock, 400_000, 400);
  expect(clock.now() - monotonic).toBe(400_000);
  clock.forget();
  await measure(clock, 400_010, 300);
  expect(clock.now() - monotonic).toBe(400_010);
});
