import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { InvalidInputError } from "../../../src/base/errors.ts";
import { compile } from "../../../src/workflow/compile.ts";
import { nearest } from "../../../src/workflow/faults.ts";
import { LIMITS } from "../../../src/workflow/limits.ts";
import { type Document, faultsOf, loop, map, step, workflow, workflowWith } from "./documents.ts";

const transform = (id: string, expression: unknown) => ({ id, type: "transform", config: { expression } });
const edge = (from: string, to: string, more: Record<string, unknown> = {}) => ({ from, to, ...more });

type Case = [code: string, path: string, document: unknown, says?: string];

const SHAPE: Case[] = [
  ["NOT_A_WORKFLOW", "$", [], "not array"],
  ["NOT_A_WORKFLOW", "$", null],
  ["NOT_JSON", "$.vars.x", workflow("a", "", { vars: { x: Number.NaN } }), "$.vars.x"],
  ["NOT_JSON", "$.vars.a", workflow("a", "", { vars: { a: "\u0000" } }), "Postgres"],
  ["LIMIT_EXCEEDED", "$", workflow("a", "", { vars: nested(80) }), "deeper"],
  [
    "RESERVED_KEY",
    '$.vars["x y"].__proto__',
    workflow("a", "", { vars: { "x y": JSON.parse('{"__proto__":1}') } }),
  ],
  ["MISSING_PROPERTY", "$.name", { nodes: [step("a")] }],
  ["MISSING_PROPERTY", "$.nodes", { name: "x" }],
  ["MISSING_PROPERTY", "$.nodes[0].id", { name: "x", nodes: [{ type: "parallel" }] }],
  ["MISSING_PROPERTY", "$.nodes[0].type", { name: "x", nodes: [{ id: "a" }] }, "type"],
  [
    "MISSING_PROPERTY",
    "$.nodes[0].config.function_name",
    { name: "x", nodes: [{ id: "a", type: "function" }] },
  ],
  ["MISSING_PROPERTY", "$.edges[0].to", { ...workflow("a"), edges: [{ from: "a" }] }],
  ["WRONG_TYPE", "$.nodes", { name: "x", nodes: {} }],
  ["WRONG_TYPE", "$.nodes[1]", { name: "x", nodes: [step("a"), 7] }, "an object"],
  ["WRONG_TYPE", "$.edges[0]", { ...workflow("a"), edges: ["a>b"] }],
  ["WRONG_TYPE", "$.nodes[0].type", { name: "x", nodes: [{ id: "a", type: 7 }] }],
  [
    "WRONG_TYPE",
    "$.nodes[0].timeout_ms",
    { name: "x", nodes: [step("a", { timeout_ms: "5" })] },
    "not a string",
  ],
  ["WRONG_TYPE", "$.fail_fast", workflow("a", "", { fail_fast: "yes" })],
  ["UNKNOWN_PROPERTY", "$.node", { ...workflow("a"), node: [] }, "is not known"],
  [
    "UNKNOWN_PROPERTY",
    "$.nodes[0].trigger_rul",
    { name: "x", nodes: [step("a", { trigger_rul: "all_done" })] },
  ],
  [
    "UNKNOWN_PROPERTY",
    "$.nodes[0].retry.max_attempt",
    { name: "x", nodes: [step("a", { retry: { max_attempts: 1, max_attempt: 1 } })] },
  ],
  [
    "UNKNOWN_PROPERTY",
    "$.nodes[0].config.functon",
    { name: "x", nodes: [{ id: "a", type: "function", config: { function_name: "f", functon: 1 } }] },
  ],
  [
    "UNKNOWN_PROPERTY",
    "$.edges[0].conditon",
    { ...workflow("a b"), edges: [edge("a", "b", { conditon: "true" })] },
  ],
  ["INVALID_VALUE", "$.nodes[0].timeout_ms", { name: "x", nodes: [step("a", { timeout_ms: 0 })] }],
  ["INVALID_VALUE", "$.nodes[0].queue", { name: "x", nodes: [step("a", { queue: "a b" })] }],
  ["INVALID_VALUE", "$.edges[0].on", { ...workflow("a b"), edges: [edge("a", "b", { on: "sucess" })] }],
  ["INVALID_VALUE", "$.name", workflow("a", "", { name: "a@1" })],
  ["INVALID_VALUE", "$.name", workflow("a", "", { name: "a\u001b[31m" })],
  [
    "INVALID_VALUE",
    "$.nodes[0].config",
    { name: "x", nodes: [{ id: "a", type: "aggregate", config: {} }] },
    "exactly one",
  ],
  [
    "INVALID_VALUE",
    "$.nodes[0].config",
    { name: "x", nodes: [{ id: "a", type: "aggregate", config: { operation: "sum", strategy: "merge" } }] },
  ],
  [
    "INVALID_VALUE",
    "$.nodes[0].config.mode",
    { name: "x", nodes: [{ id: "a", type: "conditional", config: { mode: "any" } }] },
  ],
  ["LIMIT_EXCEEDED", "$.name", workflow("a", "", { name: "x".repeat(129) })],
  ["LIMIT_EXCEEDED", "$.nodes", { name: "x", nodes: new Array(LIMITS.nodes + 1).fill(0) }, "20001"],
  ["LIMIT_EXCEEDED", "$.edges", { ...workflow("a"), edges: new Array(LIMITS.edges + 1).fill(0) }],
  ["LIMIT_EXCEEDED", "$.vars", workflow("a", "", { vars: { x: "x".repeat(LIMITS.varsBytes) } }), "65536"],
  [
    "LIMIT_EXCEEDED",
    "$.nodes[0].config",
    {
      name: "x",
      nodes: [
        {
          id: "a",
          type: "function",
          config: { function_name: "f", params: { x: "x".repeat(LIMITS.configBytes) } },
        },
      ],
    },
  ],
];

