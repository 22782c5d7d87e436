import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Bell, pause } from "../../../src/base/wait.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test.each<[string, (bell: Bell, ending: AbortController) => void]>([
  ["the bell is rung", (bell) => bell.ring()],
  ["its signal is aborted", (_bell, ending) => ending.abort()],
  ["its time is up", () => vi.advanceTimersByTime(1_000)],
])("waiting for a bell ends when %s, and no timer stays behind", async (_name, end) => {
  const [bell, ending] = [new Bell(), new AbortController()];
  const waiting = bell.rungWithin(1_000, ending.signal);
  expect(vi.getTimerCount()).toBe(1);
  end(bell, ending);
  await waiting;
  expect(vi.getTimerCount()).toBe(0);
});

test("a signal that was aborted before makes no timer", async () => {
  const signal = AbortSignal.abort();
  await Promise.all([new Bell().rungWithin(1_000, signal), pause(1_000, signal)]);
  expect(vi.getTimerCount()).toBe(0);
});
