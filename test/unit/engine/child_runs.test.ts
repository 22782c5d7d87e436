import { expect, test } from "vitest";
import { childRunId } from "../../../src/engine/nodes/child_runs.ts";

test("a child run's id follows from parent, node and scope, so that whoever repeats its start means the same run", () => {
  const parent = "0192f0c1-2b3c-7d4e-8f50-112233445566";
  expect(childRunId(parent, "sub", "each:1")).toBe(childRunId(parent, "sub", "each:1"));
  const others = [
    childRunId(parent, "sub", "each:1"),
    childRunId(parent, "sub", "each:2"),
    childRunId(parent, "other", "each:1"),
    childRunId("0192f0c1-2b3c-7d4e-8f50-112233445567", "sub", "each:1"),
  ];
  expect(new Set(others).size).toBe(4);
});
