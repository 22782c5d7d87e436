/** Random workflows of loops and maps within each other. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { compile, loadIr } from "../../../src/workflow/compile/compile.ts";
import { bodyPath, depthOf, enterScope, nextIteration } from "../../../src/workflow/ir/scopes.ts";
import { map, step } from "./documents.ts";

/** A chain of parts: a step, a loop around a chain, or a map over one. */
type Part = "step" | { loop: Part[] } | { map: Part[] };

const { chain } = fc.letrec<{ part: Part; chain: Part[] }>((tie) => ({
  part: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constant("step" as const),
    fc.record({ loop: tie("chain") }),
    fc.record({ map: tie("chain") }),
  ),
  chain: fc.array(tie("part"), { minLength: 1, maxLength: 3 }),
}));

interface Drawn {
  nodes: Record<string, unknown>[];
  edges: { from: string; to: string }[];
  /** Ids of the first and the last node. */
  first: string;
  last: string;
}

/** `seed` decides the order of nodes and edges in the file, and whether back edges are written. */
function draw(parts: readonly Part[], nextId: () => number, seed: number): Drawn {
  const drawn = parts.map((part) => drawPart(part, nextId, seed));
  const links = drawn.slice(1).map(({ first }, index) => ({ from: drawn[index]?.last as string, to: first }));
  const edges = [...drawn.flatMap((part) => part.edges), ...links];
  const nodes = drawn.flatMap((part) => part.nodes);
  if (seed % 2 === 0) nodes.reverse();
  if (seed % 3 === 0) edges.reverse();
  return { nodes, edges, first: drawn[0]?.first as string, last: drawn.at(-1)?.last as string };
}

function drawPart(part: Part, nextId: () => number, seed: number): Drawn {
  const number = nextId();
  if (part === "step")
    return { nodes: [step(`s${number}`)], edges: [], first: `s${number}`, last: `s${number}` };
  if ("map" in part) {
    const { nodes, edges } = draw(part.map, nextId, seed);
    const id = `m${number}`;
    return { nodes: [map(id, { body: { nodes, edges } })], edges: [], first: id, last: id };
  }
  const { nodes, edges, first, last } = draw(part.loop, nextId, seed);
  const id = `l${number}`;
  const node = { id, type: "loop", config: { loop_back_to: first, max_iterations: 2 } };
  const back = seed % 5 === 0 ? [{ from: id, to: first }] : [];
  return { nodes: [...nodes, node], edges: [...edges, { from: last, to: id }, ...back], first, last: id };
}

/** What a part contributes: `kind depth` of each body, outer first. */
function expected(parts: readonly Part[], depth: number): string[] {
  return parts.flatMap((part) => {
    if (part === "step") return [];
    return "map" in part
      ? [`map ${depth}`, ...expected(part.map, depth + 1)]
      : [`loop ${depth}`, ...expected(part.loop, depth + 1)];
  });
}

it("a random nest compiles to its bodies, edges that lead into and out of them, and an IR that loads", () => {
  fc.assert(
    fc.property(chain, fc.nat(60), (parts, seed) => {
      let id = 0;
      const { nodes, edges } = draw(parts, () => id++, seed);
      const { ir, digest } = compile({ name: "x", nodes, edges });
      expect(loadIr(JSON.parse(JSON.stringify(ir))).digest).toBe(digest);
      expect(ir.nodes).toHaveLength(id);
      const bodies = ir.bodies.map(({ kind, parent }) => `${kind} ${depthOf(ir, parent) + 1}`);
      expect(bodies.sort()).toEqual(expected(parts, 1).sort());
      for (const [index, { parent }] of ir.bodies.entries()) expect(parent).toBeLessThan(index);
      const scopeOf = (body: number) =>
        bodyPath(ir, body)
          .map((at) => `${ir.nodes[ir.bodies[at]!.node]!.id}:1`)
          .join("/");
      for (const edge of ir.edges) {
        const [from, to] = [ir.nodes[edge.from]!, ir.nodes[edge.to]!];
        expect(edge.from).toBeLessThan(edge.to);
        expect(enterScope(ir, scopeOf(from.body), edge)).toBe(scopeOf(to.body));
      }
      for (const { kind, node, entries, terminals } of ir.bodies) {
        if (kind === "map") {
          for (const entry of entries) expect(entry).toBeGreaterThan(node);
          expect(terminals.every((index) => ir.nodes[index]?.terminal)).toBe(true);
          continue;
        }
        const next = nextIteration(ir, scopeOf(ir.nodes[node]!.body), node);
        expect(next.split("/")).toHaveLength(depthOf(ir, ir.nodes[entries[0]!]!.body));
      }
    }),
  );
});
