import { describe, expect, it } from "vitest";
import { InvalidInputError } from "../../../src/base/errors.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { nearest } from "../../../src/workflow/faults.ts";
import { LIMITS } from "../../../src/workflow/limits.ts";
import { type Case, edge, expectFault, faultsOf, step, transform, workflow } from "./documents.ts";

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
    "$.nodes[0].config.function_nam",
    { name: "x", nodes: [{ id: "a", type: "function", config: { function_name: "f", function_nam: 1 } }] },
  ],
  ...[2_147_483_648, "2147483648", "latest", "01", 0].map(
    (version): Case => [
      "INVALID_VALUE",
      "$.nodes[0].config.version",
      { name: "x", nodes: [{ id: "a", type: "subworkflow", config: { workflow: "w", version } }] },
      "from 1 to 2147483647",
    ],
  ),
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

const ALL = [...SHAPE, ...GRAPH, ...EXPRESSIONS, ...NOT_YET, ...IRS];

describe("faults", () => {
  it.each(ALL)("%s at %s", expectFault);

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
