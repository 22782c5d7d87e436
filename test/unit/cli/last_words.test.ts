import { expect, test } from "vitest";
import { LastWords } from "../../../src/cli/processes/last_words.ts";

test.each<[string, string[], string]>([
  ["nothing", [], ""],
  ["log lines alone", ['{"level":50,"msg":"an error"}', ""], ""],
  ["the last line", ["one", "  two  "], "two"],
  [
    "a fatal error with a native stack behind it",
    [
      "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
      "----- Native stack trace -----",
      " 1: 0xb7c",
    ],
    "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
  ],
  [
    "an error with its stack",
    ["TypeError: x is no function", "    at file.js:1:2", "Node.js v20"],
    "TypeError: x is no function",
  ],
])("of %s", (_what, lines, text) => {
  const words = new LastWords();
  for (const line of lines) words.hear(line);
  expect(words.text).toBe(text);
});

test("are bounded", () => {
  const words = new LastWords();
  words.hear(`Error: ${"x".repeat(10_000)}`);
  expect(words.text).toHaveLength(300);
  for (let line = 0; line < 20; line += 1) words.hear("after it");
  expect(words.text).toBe("after it");
});
