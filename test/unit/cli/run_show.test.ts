import pc from "picocolors";
import { expect, test } from "vitest";
import { factsOf, groupRow } from "../../../src/cli/commands/run_show.ts";
import { causeLines } from "../../../src/cli/run/outcome.ts";
import { groupScopes } from "../../../src/cli/run/scopes.ts";
import type { NodeExecutionRow, RunRow } from "../../../src/postgres/runs.ts";

const run = {
  run_id: "new",
  parent_run_id: null,
  parent_node_id: null,
  workflow_name: "hello",
  workflow_version: 2,
  status: "PENDING",
  tags: [],
  idempotency_key: null,
  submitted_at: new Date(),
} as unknown as RunRow;

test("run show names the run that a redriven run was made from, and leaves out what there is not", () => {
  const names = (row: RunRow) => factsOf(row, pc.createColors(false)).map(([name]) => name);
  expect(names(run)).toEqual(["run", "workflow", "status", "submitted", "duration"]);
  const redriven = { ...run, parent_run_id: "old", tags: ["a"] };
  expect(names(redriven)).toEqual([
    "run",
    "made from",
    "workflow",
    "status",
    "submitted",
    "duration",
    "tags",
  ]);
  expect(factsOf(redriven, pc.createColors(false))).toContainEqual(["made from", "old"]);
});

test("run show names the run and the node that wait for a child run", () => {
  const child = { ...run, parent_run_id: "above", parent_node_id: "sub", parent_scope: "each:3" };
  expect(factsOf(child, pc.createColors(false))).toContainEqual(["child of", "above, node sub @ each:3"]);
});

const row = (node_id: string, scope: string, more: object = {}) =>
  ({
    ...{ node_id, scope, status: "COMPLETED", attempt: 1, reason: null, error: null, child_run_id: null },
    ...{ started_at: new Date(100), duration_ms: 5, worker_id: "w", ...more },
  }) as unknown as NodeExecutionRow;
const linesOf = (rows: NodeExecutionRow[], most?: number) =>
  groupScopes(rows, most).map((group) => groupRow(group, 40, pc.createColors(false)));

test("the deepest cause stands beside a node's error, and all of them below the run's", () => {
  const causes = [
    { depth: 1, message: "no luck" },
    { depth: 2, code: "ECONNREFUSED", message: "connect ECONNREFUSED 127.0.0.1:1" },
    { depth: 1, code: "NO_QUOTA", message: "none left" },
  ];
  const error = { code: "HANDLER_ERROR", message: "fetch failed", causes };
  expect(linesOf([row("get", "", { status: "FAILED", error })])[0]?.at(-1)).toBe(
    "HANDLER_ERROR: fetch failed (connect ECONNREFUSED 127.0.0.1:1)",
  );
  expect(causeLines(causes)).toEqual([
    "  caused by no luck",
    "    caused by connect ECONNREFUSED 127.0.0.1:1",
    "  caused by NO_QUOTA: none left",
  ]);
});

test("few executions of a node are lines of their own, with what they wait for and the runs they made", () => {
  const waiting = { status: "WAITING", duration_ms: null };
  const lines = linesOf([
    row("work", "again:1"),
    row("work", "again:2", { ...waiting, reason: "signal go, until 2030-01-01T00:00:00.000Z" }),
    row("nap", "", { ...waiting, reason: "2030-01-01T00:00:00.000Z" }),
    row("sub", "", { ...waiting, reason: "run child", child_run_id: "child" }),
    row("sub2", "", { child_run_id: "child" }),
    row("sub3", "", { error: { code: "CHILD_FAILED", message: "it failed\nthere" }, child_run_id: "child" }),
  ]);
  expect(lines.map((line) => [line[1], line.at(-1)])).toEqual([
    ["work @ again:1", ""],
    ["work @ again:2", "for signal go, until 2030-01-01T00:00:00.000Z"],
    ["nap", "until 2030-01-01T00:00:00.000Z"],
    ["sub", "for run child"],
    ["sub2", "run child"],
    ["sub3", "CHILD_FAILED: it failed (run child)"],
  ]);
  expect(lines[0]?.slice(1)).toEqual(["work @ again:1", "1", "+60 ms", "5 ms", "w", ""]);
});

test("hundreds of executions of a node are one line that counts them; --all lists them", () => {
  const rows = [
    row("each", ""),
    ...Array.from({ length: 300 }, (_, index) =>
      row(
        "work",
        `each:${index}`,
        index % 100 === 99 ? { status: "FAILED", error: { code: "E", message: "m" } } : {},
      ),
    ),
    row("after", ""),
  ];
  const lines = linesOf(rows);
  expect(lines.map((line) => line[1])).toEqual(["each", "work @ each:*", "after"]);
  expect(lines[1]?.[0]).toContain("FAILED");
  expect(lines[1]?.at(-1)).toBe("297 COMPLETED, 3 FAILED; the first: each:99 E: m");
  expect(linesOf(rows, Number.POSITIVE_INFINITY)).toHaveLength(302);
});

test("of very many executions only some are read: the counts tell the rest", () => {
  const failure = { status: "FAILED", error: { code: "E", message: "m" } };
  const rows = [row("each", ""), row("work", "each:0"), row("work", "each:99", failure), row("after", "")];
  const counts = new Map([
    ["each", { WAITING: 1 }],
    ["work", { COMPLETED: 999_990, FAILED: 10 }],
    ["after", { COMPLETED: 1 }],
  ]);
  const lines = groupScopes(rows, 10, counts).map((group) => groupRow(group, 40, pc.createColors(false)));
  expect(lines.map((line) => [line[1], line.at(-1)])).toEqual([
    ["each", ""],
    ["work @ each:*", "999990 COMPLETED, 10 FAILED; the first: each:99 E: m"],
    ["after", ""],
  ]);
});
