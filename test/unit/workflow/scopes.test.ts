import { describe, expect, it } from "vitest";
import { compile } from "../../../src/workflow/compile/compile.ts";
import {
  bodyPath,
  depthOf,
  enterScope,
  itemIndexOf,
  iterationOf,
  nextIteration,
  scopePrefix,
  startScope,
  storageDepth,
} from "../../../src/workflow/ir/scopes.ts";
import { loop, map, workflow, workflowWith } from "./documents.ts";

const each = map("each", workflowWith("x y", "x>y", [loop("y", "x")]));
const { ir } = compile(
  workflowWith("s a each in b out e", "s>a a>each each>in in>b b>out out>e", [
    each,
    loop("in", "a"),
    loop("out", "a"),
  ]),
);
const node = (id: string) => ir.nodes.findIndex((candidate) => candidate.id === id);
const body = (id: string) => ir.bodies.findIndex((candidate) => candidate.node === node(id));
const edge = (from: string, to: string) =>
  ir.edges.find((candidate) => candidate.from === node(from) && candidate.to === node(to))!;

describe("scopes", () => {
  it("have one component for each body", () => {
    expect(bodyPath(ir, body("y"))).toEqual([body("out"), body("in"), body("each"), body("y")]);
    expect(bodyPath(ir, -1)).toEqual([]);
    expect([depthOf(ir, -1), depthOf(ir, body("out")), depthOf(ir, body("y"))]).toEqual([0, 1, 4]);
  });

  it("change along edges", () => {
    expect(enterScope(ir, "", edge("s", "a"))).toBe("out:1/in:1");
    expect(enterScope(ir, "out:2/in:3", edge("a", "each"))).toBe("out:2/in:3");
    expect(enterScope(ir, "out:2/in:3", edge("in", "b"))).toBe("out:2");
    expect(enterScope(ir, "out:2", edge("out", "e"))).toBe("");
  });

  it("begin with the loops that begin there", () => {
    expect(startScope(ir, "", node("a"))).toBe("out:1/in:1");
    expect(startScope(ir, "out:2/in:3/each:17", node("x"))).toBe("out:2/in:3/each:17/y:1");
    expect(startScope(ir, "", node("s"))).toBe("");
  });

  it("go on to the next iteration", () => {
    expect(nextIteration(ir, "out:2/in:3", node("in"))).toBe("out:2/in:4");
    expect(nextIteration(ir, "out:9", node("out"))).toBe("out:10/in:1");
    expect(nextIteration(ir, "out:1/in:1/each:17/y:5", node("y"))).toBe("out:1/in:1/each:17/y:6");
  });

  it("say where outputs are kept", () => {
    expect(storageDepth(ir, node("s"))).toBe(0);
    expect(storageDepth(ir, node("a"))).toBe(2);
    expect(storageDepth(ir, node("in"))).toBe(1);
    expect(storageDepth(ir, node("y"))).toBe(3);
    expect(scopePrefix("out:1/in:2/each:3", 2)).toBe("out:1/in:2");
    expect(scopePrefix("out:1", 0)).toBe("");
  });

  it("tell iteration and item", () => {
    const scope = "out:2/in:3/each:17/y:5";
    expect(iterationOf(ir, node("x"), scope)).toBe(5);
    expect(itemIndexOf(ir, node("x"), scope)).toEqual({ index: 17, map: node("each"), scope: "out:2/in:3" });
    expect(iterationOf(ir, node("each"), "out:2/in:3")).toBe(3);
    expect(itemIndexOf(ir, node("each"), "out:2/in:3")).toBeUndefined();
    expect(iterationOf(ir, node("s"), "")).toBeUndefined();
    expect(compile(workflow("a")).ir.bodies).toEqual([]);
  });
});
