import { describe, expect, it } from "vitest";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { type Document, faultsOf, loop, map, step, workflow, workflowWith } from "./documents.ts";

const said = (list: readonly { code: string; path: string }[]) =>
  list.map(({ code, path }) => `${code} ${path}`);
const faults = (document: unknown) => said(faultsOf(document));
const warnings = (document: unknown) => said(compile(document).warnings);

const choose = { id: "c", type: "conditional" };
const join = (trigger_rule: unknown) => step("j", { trigger_rule });

/** `workflowWith`, with conditions on some edges: "a>b": condition. */
function conditioned(document: Document, conditions: Record<string, string>): Document {
  return {
    ...document,
    edges: document.edges.map((edge) => {
      const condition = conditions[`${edge.from}>${edge.to}`];
      return condition === undefined ? edge : { ...edge, condition };
    }),
  };
}

describe("a join behind exclusive branches", () => {
  const branches = (rule: unknown, more: Record<string, unknown>[] = []) =>
    conditioned(workflowWith("c x y z j", "c>x c>y x>j y>z z>j", [choose, join(rule), ...more]), {
      "c>x": "data.a",
    });

  it.each([["all_success"], [{ quorum: 2 }]])("%o is never met", (rule) => {
    expect(faults(branches(rule))).toEqual(["JOIN_NEVER_MET $.nodes[4].trigger_rule"]);
    expect(faultsOf(branches(rule))[0]?.message).toContain('"c" takes only one of its branches');
  });

  it.each([["none_failed_min_one_success"], ["one_success"], ["all_done"], ["none_failed"], [{ quorum: 1 }]])(
    "%o can be met",
    (rule) => {
      expect(faults(branches(rule))).toEqual([]);
    },
  );

  it("of mode all can be met", () => {
    expect(faults(branches("all_success", [{ ...choose, config: { mode: "all" } }]))).toEqual([]);
  });

  it("can be met where a branch joined before", () => {
    const document = workflowWith("c x y m o j", "c>x c>y x>m y>m m>j o>j", [choose, join("all_success")]);
    expect(faults(conditioned(document, { "c>x": "data.a" }))).toEqual([]);
  });

  it("counts: a quorum of what is left can be met", () => {
    const document = (quorum: number) =>
      conditioned(workflowWith("c x y z o j", "c>x c>y c>z x>j y>j z>j o>j", [choose, join({ quorum })]), {
        "c>x": "data.a",
        "c>y": "data.b",
      });
    expect(faults(document(2))).toEqual([]);
    expect(faultsOf(document(3))[0]?.message).toContain("3 of its 4 edges taken, but no more than 2");
  });

  it("of success and failure is never met", () => {
    const document = workflowWith("a x y j", "a>x x>j y>j", [join("all_success")]);
    document.edges.push({ from: "a", to: "y", on: "failure" });
    expect(faults(document)).toEqual(["JOIN_NEVER_MET $.nodes[3].trigger_rule"]);
    document.edges.splice(-1, 1, { from: "a", to: "y", on: "always" });
    expect(faults(document)).toEqual([]);
  });

  it("of a loop's ways out is never met; what follows is not told again", () => {
    const ways = { break_path: "x", timeout_path: "y", condition: "data.more" };
    const nodes = [loop("l", "a", ways), join("all_success"), step("k", { trigger_rule: "all_success" })];
    const document = workflowWith("a l x y j k", "a>l x>j y>j j>k x>k", nodes);
    expect(faults(document)).toEqual(["JOIN_NEVER_MET $.nodes[4].trigger_rule"]);
  });

  it("is found twenty thousand nodes further on", () => {
    const chain = Array.from({ length: 10_000 }, (_, index) => `n${index}`);
    const links = chain.slice(1).map((id, index) => `${chain[index]}>${id}`);
    const document = workflowWith(`c ${chain.join(" ")} y j`, `c>n0 ${links.join(" ")} c>y n9999>j y>j`, [
      choose,
      join("all_success"),
    ]);
    expect(faults(conditioned(document, { "c>y": "data.a" }))).toEqual([
      "JOIN_NEVER_MET $.nodes[10002].trigger_rule",
    ]);
  });
});

describe("a rule that waits for failures", () => {
  const behind = (rule: string, edge: Record<string, unknown>) => ({
    ...workflowWith("s a j", "", [join(rule)]),
    edges: [
      { from: "s", to: "a" },
      { from: "a", to: "j", ...edge },
    ],
  });

  it.each([
    ["one_failed", { on: "success" }],
    ["all_failed", { on: "success" }],
    ["one_failed", { on: "always" }],
    ["one_failed", { on: "failure", condition: 'error.code == "X"' }],
  ])("%s over %o can be met", (rule, edge) => {
    expect(faults(behind(rule, edge))).toEqual([]);
  });

  it("needs an edge that can bring one", () => {
    expect(faults(behind("one_failed", { on: "failure" }))).toEqual([
      "JOIN_NEVER_MET $.nodes[2].trigger_rule",
    ]);
  });
});

