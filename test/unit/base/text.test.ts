import { expect, test } from "vitest";
import { presentable } from "../../../src/base/text.ts";

test.each([
  ["connect postgres://me:s3cret@db:5432/x failed", "connect postgres://me:***@db:5432/x failed"],
  ["redis://:s3cret@host", "redis://:***@host"],
  ["a\u0000b", "a\u2400b"],
  ["lone \ud800 surrogate", "lone \ufffd surrogate"],
  ["https://example.org/a:b@c", "https://example.org/a:b@c"],
])("%j becomes %j", (text, expected) => {
  expect(presentable(text)).toBe(expected);
});

test("overlong texts are cut and say so", () => {
  expect(presentable("x".repeat(10_000))).toMatch(/x… \(1808 more characters\)$/);
});
