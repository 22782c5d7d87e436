import { describe, expect, it } from "vitest";
import { compile, loadIr } from "../../../src/workflow/compile/compile.ts";
import type { IR } from "../../../src/workflow/ir/ir.ts";
import { type Document, faultsOf, loop, map, step, workflow, workflowWith } from "./documents.ts";

/** Bodies by their node's id: kind, parent's id, entries > terminals, members. */
function bodiesOf(ir: IR): string[] {
  const id = (index: number) => ir.nodes[index]?.id as string;
  return ir.bodies.map(({ kind, node, parent, entries, terminals }, index) => {
    const members = ir.nodes.filter((candidate) => candidate.body === index).map((member) => member.id);
    const around = parent === -1 ? "-" : id(ir.bodies[parent]?.node as number);
    return `${kind} ${id(node)} in ${around}: ${entries.map(id)}>${terminals.map(id)} [${members}]`;
  });
}

function edgesOf(ir: IR): string[] {
  return ir.edges.map(({ from, to, exits, enters }) => {
    const crossing = `${exits === undefined ? "" : ` -${exits}`}${enters === undefined ? "" : ` +${enters}`}`;
    return `${ir.nodes[from]?.id}>${ir.nodes[to]?.id}${crossing}`;
  });
}

function compiled(document: Document): IR {
  const { ir, digest } = compile(document);
  expect(loadIr(JSON.parse(JSON.stringify(ir))).digest).toBe(digest);
  return ir;
}

describe("the body of a loop", () => {
  it("is what lies between its entry and the loop node; the edge back is dropped", () => {
    const ir = compiled(
      workflowWith("s p q again e", "s>p p>q q>again p>again again>p again>e", [loop("again", "p")]),
    );
    expect(bodiesOf(ir)).toEqual(["loop again in -: p>again [p,q,again]"]);
    expect(edgesOf(ir)).toEqual(["s>p +0", "p>q", "q>again", "p>again", "again>e -1"]);
    expect(ir.nodes[3]?.loop).toEqual({ entry: 1, max_iterations: 3 });
    expect(ir.nodes[1]?.in).toEqual([0]);
  });

  it("may be the loop node alone", () => {
    const ir = compiled(workflowWith("s l e", "s>l l>l l>e", [loop("l", "l")]));
    expect(bodiesOf(ir)).toEqual(["loop l in -: l>l [l]"]);
    expect(edgesOf(ir)).toEqual(["s>l +0", "l>e -1"]);
  });

  it("may begin the graph and end it", () => {
    const ir = compiled(workflowWith("a l", "a>l", [loop("l", "a")]));
    expect(ir).toMatchObject({ entries: [0], terminals: [1] });
  });

  it("nests: outer first, and an entry may begin several", () => {
    const ir = compiled(
      workflowWith("s a i b o e", "s>a a>i i>b b>o o>e o>a i>a", [loop("i", "a"), loop("o", "a")]),
    );
    expect(bodiesOf(ir)).toEqual(["loop o in -: a>o [b,o]", "loop i in o: a>i [a,i]"]);
    expect(edgesOf(ir)).toEqual(["s>a +0,1", "a>i", "i>b -1", "b>o", "o>e -1"]);
  });

  it("may follow another one at once", () => {
    const ir = compiled(workflowWith("a l b m", "a>l l>b b>m", [loop("l", "a"), loop("m", "b")]));
    expect(edgesOf(ir)).toEqual(["a>l", "l>b -1 +1", "b>m"]);
  });

  it("gets the edges that break_path and timeout_path name, behind the file's", () => {
    const paths = { break_path: "e", timeout_path: "t" };
    const ir = compiled(workflowWith("a l t e z", "a>l l>t e>z", [loop("l", "a", paths)]));
    expect(edgesOf(ir)).toEqual(["a>l", "l>t -1", "e>z", "l>e -1"]);
    expect(ir.nodes[1]?.loop).toEqual({ entry: 0, max_iterations: 3, break: [3], timeout: [1] });
  });

  it("of an inner loop is left by its ways out only as far as the outer one reaches", () => {
    const nodes = [loop("i", "a", { break_path: "b" }), loop("o", "a")];
    const ir = compiled(workflowWith("a i b o", "a>i b>o", nodes));
    expect(bodiesOf(ir)).toEqual(["loop o in -: a>o [b,o]", "loop i in o: a>i [a,i]"]);
  });

  it("is found quickly however many loops there are", () => {
    const count = 6_000;
    const ids = Array.from({ length: count }, (_, index) => index);
    const nodes = ids.flatMap((index) => [
      step(`a${index}`),
      step(`b${index}`),
      loop(`l${index}`, `a${index}`),
    ]);
    const edges = ids.flatMap((index) => [
      { from: `a${index}`, to: `b${index}` },
      { from: `b${index}`, to: `l${index}` },
      ...(index === 0 ? [] : [{ from: `l${index - 1}`, to: `a${index}` }]),
    ]);
    expect(compile({ name: "x", nodes, edges }).ir.bodies).toHaveLength(count);
  });
});

