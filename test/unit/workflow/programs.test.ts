import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { HitzeroError } from "../../../src/base/errors.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { timeOf } from "../../../src/workflow/file/time_text.ts";
import { type Programs, programsOf } from "../../../src/workflow/ir/programs.ts";
import { step } from "./documents.ts";

const { ir } = compile({
  name: "test",
  nodes: [
    step("start"),
    { id: "keep", type: "filter", config: { filter_expression: "item > vars.minimum" } },
    { id: "shape", type: "transform", config: { expression: "data.map(n, n * 2)" } },
    step("repair"),
  ],
  edges: [
    { from: "start", to: "keep", condition: "output.ok" },
    { from: "keep", to: "shape" },
    { from: "start", to: "repair", on: "failure", condition: 'error.code == "X"' },
  ],
  vars: { minimum: 1 },
  output: 'nodes["shape"].output',
});
const context = { data: [1, 2], input: null, vars: { minimum: 1 }, nodes: { shape: { output: [4] } } };

describe("programsOf", () => {
  const programs: Programs = programsOf(ir);

  it("gives the expression of each place", () => {
    expect(programs.filter(1)?.evaluate({ ...context, item: 2, index: 0 })).toBe(true);
    expect(programs.transform(2)?.evaluate(context)).toEqual([2, 4]);
    expect(programs.condition(0)?.evaluate({ ...context, output: { ok: true } })).toBe(true);
    expect(
      programs.condition(2)?.evaluate({ ...context, output: null, error: { code: "X", message: "" } }),
    ).toBe(true);
    expect(programs.output()?.evaluate(context)).toEqual([4]);
  });

  it("gives nothing where there is no expression", () => {
    expect(programs.condition(1)).toBeUndefined();
    expect(programs.transform(0)).toBeUndefined();
    expect(programs.filter(2)).toBeUndefined();
    expect(programsOf(compile({ name: "x", nodes: [step("a")] }).ir).output()).toBeUndefined();
  });

  it("compiles each expression once per IR", () => {
    expect(programsOf(ir)).toBe(programs);
    expect(programs.transform(2)).toBe(programs.transform(2));
    expect(programsOf(structuredClone(ir))).not.toBe(programs);
  });

  it("names the place of a failure", () => {
    try {
      programs.condition(0)?.evaluate({ ...context, output: {} });
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(HitzeroError);
      expect((error as HitzeroError).message).toBe(
        'condition of edge "start" -> "keep": there is no field "ok" (line 1, column 8)',
      );
    }
  });

  it("gives those of loops, maps, waits and sub-workflows", () => {
    const { ir } = compile(JSON.parse(readFileSync(new URL("control_flow.json", import.meta.url), "utf8")));
    const programs = programsOf(ir);
    const at = (id: string) => ir.nodes.findIndex((node) => node.id === id);
    const condition = programs.loopCondition(at("again"));
    expect(condition?.evaluate({ data: { done: true }, loop: { iteration: 1 } })).toBe(true);
    expect(condition?.evaluate({ data: { done: true }, loop: { iteration: 2 } })).toBe(false);
    expect(programs.items(at("each"))?.evaluate({ nodes: { again: { output: { orders: [7] } } } })).toEqual([
      7,
    ]);
    expect(programs.completeWhen(at("each"))?.evaluate({ completed: 3, failed: 0, total: 9 })).toBe(true);
    expect(programs.until(at("pause"))?.evaluate({ data: { next: "2030-01-01T00:00:00Z" } })).toBe(
      "2030-01-01T00:00:00.000Z",
    );
    const [template] = programs.template(at("bill"), ["input", "place"], "{{ index }}");
    expect(template).toMatchObject({
      place: { kind: "subworkflow_input", label: 'input.place of node "bill"' },
    });
    expect(programs.until(at("late"))).toBeUndefined();
    expect(programs.loopCondition(at("poll"))).toBeUndefined();
    expect(programs.completeWhen(at("mail"))).toBeUndefined();
  });

  it("take a time for no expression", () => {
    const nodes = [{ id: "w", type: "wait", config: { until: "2030-01-01t00:00:00.5+01:00" } }];
    expect(programsOf(compile({ name: "x", nodes }).ir).until(0)).toBeUndefined();
    expect(timeOf("2030-01-01t00:00:00.5+01:00")).toBe(Date.UTC(2029, 11, 31, 23, 0, 0, 500));
    expect(timeOf("2030-02-30T00:00:00Z")).toBeUndefined();
    expect(timeOf("soon")).toBeUndefined();
  });
});
