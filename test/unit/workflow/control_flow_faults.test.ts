/** Faults of loops, maps, withdrawal, guards and compensation. */
import { describe, it } from "vitest";
import {
  type Case,
  type Document,
  edge,
  expectFault,
  loop,
  map,
  step,
  transform,
  workflow,
  workflowWith,
} from "./documents.ts";

function many(count: number): string {
  return Array.from({ length: count }, (_, index) => `n${index}`).join(" ");
}

/** Loops around one node. */
function deepLoops(depth: number): Document {
  const loops = Array.from({ length: depth }, (_, index) => loop(`l${index}`, "a"));
  const ids = ["a", ...loops.map(({ id }) => id as string)];
  return {
    name: "x",
    nodes: [step("a"), ...loops].reverse(),
    edges: ids.slice(1).map((id, index) => edge(ids[index] as string, id)),
  };
}

const inBody = (nodes: Record<string, unknown>[], edges: unknown[] = []) =>
  map("m", { body: { nodes, edges } });

const BODIES: Case[] = [
  ["LOOP_NOT_REACHED", "$.nodes[1].config.loop_back_to", workflowWith("a l", "", [loop("l", "a")]), '"a"'],
  [
    "LOOP_BODY_ENTERED",
    "$.edges[1]",
    workflowWith("s a b l", "s>a s>b a>b b>l", [loop("l", "a")]),
    '"s" -> "b" enters',
  ],
  [
    "LOOP_BODY_LEFT",
    "$.edges[2]",
    workflowWith("a b l e", "a>b b>l b>e", [loop("l", "a")]),
    '"b" -> "e" leaves',
  ],
  [
    "LOOP_BODY_LEFT",
    "$.edges[2]",
    {
      ...workflowWith("a b l e", "a>b b>l", [loop("l", "a")]),
      edges: [edge("a", "b"), edge("b", "l"), edge("b", "e", { on: "failure" })],
    },
  ],
  [
    "LOOP_BODY_LEFT",
    "$.edges[4]",
    workflowWith("o a l m e", "o>a a>l l>m m>e l>e", [loop("l", "a"), loop("m", "o")]),
  ],
  [
    "LOOP_BODIES_OVERLAP",
    "$.nodes[3].config.loop_back_to",
    workflowWith("a b l m", "a>b b>l l>m", [loop("l", "a"), loop("m", "b")]),
    '"l" and "m"',
  ],
  [
    "LOOP_PATH_INSIDE",
    "$.nodes[1].config.break_path",
    workflowWith("a l", "a>l", [loop("l", "a", { break_path: "a" })]),
  ],
  [
    "LOOP_PATH_INSIDE",
    "$.nodes[2].config.timeout_path",
    workflowWith("a b l", "a>b b>l", [loop("l", "a", { timeout_path: "b" })]),
    "b -> l -> b",
  ],
  [
    "LOOP_PATH_INSIDE",
    "$.nodes[2].config.break_path",
    workflowWith("a b l e", "a>b b>l l>b", [loop("l", "a", { break_path: "b" })]),
  ],
  [
    "INVALID_VALUE",
    "$.edges[1].condition",
    {
      ...workflowWith("a l", "", [loop("l", "a")]),
      edges: [edge("a", "l"), edge("l", "a", { condition: "true" })],
    },
    "goes back",
  ],
  [
    "INVALID_VALUE",
    "$.edges[1].on",
    {
      ...workflowWith("a l e", "", [loop("l", "a", { break_path: "e" })]),
      edges: [edge("a", "l"), edge("l", "e", { on: "failure" })],
    },
    "break_path",
  ],
  [
    "UNKNOWN_NODE",
    "$.nodes[1].config.break_path",
    workflowWith("a l", "a>l", [loop("l", "a", { break_path: "x" })]),
  ],
  [
    "EDGE_CROSSES_BODY",
    "$.edges[0]",
    workflowWith("a m", "a>x", [inBody([step("x")])]),
    'in the body of the map "m"',
  ],
  [
    "EDGE_CROSSES_BODY",
    "$.nodes[1].config.body.edges[0]",
    workflowWith("a m", "", [inBody([step("x")], [edge("x", "a")])]),
    "outside this body",
  ],
  [
    "EDGE_CROSSES_BODY",
    "$.nodes[1].config.body.nodes[1].config.loop_back_to",
    workflowWith("a m", "", [inBody([step("x"), loop("l", "a")], [edge("x", "l")])]),
  ],
  ["LIMIT_EXCEEDED", "$.nodes[16]", deepLoops(17), "16"],
  ["MISSING_PROPERTY", "$.nodes[0].config.items", { name: "x", nodes: [{ id: "m", type: "map" }] }],
  [
    "INVALID_VALUE",
    "$.nodes[0].config",
    { name: "x", nodes: [map("m", { workflow: "w", body: { nodes: [step("x")] } })] },
    "exactly one",
  ],
  [
    "INVALID_VALUE",
    "$.nodes[0].config.name",
    { name: "x", nodes: [map("m", { open: true, workflow: "w" })] },
    "belong together",
  ],
  [
    "INVALID_VALUE",
    "$.nodes[0].config.version",
    { name: "x", nodes: [map("m", { version: 1, body: { nodes: [step("x")] } })] },
  ],
  [
    "VARIABLE_OUTSIDE_BODY",
    "$.nodes[0].config.expression",
    { name: "x", nodes: [transform("a", "loop.iteration")] },
  ],
  [
    "VARIABLE_OUTSIDE_BODY",
    "$.edges[0].condition",
    { ...workflow("a b"), edges: [edge("a", "b", { condition: "item == 1" })] },
    "map",
  ],
  [
    "VARIABLE_OUTSIDE_BODY",
    "$.nodes[0].config.body.nodes[0].config.expression",
    { name: "x", nodes: [inBody([transform("a", "loop.iteration")])] },
    "loop",
  ],
  ["EXPRESSION_UNKNOWN_VARIABLE", "$.output", workflow("a", "", { output: "loop.iteration" }), "loop"],
  [
    "NODE_REFERENCE_IN_BODY",
    "$.nodes[2].config.expression",
    workflowWith("a l t", "a>l l>t", [loop("l", "a"), transform("t", 'nodes["a"].output')]),
  ],
  [
    "NODE_REFERENCE_IN_BODY",
    "$.nodes[1].config.expression",
    workflowWith("m t", "m>t", [inBody([step("x")]), transform("t", 'nodes["x"].output')]),
  ],
  [
    "NODE_REFERENCE_IN_BODY",
    "$.output",
    { ...workflowWith("a l", "a>l", [loop("l", "a")]), output: 'nodes["a"].output' },
  ],
  [
    "NODE_REFERENCE_NOT_ANCESTOR",
    "$.nodes[0].config.body.nodes[0].config.expression",
    { name: "x", nodes: [inBody([transform("x", 'nodes["m"].output')])] },
  ],
  [
    "NODE_REFERENCE_UNKNOWN",
    "$.output",
    { name: "x", nodes: [map("m", { workflow: "w" })], output: 'nodes["m.item"].output' },
  ],
  [
    "EXPRESSION_NOT_BOOL",
    "$.nodes[1].config.condition",
    workflowWith("a l", "a>l", [loop("l", "a", { condition: "1" })]),
  ],
  [
    "EXPRESSION_UNKNOWN_VARIABLE",
    "$.nodes[0].config.complete_when",
    { name: "x", nodes: [map("m", { workflow: "w", complete_when: "data" })] },
    "data",
  ],
  [
    "EXPRESSION_SYNTAX",
    "$.nodes[0].config.until",
    { name: "x", nodes: [{ id: "w", type: "wait", config: { until: "next tuesday" } }] },
  ],
  [
    "INVALID_VALUE",
    "$.nodes[0].config.until",
    { name: "x", nodes: [{ id: "w", type: "wait", config: { until: "2026-02-31T00:00:00Z" } }] },
  ],
  [
    "INVALID_VALUE",
    "$.nodes[0].config.duration_ms",
    { name: "x", nodes: [{ id: "w", type: "wait", config: { duration_ms: 1e15 } }] },
  ],
  [
    "TEMPLATE_SYNTAX",
    "$.nodes[0].config.input.list[1]",
    {
      name: "x",
      nodes: [{ id: "s", type: "subworkflow", config: { workflow: "w", input: { list: [1, "{{"] } } }],
    },
  ],
  [
    "EXPRESSION_UNKNOWN_VARIABLE",
    "$.nodes[0].config.input",
    {
      name: "x",
      nodes: [{ id: "s", type: "subworkflow", config: { workflow: "w", input: "{{ secrets.A }}" } }],
    },
  ],
];

