import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { canonicalJson } from "../../../src/base/json.ts";
import { compile, digestOf, loadIr } from "../../../src/workflow/compile/compile.ts";
import { workflowJsonSchemaText } from "../../../src/workflow/file/json_schema.ts";
import { type Document, step, workflow } from "./documents.ts";

const readText = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8");
const examples: Record<string, Document> = {
  ...JSON.parse(readText("../../../test_data/workflow_examples.json")),
  control_flow: JSON.parse(readText("./control_flow.json")),
};

function reordered(value: unknown): unknown {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(reordered);
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, reordered(item)]),
  );
}

describe("compile", () => {
  it.each(["simple_sequential", "parallel_fanout", "conditional_branching", "loop_workflow", "control_flow"])(
    "gives the golden IR of %s",
    async (name) => {
      const { ir } = compile(examples[name]);
      await expect(`${JSON.stringify(ir, null, 2)}\n`).toMatchFileSnapshot(`golden/${name}.ir.json`);
    },
  );

  it("gives one digest whatever the order of properties", () => {
    for (const name of ["conditional_branching", "complex_workflow"]) {
      expect(compile(reordered(examples[name])).digest).toBe(compile(examples[name]).digest);
    }
    expect(compile(workflow("a b")).digest).not.toBe(compile(workflow("b a")).digest);
  });

  it("digests the IR's canonical JSON", () => {
    const { ir, digest } = compile(workflow("a b", "a>b"));
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    expect(digestOf(JSON.parse(canonicalJson(ir)))).toBe(digest);
  });

  it("puts nodes in topological order, ties in file order, edges in file order", () => {
    const { ir } = compile(workflow("end b a start", "start>a start>b b>end a>end"));
    expect(ir.nodes.map((node) => `${node.id} ${node.level}`)).toEqual(["start 0", "b 1", "a 1", "end 2"]);
    expect(ir.edges.map(({ from, to }) => [from, to])).toEqual([
      [0, 2],
      [0, 1],
      [1, 3],
      [2, 3],
    ]);
    expect(ir.nodes.map((node) => node.in)).toEqual([[], [1], [0], [2, 3]]);
    expect(ir.nodes.map((node) => node.out)).toEqual([[0, 1], [2], [3], []]);
    expect(ir).toMatchObject({ entries: [0], terminals: [3], levels: 3 });
  });

  it("orders outgoing edges by priority, then file order, a conditional's default last", () => {
    const nodes = [{ id: "c", type: "conditional" }, ...["u", "v", "w", "x"].map((id) => step(id))];
    const edges = [
      { from: "c", to: "u", priority: -5 },
      { from: "c", to: "v", condition: "true", priority: 2 },
      { from: "c", to: "w", condition: "true", priority: 1 },
      { from: "c", to: "x", condition: "true", priority: 1 },
    ];
    expect(compile({ name: "x", nodes, edges }).ir.nodes[0]?.out).toEqual([2, 3, 1, 0]);
    const plain = [step("c"), ...nodes.slice(1)];
    expect(compile({ name: "x", nodes: plain, edges }).ir.nodes[0]?.out).toEqual([0, 2, 3, 1]);
  });

  it("fills in the defaults", () => {
    const { ir } = compile({
      name: "x",
      nodes: [step("a"), step("b", { retry: { max_attempts: 1 } }), { id: "c", type: "conditional" }],
    });
    expect(ir.nodes[0]).toEqual({
      id: "a",
      type: "function",
      config: { function_name: "work", params: {} },
      level: 0,
      trigger_rule: "none_failed_min_one_success",
      terminal: true,
      in: [],
      out: [],
      needs: [],
      retry: {
        max_attempts: 1,
        backoff_ms: 1000,
        backoff_multiplier: 2,
        max_backoff_ms: 60000,
        jitter: true,
      },
      timeout_ms: 300000,
      queue: "default",
      priority: 0,
      body: -1,
    });
    expect(ir.nodes[1]?.retry).toEqual(ir.nodes[0]?.retry);
    expect(ir.nodes[2]?.config).toEqual({ mode: "first" });
    expect(ir).toMatchObject({
      format: 3,
      timeout_ms: 0,
      max_parallel_nodes: 0,
      fail_fast: false,
      vars: {},
      output_needs: [],
    });
    expect(ir).not.toHaveProperty("output");
    expect(ir).not.toHaveProperty("input_schema");
  });

  it("lists the ancestors that a node's expressions and its edges' conditions need", () => {
    const nodes = [
      step("a"),
      step("b"),
      { id: "t", type: "transform", config: { expression: 'nodes["a"].output.x + nodes.b.output.y' } },
      step("z"),
    ];
    const edges = [
      { from: "a", to: "b" },
      { from: "b", to: "t" },
      { from: "t", to: "z", condition: 'has(nodes["a"].output.x) && nodes["t"].output == 3' },
    ];
    const { ir } = compile({ name: "x", nodes, edges, output: 'nodes["z"].output + nodes["a"].output' });
    expect(ir.nodes.map((node) => node.needs)).toEqual([[], [], [0, 1], []]);
    expect(ir.output_needs).toEqual([0, 3]);
  });

  it("keeps nothing of the caller's document", () => {
    const document = workflow("a", "", { vars: { list: [1] } });
    const { ir, digest } = compile(document);
    (document.vars as { list: number[] }).list.push(2);
    document.nodes[0] = step("changed");
    expect(digestOf(ir)).toBe(digest);
  });

  it("warns of what is probably not meant", () => {
    const document = {
      name: "x",
      nodes: [{ id: "c", type: "conditional" }, step("a")],
      edges: [{ from: "c", to: "a" }],
    };
    expect(compile(document).warnings.map(({ code, path }) => `${code} ${path}`)).toEqual([
      "NO_CONDITIONS $.nodes[0]",
    ]);
    expect(compile(workflow("a")).warnings).toEqual([]);
  });

  it("compiles the recorded workflows", () => {
    for (const [name, levels] of [
      ["montage", 8],
      ["epigenomics", 9],
    ] as const) {
      const { ir } = compile(JSON.parse(readText(`../../../test_data/${name}.json`)));
      expect(ir.levels).toBe(levels);
    }
  });

  it("takes a chain of twenty thousand nodes, each naming an ancestor far away", () => {
    const nodes = Array.from({ length: 20_000 }, (_, index) => ({
      id: `n${index}`,
      type: "transform",
      config: { expression: index === 0 ? "data" : `nodes["n${index >> 1}"].output` },
    }));
    const edges = nodes.slice(1).map(({ id }, index) => ({ from: `n${index}`, to: id }));
    const { ir } = compile({ name: "x", nodes, edges });
    expect(ir.levels).toBe(20_000);
    expect(ir.nodes[19_999]?.needs).toEqual([9_999]);
  });
});

