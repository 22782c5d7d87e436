import { resolve } from "node:path";
import pc from "picocolors";
import { expect, test } from "vitest";
import { readableLog } from "../../../src/cli/processes/log_line.ts";

const shown = (entry: object | string) =>
  readableLog(typeof entry === "string" ? entry : JSON.stringify(entry), pc.createColors(false));
const OWN = resolve(import.meta.dirname, "../../../src");
const time = "2026-11-27T12:00:00.000Z";
const place = { run_id: "run-1", workflow: "flow", node: "fetch", scope: "each:3", attempt: 1 };

test("a failed attempt is told in a sentence, with its causes and where it was thrown below", () => {
  const stack = `TypeError: fetch failed\n    at node:internal/deps/undici\n    at get (/app/handlers.ts:3:9)\n    at perform (${OWN}/engine/execute.ts:1:1)`;
  const causes = [{ depth: 1, code: "ECONNREFUSED", message: "connect ECONNREFUSED 127.0.0.1:1" }];
  const entry = {
    level: 40,
    time,
    ...place,
    max_attempts: 3,
    code: "HANDLER_ERROR",
    message: "fetch failed",
  };
  expect(shown({ ...entry, stack, causes, msg: "an attempt failed" })).toEqual([
    "WARN fetch @ each:3 of flow (run run-1) failed in attempt 1 of 3: HANDLER_ERROR: fetch failed",
    "  caused by connect ECONNREFUSED 127.0.0.1:1",
    "  at get (/app/handlers.ts:3:9)",
  ]);
});

test("other entries are their words and facts; what is no entry stays as it is", () => {
  expect(shown({ level: 30, time, node: "a", count: 3, msg: "half way" })).toEqual([
    "INFO half way node=a count=3",
  ]);
  for (const line of ["plain words", "{not json", '{"level":"high"}', '{"a":1}'])
    expect(shown(line)).toEqual([line]);
});

test("no message moves the cursor or colours the screen", () => {
  const message = "\u001b[2Jgone\r\nERROR forged\u009b1m";
  const lines = shown({ level: 40, time, ...place, code: "X", message, msg: "an attempt failed" });
  expect(lines).toHaveLength(1);
  expect(lines[0]).not.toMatch(/\p{Cc}/u);
});
