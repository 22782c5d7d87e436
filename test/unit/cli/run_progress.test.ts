import { afterEach, expect, test, vi } from "vitest";
import { RunProgress } from "../../../src/cli/run/progress.ts";
import { pendingNodes } from "../../../src/cli/run/scopes.ts";
import { createRunView } from "../../../src/cli/run/view.ts";
import { Terminal } from "../../../src/cli/shell/terminal.ts";
import type { StateChange } from "../../../src/engine/reader/record_types.ts";
import type { NodeExecutionRow } from "../../../src/postgres/runs.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";

const { ir } = compile({
  name: "many",
  nodes: [
    {
      id: "each",
      type: "map",
      config: {
        items: "input",
        body: { nodes: [{ id: "work", type: "function", config: { function_name: "f" } }] },
      },
    },
    { id: "book", type: "function", config: { function_name: "f" }, compensate_with: { function_name: "g" } },
  ],
  edges: [{ from: "each", to: "book" }],
});

const change = (node_id: string, scope: string, new_state: string, reason: string | null = null) =>
  ({
    instance_id: "r",
    ...{ node_id, scope, new_state, previous_state: "PENDING", reason },
    timestamp: "2030-01-01T00:00:00.000Z",
  }) as StateChange;

afterEach(() => {
  vi.restoreAllMocks();
});

test("executions of a body count once they began; a node's status is that of all of them", () => {
  const progress = new RunProgress(ir);
  const ids = () => progress.nodes.map(({ id }) => id);
  expect(ids()).toEqual(["each", "book"]);
  progress.apply(change("work", "each:0", "RUNNING"));
  progress.apply(change("work", "each:1", "RUNNING"));
  expect(ids()).toEqual(["each", "work", "book"]);
  progress.apply(change("work", "each:0", "COMPLETED"));
  expect(progress.apply(change("work", "each:0", "RUNNING"))).toBeUndefined();
  expect([progress.node("work")?.status, progress.running.size]).toEqual(["RUNNING", 1]);
  progress.apply(change("work", "each:1", "FAILED", "HANDLER_ERROR"));
  expect([progress.node("work")?.status, progress.running.size]).toEqual(["FAILED", 0]);
  expect(progress.node("work")?.counts).toMatchObject({ COMPLETED: 1, FAILED: 1 });
});

test("what waits says for what, and no longer once it goes on", () => {
  const progress = new RunProgress(ir);
  progress.apply(change("each", "", "WAITING", "its items (3 more)"));
  expect(progress.node("each")?.latest?.reason).toBe("for its items (3 more)");
  progress.apply(change("each", "", "COMPLETED"));
  expect(progress.node("each")?.latest?.reason).toBeUndefined();
});

test("the record's error takes the place of the announced code", () => {
  const progress = new RunProgress(ir);
  progress.apply(change("book", "", "FAILED", "E"));
  const row = { node_id: "book", scope: "", status: "FAILED", error: { code: "E", message: "it broke" } };
  expect(progress.complete([{ ...row, duration_ms: 1 } as NodeExecutionRow])).toEqual([]);
  expect(progress.node("book")?.latest?.reason).toBe("E: it broke");
});

test("without a terminal hundreds of items do not flood the output", () => {
  let text = "";
  vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
    text += chunk;
    return true;
  });
  const progress = new RunProgress(ir);
  const view = createRunView(new Terminal(false), "many", progress, Date.now());
  for (let item = 0; item < 500; item++) {
    const news = progress.apply(change("work", `each:${item}`, "COMPLETED"));
    if (news) view.changed([news]);
  }
  view.close();
  const lines = text.trimEnd().split("\n");
  expect(lines).toHaveLength(12);
  expect(lines[0]).toContain("work @ each:0 COMPLETED");
  expect(lines[10]).toContain("work @ each:*: more follow");
  expect(lines[11]).toContain("work @ each:*: 500 COMPLETED");
});

test("a final run has no pending nodes in bodies, and none that would undo", () => {
  expect(pendingNodes(ir, new Set(["each"]), false)).toEqual(["work", "book"]);
  expect(pendingNodes(ir, new Set(["each", "book"]), true)).toEqual([]);
});