describe("loadIr", () => {
  it("gives back what compile made, with the same digest", () => {
    for (const name of [
      "simple_sequential",
      "parallel_fanout",
      "conditional_branching",
      "complex_workflow",
      "loop_workflow",
      "control_flow",
    ]) {
      const compiled = compile(examples[name]);
      const loaded = loadIr(JSON.parse(JSON.stringify(compiled.ir)));
      expect(loaded.digest).toBe(compiled.digest);
      expect(loaded.ir).toEqual(compiled.ir);
      expect(compile(compiled.ir).digest).toBe(compiled.digest);
    }
  });
});

describe("schema/workflow.schema.json", () => {
  const text = workflowJsonSchemaText();

  it("is up to date (npx tsx scripts/generate_schema.ts)", () => {
    expect(readText("../../../schema/workflow.schema.json")).toBe(text);
  });

  it("describes every property", () => {
    const bare: string[] = [];
    const visit = (schema: unknown, path: string): void => {
      if (schema === null || typeof schema !== "object") return;
      const { properties } = schema as { properties?: Record<string, { description?: string }> };
      for (const [name, property] of Object.entries(properties ?? {})) {
        if (property.description === undefined) bare.push(`${path}.${name}`);
      }
      for (const [key, item] of Object.entries(schema)) visit(item, `${path}.${key}`);
    };
    visit(JSON.parse(text), "$");
    expect(bare).toEqual([]);
  });
});