describe("a loop", () => {
  const looping = (config: Record<string, unknown>) =>
    workflowWith("a l e", "a>l l>e", [loop("l", "a", config)]);

  it.each([
    [{ max_iterations: undefined }, "LOOP_ENDLESS $.nodes[1]"],
    [{ max_iterations: undefined, condition: "1 < 2" }, "LOOP_ENDLESS $.nodes[1].config.condition"],
  ])("%o never ends", (config, fault) => {
    expect(faults(looping(config))).toEqual([fault]);
  });

  it.each([
    [{ max_iterations: undefined, condition: "data.more" }, []],
    [{ condition: "data.more" }, []],
    [{ condition: "true", timeout_path: "e" }, []],
    [{}, ["LOOP_ALWAYS_FAILS $.nodes[1]"]],
    [{ timeout_path: "e", break_path: "e" }, ["EDGE_NEVER_TAKEN $.nodes[1].config.break_path"]],
    [{ condition: "false" }, ["CONDITION_CONSTANT $.nodes[1].config.condition"]],
  ])("%o ends", (config, warned) => {
    expect(warnings(looping(config))).toEqual(warned);
  });

  it("with break_path never takes its ordinary edges", () => {
    const document = workflowWith("a l e o", "a>l l>e l>o", [
      loop("l", "a", { condition: "data.x", break_path: "e" }),
    ]);
    expect(warnings(document)).toEqual(["EDGE_NEVER_TAKEN $.edges[2]", "NODE_NEVER_RUNS $.nodes[3]"]);
  });
});

describe("constant conditions", () => {
  it("are told, with the nodes that never run for them", () => {
    const document = workflowWith("a b c d", "a>b a>c b>d c>d", [step("d", { trigger_rule: "all_success" })]);
    expect(warnings(conditioned(document, { "a>b": "1 > 2", "a>c": "true" }))).toEqual([
      "CONDITION_CONSTANT $.edges[0].condition",
      "CONDITION_CONSTANT $.edges[1].condition",
      "NODE_NEVER_RUNS $.nodes[1]",
    ]);
  });

  it("of a conditional hide what is looked at later", () => {
    const document = conditioned(workflowWith("c x y z", "c>x c>y c>z", [choose]), {
      "c>x": "true",
      "c>y": "data.a",
    });
    expect(warnings(document)).toEqual([
      "CONDITION_CONSTANT $.edges[0].condition",
      "EDGE_NEVER_TAKEN $.edges[1]",
      "EDGE_NEVER_TAKEN $.edges[2]",
      "NODE_NEVER_RUNS $.nodes[2]",
      "NODE_NEVER_RUNS $.nodes[3]",
    ]);
  });

  it("that fail are left to the run", () => {
    expect(warnings(conditioned(workflow("a b", "a>b"), { "a>b": "1 / 0 > 1" }))).toEqual([]);
  });
});

describe("a value that is named before it may be there", () => {
  const naming = (rule: unknown, id: string) => {
    const transform = { id: "t", type: "transform", config: { expression: `nodes.${id}.output` } };
    return workflowWith("s a b j t", "s>a s>b a>j b>j j>t", [join(rule), transform]);
  };

  it.each([
    ["one_success", "a", true],
    ["one_success", "s", false],
    ["one_success", "j", false],
    [{ quorum: 2 }, "a", false],
    [{ quorum: 1 }, "b", true],
    ["one_failed", "a", true],
    ["all_success", "a", false],
  ])("%o, nodes.%s: %s", (rule, id, isEarly) => {
    expect(warnings(naming(rule, id))).toEqual(
      isEarly ? ["EARLY_REFERENCE $.nodes[4].config.expression"] : [],
    );
  });

  it("counts ancestors that enough branches share", () => {
    const nodes = [
      join({ quorum: 2 }),
      { id: "t", type: "transform", config: { expression: "nodes.a.output" } },
    ];
    expect(warnings(workflowWith("a x y z j t", "a>x a>y x>j y>j z>j j>t", nodes))).toEqual([]);
    expect(warnings(workflowWith("a x y z j t", "a>x x>j y>j z>j j>t", nodes))).toHaveLength(1);
  });

  it("is told inside the body of a map, too", () => {
    const body = {
      nodes: [{ id: "x", type: "transform", config: { expression: "nodes.a.output" } }],
      edges: [],
    };
    const document = workflowWith("a b j m", "a>j b>j j>m", [join("one_success"), map("m", { body })]);
    expect(warnings(document)).toEqual(["EARLY_REFERENCE $.nodes[3].config.body.nodes[0].config.expression"]);
  });
});

it("a semaphore that nothing holds is told", () => {
  expect(warnings({ ...workflow("a"), semaphores: { db: 1 } })).toEqual(["SEMAPHORE_UNUSED $.semaphores.db"]);
});
