import { describe, expect, test } from "vitest";
import { AttemptError, RetryAfterError, requestedDelayMs } from "../../../src/handlers/errors.ts";
import { backoffMs } from "../../../src/token/backoff.ts";
import { LIMITS } from "../../../src/workflow/limits.ts";

describe("a delay that is asked for comes out as whole milliseconds within a node's longest limit", () => {
  test.each<[unknown, number | undefined]>([
    [20, 20],
    [1.4, 1],
    [0, 0],
    [-5, 0],
    [Number.NEGATIVE_INFINITY, 0],
    [1.79e18, LIMITS.timeoutMs],
    [Number.POSITIVE_INFINITY, LIMITS.timeoutMs],
    [Number.NaN, undefined],
    ["5000", undefined],
    [null, undefined],
    [{ valueOf: () => 1 }, undefined],
    [10n, undefined],
  ])("%s", (delay, expected) => {
    expect(requestedDelayMs(new RetryAfterError("later", delay as number))).toBe(expected);
    // Handlers may have classes of their own copy of hitzero.
    expect(requestedDelayMs({ name: "RetryAfterError", delayMs: delay })).toBe(expected);
    const options = { retryable: true, delayMs: delay as number };
    expect(requestedDelayMs(new AttemptError("HTTP_STATUS", "busy", options))).toBe(expected);
  });

  test("nothing else asks for one", () => {
    for (const thrown of [undefined, null, "text", new Error("no"), { delayMs: 5 }]) {
      expect(requestedDelayMs(thrown)).toBeUndefined();
    }
  });
});

test("the back-off of any attempt is a number of milliseconds within its bound", () => {
  for (const backoff_ms of [0, 1, 1_000]) {
    for (const attempt of [1, 2, 1_000]) {
      const policy = { backoff_ms, backoff_multiplier: 100, max_backoff_ms: 5_000, jitter: true };
      const delay = backoffMs({ ...policy, max_attempts: 1_000 }, attempt, 0.5);
      expect(delay).toBeGreaterThanOrEqual(0);
      expect(delay).toBeLessThanOrEqual(5_000);
    }
  }
});