const GRAPH: Case[] = [
  ["NO_NODES", "$.nodes", { name: "x", nodes: [] }],
  ["INVALID_ID", "$.nodes[0].id", workflow("a/b"), "a/b"],
  ["LIMIT_EXCEEDED", "$.nodes[0].id", workflow("x".repeat(129))],
  ["RESERVED_ID", "$.nodes[0].id", workflow("__proto__")],
  ["RESERVED_ID", "$.nodes[1].id", workflow("a constructor")],
  ["RESERVED_ID", "$.nodes[0].id", workflow("prototype")],
  ["DUPLICATE_ID", "$.nodes[2].id", workflow("a b a"), "$.nodes[0]"],
  ["UNKNOWN_TYPE", "$.nodes[0].type", { name: "x", nodes: [{ id: "a", type: "funktion" }] }, "funktion"],
  ["UNKNOWN_TYPE", "$.nodes[0].type", { name: "x", nodes: [{ id: "a", type: "constructor" }] }],
  ["UNKNOWN_NODE", "$.edges[0].to", workflow("fetch", "fetch>fetsh"), "fetsh"],
  ["UNKNOWN_NODE", "$.edges[0].from", workflow("a", "toString>a")],
  [
    "UNKNOWN_NODE",
    "$.nodes[0].config.loop_back_to",
    { name: "x", nodes: [{ id: "l", type: "loop", config: { loop_back_to: "nowhere" } }] },
  ],
  ["SELF_EDGE", "$.edges[0]", workflow("a", "a>a")],
  ["DUPLICATE_EDGE", "$.edges[2]", workflow("a b c", "a>b b>c a>b"), "$.edges[0]"],
  [
    "DUPLICATE_EDGE",
    "$.edges[1]",
    { ...workflow("a b"), edges: [edge("a", "b"), edge("a", "b", { on: "failure" })] },
  ],
  ["CYCLE", "$.edges[3]", workflow("s a b c", "s>a a>b b>c c>a"), "a -> b -> c -> a"],
  ["NO_ENTRY", "$.nodes", workflow("a b c", "a>b b>a b>c")],
  ["NO_TERMINAL", "$.nodes", workflow("s a b", "s>a a>b b>a")],
  ["UNREACHABLE_NODE", "$.nodes[3]", workflow("s a b late", "a>b b>a b>late"), "late"],
  [
    "MULTIPLE_DEFAULTS",
    "$.edges[1]",
    {
      name: "x",
      nodes: [{ id: "c", type: "conditional" }, step("a"), step("b")],
      edges: [edge("c", "a"), edge("c", "b")],
    },
    "$.edges[0]",
  ],
];