const GUARDS: Case[] = [
  [
    "QUORUM_TOO_LARGE",
    "$.nodes[1].trigger_rule.quorum",
    workflowWith("a b", "a>b", [step("b", { trigger_rule: { quorum: 2 } })]),
    "1 edge",
  ],
  ["UNKNOWN_NODE", "$.nodes[0].cancels[1]", workflowWith("a b", "", [step("a", { cancels: ["b", "x"] })])],
  ["INVALID_VALUE", "$.nodes[0].cancels[0]", workflowWith("a b", "", [step("a", { cancels: ["a"] })])],
  [
    "NOT_SAME_BODY",
    "$.nodes[0].cancels[0]",
    workflowWith("s a l", "a>l", [step("s", { cancels: ["a"] }), loop("l", "a")]),
  ],
  [
    "NOT_SAME_BODY",
    "$.nodes[1].cancels[0]",
    workflowWith("s a l", "a>l", [step("a", { cancels: ["s"] }), loop("l", "a")]),
  ],
  [
    "LIMIT_EXCEEDED",
    "$.nodes[400]",
    workflowWith(
      many(500),
      "",
      many(500)
        .split(" ")
        .map((id) => step(id, { cancels: ["*"] })),
    ),
  ],
  [
    "CANCEL_REST_RULE",
    "$.nodes[1].cancel_rest",
    workflowWith("a b", "a>b", [step("b", { cancel_rest: true })]),
  ],
  [
    "CANCEL_REST_RULE",
    "$.nodes[1].cancels",
    workflowWith("a b", "a>b", [
      step("b", { cancel_rest: true, trigger_rule: "one_success", cancels: ["a"] }),
    ]),
  ],
  [
    "CANCEL_REST_RULE",
    "$.nodes[1].cancel_rest",
    workflowWith("a b l", "a>b b>l", [
      step("b", { cancel_rest: true, trigger_rule: "one_success" }),
      loop("l", "b"),
    ]),
    "outside the loop",
  ],
  [
    "UNKNOWN_SEMAPHORE",
    "$.nodes[0].holds[0]",
    { name: "x", nodes: [step("a", { holds: ["dbb"] })], semaphores: { db: 1 } },
  ],
  ["UNKNOWN_NODE", "$.nodes[0].unless[0]", { name: "x", nodes: [step("a", { unless: ["b"] })] }],
  ["INVALID_VALUE", "$.nodes[0].unless[0]", { name: "x", nodes: [step("a", { unless: ["a"] })] }],
  [
    "NOT_SAME_BODY",
    "$.nodes[0].unless[0]",
    workflowWith("s l", "", [step("s", { unless: ["l"] }), loop("l", "l")]),
  ],
  ["UNLESS_ANCESTOR", "$.nodes[1].unless[0]", workflowWith("a b", "a>b", [step("b", { unless: ["a"] })])],
  [
    "UNKNOWN_PROPERTY",
    "$.nodes[0].compensate_with",
    { name: "x", nodes: [{ id: "p", type: "parallel", compensate_with: { function_name: "f" } }] },
  ],
];

describe("faults of bodies", () => {
  it.each(BODIES)("%s at %s", expectFault);
});

describe("faults of withdrawal, guards and compensation", () => {
  it.each(GUARDS)("%s at %s", expectFault);
});
