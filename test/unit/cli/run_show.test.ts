import pc from "picocolors";
import { expect, test } from "vitest";
import { factsOf } from "../../../src/cli/commands/run.ts";
import type { RunRow } from "../../../src/postgres/runs.ts";

const run = {
  run_id: "new",
  parent_run_id: null,
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