const EXPRESSIONS: Case[] = [
  [
    "EXPRESSION_SYNTAX",
    "$.nodes[0].config.expression",
    { name: "x", nodes: [transform("a", "data +")] },
    "line 1, column 7",
  ],
  [
    "EXPRESSION_TYPE",
    "$.nodes[0].config.expression",
    { name: "x", nodes: [transform("a", '"a" + 1')] },
    "string + int",
  ],
  [
    "EXPRESSION_PATTERN",
    "$.nodes[0].config.expression",
    { name: "x", nodes: [transform("a", 'data.matches("(?=a)")')] },
    "RE2",
  ],
  [
    "EXPRESSION_UNKNOWN_VARIABLE",
    "$.nodes[0].config.expression",
    { name: "x", nodes: [transform("a", "output.x")] },
    "output",
  ],
  [
    "EXPRESSION_UNKNOWN_VARIABLE",
    "$.edges[0].condition",
    { ...workflow("a b"), edges: [edge("a", "b", { condition: 'error.code == "X"' })] },
  ],
  ["EXPRESSION_UNKNOWN_VARIABLE", "$.output", workflow("a", "", { output: "data" })],
  [
    "EXPRESSION_UNKNOWN_VARIABLE",
    "$.edges[0].condition",
    { ...workflow("a b"), edges: [edge("a", "b", { condition: "process.exit" })] },
  ],
  [
    "EXPRESSION_NOT_BOOL",
    "$.edges[0].condition",
    { ...workflow("a b"), edges: [edge("a", "b", { condition: "size(output)" })] },
  ],
  [
    "EXPRESSION_TOO_COMPLEX",
    "$.nodes[0].config.expression",
    { name: "x", nodes: [transform("a", `1${"+1".repeat(300)}`)] },
    "maxAstNodes",
  ],
  [
    "LIMIT_EXCEEDED",
    "$.nodes[0].config.expression",
    { name: "x", nodes: [transform("a", `"${"x".repeat(5000)}"`)] },
  ],
  [
    "NODE_REFERENCE_FORM",
    "$.nodes[0].config.expression",
    { name: "x", nodes: [transform("a", "nodes[data.id].output")] },
  ],
  ["NODE_REFERENCE_FORM", "$.output", workflow("a", "", { output: "size(nodes)" })],
  [
    "NODE_REFERENCE_UNKNOWN",
    "$.nodes[0].config.expression",
    { name: "x", nodes: [transform("fetch", 'nodes["fetsh"].output')] },
  ],
  ["NODE_REFERENCE_UNKNOWN", "$.output", workflow("a", "", { output: 'nodes["b"].output' })],
  [
    "NODE_REFERENCE_NOT_ANCESTOR",
    "$.nodes[1].config.expression",
    { name: "x", nodes: [step("a"), transform("b", 'nodes["a"].output')] },
    "race",
  ],
  [
    "NODE_REFERENCE_NOT_ANCESTOR",
    "$.nodes[0].config.expression",
    { name: "x", nodes: [transform("a", 'nodes["a"].output')] },
    "this very node",
  ],
  [
    "NODE_REFERENCE_NOT_ANCESTOR",
    "$.edges[0].condition",
    { ...workflow("a b"), edges: [edge("a", "b", { condition: 'nodes["b"].output == 1' })] },
  ],
];

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

const NOT_YET: Case[] = ["deploy", "rollback"].map((type) => [
  "NOT_SUPPORTED_YET",
  "$.nodes[0].type",
  { name: "x", nodes: [{ id: "a", type }] },
  type,
]);

