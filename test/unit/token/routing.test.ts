import { expect, test } from "vitest";
import { type ConditionResult, routeFailure, routeSuccess } from "../../../src/token/routing.ts";
import type { EdgeOn, IR, IRNode } from "../../../src/workflow/ir/ir.ts";

type EdgeSpec = { on?: EdgeOn; condition?: boolean | "broken" };

/** A node with these outgoing edges; the condition's text is its outcome. */
function play(edges: EdgeSpec[], node: Partial<IRNode> = {}) {
  const ir = {
    edges: edges.map(({ on = "success", condition }) => ({
      from: 0,
      to: 1,
      on,
      priority: 0,
      ...(condition === undefined ? {} : { condition: String(condition) }),
    })),
  } as unknown as IR;
  const full = { type: "function", config: {}, out: edges.map((_edge, index) => index), ...node } as IRNode;
  const asked: number[] = [];
  const evaluate = (index: number): ConditionResult => {
    asked.push(index);
    const condition = edges[index]?.condition;
    return condition === "broken"
      ? { ok: false, message: "no such key" }
      : { ok: true, value: condition as boolean };
  };
  return {
    success: () => routeSuccess(ir, full, evaluate),
    failure: () => routeFailure(ir, full, evaluate),
    asked,
  };
}

const conditional = { type: "conditional" as const };
const all = { type: "conditional" as const, config: { mode: "all" } };

test.each<[string, EdgeSpec[], Partial<IRNode>, boolean[]]>([
  ["every edge without condition is taken", [{}, {}], {}, [true, true]],
  ["each edge decides for itself", [{ condition: true }, { condition: false }, {}], {}, [true, false, true]],
  ["failure edges are not taken, always edges are", [{ on: "failure" }, { on: "always" }], {}, [false, true]],
  [
    "a conditional takes the first match only",
    [{ condition: false }, { condition: true }, { condition: true }],
    conditional,
    [false, true, false],
  ],
  [
    "mode all takes every match",
    [{ condition: true }, { condition: false }, { condition: true }],
    all,
    [true, false, true],
  ],
  ["the default is taken when nothing matched", [{ condition: false }, {}], conditional, [false, true]],
  ["the default is not taken when something matched", [{ condition: true }, {}], conditional, [true, false]],
  ["no match and no default: nothing is taken", [{ condition: false }], conditional, [false]],
  [
    "an always edge of a conditional decides for itself",
    [{ condition: true }, { on: "always" }],
    conditional,
    [true, true],
  ],
])("%s", (_name, edges, node, taken) => {
  expect(play(edges, node).success()).toEqual({ taken, faults: [] });
});

test("a condition that cannot be evaluated is a fault, not false", () => {
  expect(play([{ condition: "broken" }, {}]).success().faults).toEqual([{ edge: 0, message: "no such key" }]);
});

test("a conditional does not evaluate what comes after its first match", () => {
  const game = play([{ condition: true }, { condition: "broken" }], conditional);
  expect(game.success()).toEqual({ taken: [true, false], faults: [] });
  expect(game.asked).toEqual([0]);
});

test.each<[string, EdgeSpec[], boolean[], boolean]>([
  ["a failure edge handles", [{}, { on: "failure" }], [false, true], true],
  ["an always edge handles", [{ on: "always" }], [true], true],
  ["without either it is unhandled", [{}], [false], false],
  [
    "a failure edge whose condition is false does not handle",
    [{ on: "failure", condition: false }],
    [false],
    false,
  ],
  [
    "one taken edge is enough",
    [
      { on: "failure", condition: false },
      { on: "failure", condition: true },
    ],
    [false, true],
    true,
  ],
])("after a failure %s", (_name, edges, taken, handled) => {
  expect(play(edges).failure()).toEqual({ taken, handled, faults: [] });
});

test("a broken condition on a failure edge counts as not taken, and is reported", () => {
  expect(play([{ on: "failure", condition: "broken" }]).failure()).toMatchObject({
    taken: [false],
    handled: false,
    faults: [{ edge: 0 }],
  });
});
