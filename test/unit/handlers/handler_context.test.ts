/** What a handler receives is read when it asks, and is there in copies of it, too. */
import { expect, test } from "vitest";
import { createLog } from "../../../src/base/log.ts";
import { handlersOf } from "../../../src/handlers/load.ts";
import { callNode } from "../../../src/handlers/node_types.ts";
import type { Execution, HandlerContext } from "../../../src/handlers/types.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";

const FIELDS = {
  data: { n: 1 },
  input: { n: 2 },
  config: { function_name: "work", params: { size: 3 } },
  params: { size: 3 },
  vars: { place: "here" },
  attempt: 2,
  scope: "",
  runId: "run-1",
  nodeId: "work",
  idempotencyKey: "run-1/work/",
};

/** Calls a handler; `read` are the fields of the execution that somebody asked for. */
function called(handler: (context: HandlerContext) => unknown, more: Partial<Execution> = {}) {
  const { ir } = compile({
    name: "flow",
    vars: FIELDS.vars,
    nodes: [{ id: "work", type: "function", config: FIELDS.config }],
    edges: [],
  });
  const read: string[] = [];
  const { data, input } = FIELDS;
  const later = { data, input, signal: new AbortController().signal, log: createLog("silent") };
  const execution = {
    ...{ ir, nodeIndex: 0, node: ir.nodes[0], runId: "run-1", scope: "", attempt: 2, around: {} },
    ...more,
  };
  for (const [name, value] of Object.entries(later))
    Object.defineProperty(execution, name, { get: () => read.push(name) && value });
  const result = callNode(execution as unknown as Execution, handlersOf({ work: handler }));
  return { result, read, later };
}

test("a copy has all that the context has", () => {
  const { result, later } = called((context) => ({ ...context }));
  expect(result).toEqual({ ...FIELDS, ...later });
});

test("nothing is read that is not asked for; so, too, through a proxy and by what inherits from it", () => {
  expect(called(() => 1).read).toEqual([]);
  expect(called(({ data, runId }) => [data, runId])).toMatchObject({
    result: [{ n: 1 }, "run-1"],
    read: ["data"],
  });
  expect(called((context) => new Proxy(context, {}).input)).toMatchObject({
    result: { n: 2 },
    read: ["input"],
  });
  expect(called((context) => Object.create(context).data)).toMatchObject({
    result: { n: 1 },
    read: ["data"],
  });
});

test("within a loop and a map it has iteration, item and index", () => {
  const around = { loop: { iteration: 4 }, item: { id: 5 }, index: 6 };
  const { result } = called((context) => ({ ...context }), { scope: "each:6", around });
  expect(result).toMatchObject({ ...around, scope: "each:6", idempotencyKey: "run-1/work/each:6" });
});