const IRS: Case[] = [
  ["IR_FORMAT", "$.format", { ...compile(workflow("a")).ir, format: 1 }],
  ["IR_INCONSISTENT", "$.nodes[1].level", withIr((ir) => (ir.nodes[1]!.level = 7))],
  ["IR_INCONSISTENT", "$.nodes[0].out[0]", withIr((ir) => (ir.nodes[0]!.out = []))],
  ["IR_INCONSISTENT", "$.nodes[2].in[0]", withIr((ir) => (ir.nodes[2]!.in = [0]))],
  ["IR_INCONSISTENT", "$.nodes[0].needs[0]", withIr((ir) => (ir.nodes[0]!.needs = [1]))],
  ["IR_INCONSISTENT", "$.terminals[0]", withIr((ir) => (ir.terminals = []))],
  ["IR_INCONSISTENT", "$.nodes[0].level", withIr((ir) => ir.nodes.reverse())],
  ["UNKNOWN_NODE", "$.edges[0].to", withIr((ir) => (ir.edges[0]!.to = 99))],
  ["EXPRESSION_SYNTAX", "$.edges[0].condition", withIr((ir) => (ir.edges[0]!.condition = "1 +"))],
  ["UNKNOWN_PROPERTY", "$.nodes[0].handler", withIr((ir) => Object.assign(ir.nodes[0]!, { handler: 1 }))],
  ["WRONG_TYPE", "$.levels", withIr((ir) => Object.assign(ir, { levels: "2" }))],
];

function withIr(change: (ir: ReturnType<typeof compile>["ir"]) => unknown): unknown {
  const ir = structuredClone(compile(workflow("a b c", "a>b b>c")).ir);
  change(ir);
  return ir;
}

function nested(levels: number): Record<string, unknown> {
  return levels === 0 ? {} : { deeper: nested(levels - 1) };
}

const ALL = [...SHAPE, ...GRAPH, ...EXPRESSIONS, ...BODIES, ...GUARDS, ...NOT_YET, ...IRS];

