import { describe, expect, it } from "vitest";
import { compile, loadIr } from "../../../src/workflow/compile/compile.ts";
import { edge, step, transform, workflow } from "./documents.ts";

const said = (document: unknown) =>
  compile(document)
    .warnings.filter(({ code }) => code === "JOIN_DATA")
    .map(({ path }) => path);

/** extract -> clean, extract -(failure)-> mirror -> clean */
const fallback = (clean: object, join: object[] = []) => ({
  name: "x",
  nodes: [step("extract"), step("mirror"), ...join, clean],
  edges: [
    edge("extract", join.length > 0 ? "join" : "clean"),
    edge("extract", "mirror", { on: "failure" }),
    edge("mirror", join.length > 0 ? "join" : "clean"),
    ...(join.length > 0 ? [edge("join", "clean")] : []),
  ],
});

describe("a join of which only one arrival is taken", () => {
  const filter = { id: "clean", type: "filter", config: { filter_expression: "item.ok" } };

  it("is warned of where data.x or a filter stands behind it, and told the way out", () => {
    expect(said(fallback(transform("clean", "data.rows")))).toEqual(["$.nodes[2].config.expression"]);
    expect(said(fallback(filter))).toEqual(["$.nodes[2]"]);
    const [warning] = compile(fallback(filter)).warnings;
    expect(warning?.hint).toContain("coalesce");
    expect(warning?.hint).toContain("has(data.extract) ? data.extract : data.mirror");
  });

  it("is warned of in templates, in `input` and in conditions of outgoing edges, too", () => {
    const http = {
      id: "clean",
      type: "http",
      config: {
        url: "https://example.org/{{ data.id }}",
        body: { rows: ["{{ has(data.rows) ? data.rows : [] }}"] },
      },
    };
    expect(said(fallback(http))).toEqual(["$.nodes[2].config.url"]);
    const child = {
      id: "clean",
      type: "subworkflow",
      config: { workflow: "w", input: { a: ["{{ data.id }}"] } },
    };
    expect(said(fallback(child))).toEqual(["$.nodes[2].config.input.a[0]"]);
    expect(said(fallback(step("clean", { input: "data.rows" })))).toEqual(["$.nodes[2].input"]);
    const behind = (clean: object, condition: string) => {
      const { nodes, edges, ...rest } = fallback(clean);
      return {
        ...rest,
        nodes: [...nodes, step("after")],
        edges: [...edges, edge("clean", "after", { condition })],
      };
    };
    expect(said(behind(step("clean"), "data.rows != null"))).toEqual(["$.edges[3].condition"]);
    // A conditional's output is its data; a function's is its own.
    const decides = { id: "clean", type: "conditional" };
    expect(said(behind(decides, "output.score > 5"))).toEqual(["$.edges[3].condition"]);
    expect(said(behind(step("clean"), "output.score > 5"))).toEqual([]);
    expect(said(behind(decides, 'nodes["extract"].output.score > 5'))).toEqual([]);
    expect(said(behind(step("clean", { input: "1" }), "data.rows != null"))).toEqual([]);
  });

  it("is not where coalesce, input or has() takes care of it, nor where all arrive", () => {
    const coalesce = { id: "join", type: "aggregate", config: { strategy: "coalesce" } };
    expect(said(fallback(transform("clean", "data.rows"), [coalesce]))).toEqual([]);
    const input = "has(data.extract) ? data.extract : data.mirror";
    expect(said(fallback({ ...filter, input }))).toEqual([]);
    expect(said(fallback(transform("clean", input.replace(": data.mirror", ": null"))))).toEqual([]);
    expect(said(fallback(transform("clean", input)))).toEqual([]);
    const both = { ...workflow("a b", "a>c b>c"), nodes: [step("a"), step("b"), transform("c", "data.a")] };
    expect(said(both)).toEqual([]);
  });
});

it("input of a node stands in its IR, and comes back from it", () => {
  const { ir } = compile({ name: "x", nodes: [step("a", { input: "data.n" })] });
  expect(ir.nodes[0]).toMatchObject({ input: "data.n" });
  expect(loadIr(JSON.parse(JSON.stringify(ir))).ir).toEqual(ir);
});