describe("the body of a map", () => {
  it("stands right behind its node, flat, and its edges behind all others", () => {
    const inner = workflow("x y z", "x>y x>z");
    const ir = compiled(workflowWith("b a m c", "a>m m>c a>b", [map("m", inner)]));
    expect(ir.nodes.map((node) => `${node.id} ${node.level}`)).toEqual([
      "a 0",
      "b 1",
      "m 1",
      "x 2",
      "y 3",
      "z 3",
      "c 2",
    ]);
    expect(bodiesOf(ir)).toEqual(["map m in -: x>y,z [x,y,z]"]);
    expect(edgesOf(ir)).toEqual(["a>m", "m>c", "a>b", "x>y", "x>z"]);
    expect(ir).toMatchObject({ entries: [0], terminals: [1, 6], levels: 4 });
    expect(ir.nodes[2]).toMatchObject({ map_body: 0, body: -1 });
    expect(ir.nodes[2]?.config).toEqual({ items: "data", max_concurrency: 1000, tolerated_failures: 0 });
    expect(ir.nodes[4]?.terminal).toBe(true);
  });

  it("that is a workflow is one hidden node", () => {
    const nodes = [{ ...map("m", { workflow: "w", version: 2 }), queue: "q" }];
    const ir = compiled(workflowWith("m c", "m>c", nodes));
    expect(ir.nodes[1]).toMatchObject({
      id: "m.item",
      type: "subworkflow",
      config: { workflow: "w", version: 2 },
      queue: "q",
      body: 0,
    });
    expect(ir.nodes[0]?.config).not.toHaveProperty("workflow");
    expect(bodiesOf(ir)).toEqual(["map m in -: m.item>m.item [m.item]"]);
  });

  it("nests with loops and maps", () => {
    const innermost = workflow("z");
    const inner = workflowWith("x n l y", "x>n n>l l>y", [map("n", innermost), loop("l", "x")]);
    const ir = compiled(workflowWith("a m o", "a>m m>o", [map("m", inner), loop("o", "a")]));
    expect(bodiesOf(ir)).toEqual([
      "loop o in -: a>o [a,m,o]",
      "map m in o: x>y [y]",
      "loop l in m: x>l [x,n,l]",
      "map n in l: z>z [z]",
    ]);
    expect(edgesOf(ir)).toEqual(["a>m", "m>o", "x>n", "n>l", "l>y -1"]);
  });

  it("may name ancestors of its map node", () => {
    const body = {
      nodes: [{ id: "x", type: "transform", config: { expression: 'nodes["a"].output + item + index' } }],
      edges: [],
    };
    const ir = compiled(workflowWith("a b m", "a>b b>m", [map("m", body)]));
    expect(ir.nodes[3]?.needs).toEqual([0]);
  });

  it("is read with all its faults", () => {
    const body = {
      nodes: [step("x", { timeout_ms: -1 }), step("b"), 7],
      edges: [{ from: "x", to: "nowhere" }],
    };
    expect(
      faultsOf(workflowWith("b m", "", [map("m", body)])).map(({ code, path }) => `${code} ${path}`),
    ).toEqual([
      "INVALID_VALUE $.nodes[1].config.body.nodes[0].timeout_ms",
      "WRONG_TYPE $.nodes[1].config.body.nodes[2]",
      "DUPLICATE_ID $.nodes[1].config.body.nodes[1].id",
      "UNKNOWN_NODE $.nodes[1].config.body.edges[0].to",
    ]);
  });
});