describe("faults", () => {
  it.each(ALL)("%s at %s", (code, path, document, says = "") => {
    const faults = faultsOf(document);
    const fault = faults.find((candidate) => candidate.code === code && candidate.path === path);
    expect(fault, JSON.stringify(faults)).toBeDefined();
    expect(fault?.message).toContain(says);
    expect(fault?.hint).not.toBe("");
  });

  it("are all documented, and so are warnings", () => {
    const documentation = readFileSync(new URL("../../../docs/errors.md", import.meta.url), "utf8");
    const source = new URL("../../../src/workflow/", import.meta.url);
    const text = readdirSync(source).map((file) => readFileSync(new URL(file, source), "utf8"));
    const added = [...text.join().matchAll(/(?:add|fault|report)\(\s*"([A-Z_]+)"/g)].map((match) => match[1]);
    expect(added.length).toBeGreaterThan(60);
    for (const code of new Set([...added, ...ALL.map(([name]) => name)]))
      expect(documentation).toContain(`\`${code}\``);
  });

  it("are reported all at once", () => {
    const document = {
      nam: "x",
      nodes: [
        step("a"),
        { id: "b", type: "functoin" },
        transform("c", "data +"),
        step("c"),
        step("d", { timeout_ms: -1 }),
      ],
      edges: [
        edge("a", "b"),
        edge("a", "x"),
        edge("a", "b"),
        edge("d", "d"),
        edge("c", "a", { condition: "oups" }),
      ],
    };
    expect(faultsOf(document).map(({ code, path }) => `${code} ${path}`)).toEqual([
      "MISSING_PROPERTY $.name",
      "UNKNOWN_PROPERTY $.nam",
      "UNKNOWN_TYPE $.nodes[1].type",
      "INVALID_VALUE $.nodes[4].timeout_ms",
      "DUPLICATE_ID $.nodes[3].id",
      "UNKNOWN_NODE $.edges[1].to",
      "DUPLICATE_EDGE $.edges[2]",
      "SELF_EDGE $.edges[3]",
      "EXPRESSION_SYNTAX $.nodes[2].config.expression",
      "EXPRESSION_UNKNOWN_VARIABLE $.edges[4].condition",
    ]);
  });

  it("come one per mistake: one unknown end of an edge is one fault", () => {
    expect(faultsOf(workflow("fetch store", "fetch>stor"))).toEqual([
      {
        code: "UNKNOWN_NODE",
        path: "$.edges[0].to",
        message: 'there is no node "stor"',
        hint: 'Did you mean "store"?',
      },
    ]);
  });

  it("suggest the nearest known word", () => {
    const hints = (document: unknown) => faultsOf(document).map((fault) => fault.hint);
    expect(hints({ name: "x", nodes: [{ id: "a", type: "funktion" }] })).toEqual([
      'Did you mean "function"?',
    ]);
    expect(hints({ name: "x", nodes: [step("a", { trigger_rul: 1 })] })).toEqual([
      'Did you mean "trigger_rule"?',
    ]);
    expect(hints({ name: "x", nodes: [transform("fetch", 'nodes["fetsh"].output')] })).toEqual([
      'Did you mean "fetch"?',
    ]);
    expect(nearest("zzzzzz", ["function", "http"])).toBeUndefined();
    expect(nearest("HTTP", ["function", "http"])).toBe("http");
  });

  it("are capped, and the rest is counted", () => {
    const faults = faultsOf(
      workflow("a", Array.from({ length: 150 }, (_, index) => `a>x${index}`).join(" ")),
    );
    expect(faults).toHaveLength(LIMITS.faults + 1);
    expect(faults.at(-1)).toMatchObject({ code: "MORE_FAULTS", message: "… and 50 more" });
  });

  it("never run on: long ids are cut, control characters escaped", () => {
    const [fault] = faultsOf(workflow(`\u001b[2J${"x".repeat(100)}`));
    expect(fault?.message).toContain("\\u001b[2J");
    expect(fault?.message.length).toBeLessThan(200);
  });

  it("of a document from a stranger do not reach JavaScript", () => {
    const hostile = JSON.parse(
      '{"name":"x","__proto__":{"nodes":[]},"nodes":[{"id":"a","type":"parallel","constructor":1}]}',
    );
    expect(faultsOf(hostile).map(({ code, path }) => `${code} ${path}`)).toEqual([
      "RESERVED_KEY $.__proto__",
    ]);
  });
});

describe("cycles", () => {
  it("are each named once, in order, from the node that is first in the file", () => {
    const faults = faultsOf(workflow("s b a d c t", "s>a a>b b>a b>c c>d d>c d>t"));
    expect(faults.map((fault) => fault.message)).toEqual([
      "the edges form a cycle: b -> a -> b",
      "the edges form a cycle: d -> c -> d",
    ]);
  });

  it("of twenty thousand nodes are found without running out of stack", () => {
    const ids = Array.from({ length: 20_000 }, (_, index) => `n${index}`);
    const chain = ids.slice(1).map((id, index) => `${ids[index]}>${id}`);
    const faults = faultsOf(workflow(ids.join(" "), [...chain, "n19999>n1"].join(" ")));
    expect(faults[0]).toMatchObject({ code: "CYCLE", path: "$.edges[19999]" });
    expect(faults[0]?.message).toContain("(19979 more) -> n1");
  });

  it("closed by a loop node are no cycles", () => {
    const document = workflow("start poll", "start>poll");
    document.nodes.push(
      { id: "again", type: "loop", config: { loop_back_to: "poll", max_iterations: 3 } },
      step("end"),
    );
    document.edges.push(edge("poll", "again"), edge("again", "poll"), edge("again", "end"));
    expect(faultsOf(document)).toEqual([]);
  });
});

describe("InvalidInputError", () => {
  it("names the workflow and counts the faults", () => {
    expect(() => compile(workflow("a a", "a>a"))).toThrow(InvalidInputError);
    expect(() => compile(workflow("a a", "a>a"))).toThrow('workflow "test" has 2 faults');
  });
});
