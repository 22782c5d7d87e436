/** One budget for all expressions of a step: counted in units of work, never in time. */
import { describe, expect, it } from "vitest";
import { createLog } from "../../../src/base/log.ts";
import { route } from "../../../src/engine/nodes/routed.ts";
import { Slot } from "../../../src/engine/worker/slot.ts";
import { View } from "../../../src/engine/worker/view.ts";
import { budgetOf } from "../../../src/handlers/execution.ts";
import { callNode } from "../../../src/handlers/node_types.ts";
import { compileExpression } from "../../../src/workflow/cel/cel.ts";
import { WorkBudget } from "../../../src/workflow/cel/work.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";
import type { IR } from "../../../src/workflow/ir/ir.ts";
import { LIMITS } from "../../../src/workflow/limits.ts";
import { edge, workflow } from "./documents.ts";

const numbers = Array.from({ length: 600 }, (_item, index) => index);
const PRODUCT = "data.list.all(a, data.list.all(b, a + b >= 0.0))";

function execution(ir: IR, input: unknown) {
  const identity = { runId: "r", generation: 1, digest: "d", node: 0, scope: "" };
  const slot = new Slot(0, ir, { ...identity, attempt: 1, delivery: 1, nonce: "1" });
  slot.input = JSON.stringify(input);
  return new View(slot, new AbortController(), createLog("silent"));
}

const costOf = (source: string) => {
  const budget = new WorkBudget();
  compileExpression(source, { kind: "transform", label: "test" }).evaluate(
    { data: { list: numbers } },
    budget,
  );
  return LIMITS.expressionWork - budget.unspent;
};

describe("the conditions of a node's edges", () => {
  const ids = Array.from({ length: 150 }, (_item, index) => `n${index}`);
  const { ir } = compile({
    ...workflow(`a ${ids.join(" ")}`),
    edges: ids.map((id) => edge("a", id, { condition: `${PRODUCT} && data.n != ${id.slice(1)}.0` })),
  });

  it("share one budget: the node fails, though each by itself would keep within it", () => {
    expect(costOf(PRODUCT)).toBeGreaterThan(LIMITS.expressionWork / 150);
    expect(costOf(PRODUCT)).toBeLessThan(LIMITS.expressionWork);
    const view = execution(ir, { list: numbers, n: -1 });
    const routed = route(view, { text: "null" }, "w");
    expect(routed.outcome).toMatchObject({ error: { code: "CONDITION_FAILED" } });
    expect(routed.outcome).toMatchObject({ error: { message: expect.stringContaining("taken together") } });
    // Once it is spent nothing goes on: not one condition more was worked on.
    expect(budgetOf(view).unspent).toBeLessThan(0);
    expect(budgetOf(view).unspent).toBeGreaterThan(-10);
  });

  it("may be many when they are cheap", () => {
    const view = execution(ir, { list: numbers.slice(0, 3), n: -1 });
    expect(route(view, { text: "null" }, "w").outcome).toEqual({ text: "null" });
  });
});

describe("a filter", () => {
  const filter = (filter_expression: string) =>
    compile({ name: "x", nodes: [{ id: "a", type: "filter", config: { filter_expression } }] }).ir;

  it("has one budget for all items", async () => {
    const lists = Array.from({ length: 50 }, () => ({ list: numbers }));
    const view = execution(filter(PRODUCT.replaceAll("data", "item")), lists);
    expect(() => callNode(view, new Map())).toThrow("taken together");
  });

  it("takes the longest lists when it is cheap", async () => {
    const items = Array.from({ length: 300_000 }, (_item, index) => ({ n: index }));
    const view = execution(filter("item.n >= 299999.0"), items);
    expect(callNode(view, new Map())).toEqual([{ n: 299_999 }]);
    expect(LIMITS.expressionWork - budgetOf(view).unspent).toBeLessThan(items.length * 4);
  });
});

it("templates that all name one large value are stopped by what they write", async () => {
  const body = Array.from({ length: 200 }, () => "{{ data }} and {{ data }}");
  const config = { url: "https://a.example/", method: "POST", body };
  const { ir } = compile({ name: "x", nodes: [{ id: "a", type: "http", config }] });
  const view = execution(ir, "x".repeat(1_000_000));
  await expect(callNode(view, new Map())).rejects.toMatchObject({ code: "EXPRESSION_FAILED" });
});

it("constants of a workflow share one budget, and are not constant beyond it", () => {
  const list = `[${Array.from({ length: 60 }, (_item, index) => index).join(", ")}]`;
  const heavy = (salt: number) => `${list}.all(a, ${list}.all(b, a + b >= ${-salt}))`;
  const ids = Array.from({ length: 400 }, (_item, index) => `n${index}`);
  const { warnings } = compile({
    ...workflow(`a ${ids.join(" ")}`),
    edges: ids.map((id, index) => edge("a", id, { condition: heavy(index) })),
  });
  const constant = warnings.find(({ code }) => code === "CONDITION_CONSTANT");
  const hidden = warnings.find(({ code }) => code === "MORE_FAULTS");
  expect(constant).toBeDefined();
  // All 400 would be: 99 shown or hidden.
  expect(Number(/\d+/.exec(hidden?.message ?? "0")?.[0])).toBeLessThan(300);
});
