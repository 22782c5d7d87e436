import { describe, expect, it } from "vitest";
import { compile, loadIr } from "../../../src/workflow/compile.ts";
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

  it("is not where coalesce, input or has() takes care of it, nor where all arrive", () => {
    const coalesce = { id: "join", type: "aggregate", config: { strategy: "coalesce" } };
    expect(said(fallback(transform("clean", "data.rows"), [coalesce]))).toEqual([]);
    const input = "has(data.extract) ? data.extract : data.mirror";
    expect(said(fallback({ ...filter, input }))).toEqual([]);
    expect(said(fallback(transform("clean", input.replace(": data.mirror", ": null"))))).toEqual([]);
    const both = { ...workflow("a b", "a>c b>c"), nodes: [step("a"), step("b"), transform("c", "data.a")] };
    expect(said(both)).toEqual([]);
  });
});

it("input of a node stands in its IR, and comes back from it", () => {
  const { ir } = compile({ name: "x", nodes: [step("a", { input: "data.n" })] });
  expect(ir.nodes[0]).toMatchObject({ input: "data.n" });
  expect(loadIr(JSON.parse(JSON.stringify(ir))).ir).toEqual(ir);
});
