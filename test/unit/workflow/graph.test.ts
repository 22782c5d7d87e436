import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { areAncestors } from "../../../src/workflow/check/ancestors.ts";
import { compile, loadIr } from "../../../src/workflow/compile/compile.ts";
import { findCycles, type Link, makeGraph, topologicalOrder } from "../../../src/workflow/graph.ts";
import { workflow } from "./documents.ts";

/** A random acyclic graph, its nodes named in an order that has nothing to do with its edges. */
const acyclic = fc
  .tuple(
    fc.integer({ min: 1, max: 25 }),
    fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 60 }),
    fc.integer(),
  )
  .map(([size, pairs, seed]) => {
    const names = Array.from({ length: size }, (_, index) => index).sort(
      (a, b) => hash(a, seed) - hash(b, seed) || a - b,
    );
    const edges = new Map<string, [number, number]>();
    for (const [x, y] of pairs) {
      const low = Math.min(x % size, y % size);
      const high = Math.max(x % size, y % size);
      if (low !== high) edges.set(`${low} ${high}`, [names[low] as number, names[high] as number]);
    }
    return { size, edges: [...edges.values()] };
  });

function hash(value: number, seed: number): number {
  return Math.imul(value + 1, 2654435761) ^ Math.imul(seed, value + 7);
}

function documentOf(size: number, edges: readonly [number, number][]) {
  const ids = Array.from({ length: size }, (_, index) => `n${index}`);
  return workflow(ids.join(" "), edges.map(([from, to]) => `n${from}>n${to}`).join(" "));
}

const linksOf = (edges: readonly [number, number][]): Link[] =>
  edges.map(([from, to], edge) => ({ from, to, edge }));

describe("a random acyclic workflow", () => {
  it("compiles to nodes in an order that every edge respects, with levels and adjacency to match", () => {
    fc.assert(
      fc.property(acyclic, ({ size, edges }) => {
        const { ir } = compile(documentOf(size, edges));
        expect(ir.nodes).toHaveLength(size);
        for (const [index, { from, to }] of ir.edges.entries()) {
          expect(from).toBeLessThan(to);
          expect(ir.nodes[from]?.out).toContain(index);
          expect(ir.nodes[to]?.in).toContain(index);
        }
        for (const node of ir.nodes) {
          const before = node.in.map((edge) => ir.nodes[ir.edges[edge]!.from]!.level);
          expect(node.level).toBe(before.length === 0 ? 0 : 1 + Math.max(...before));
          expect(node.terminal).toBe(node.out.length === 0);
          expect(node.in).toEqual([...node.in].sort((a, b) => a - b));
        }
        const ends = ir.nodes.flatMap((node) => [...node.in, ...node.out]);
        expect(ends).toHaveLength(2 * edges.length);
        expect(ir.entries).toEqual(ir.nodes.flatMap((node, index) => (node.in.length === 0 ? [index] : [])));
        expect(ir.terminals).toEqual(ir.nodes.flatMap((node, index) => (node.terminal ? [index] : [])));
      }),
    );
  });

  it("keeps its digest on the way through loadIr", () => {
    fc.assert(
      fc.property(acyclic, ({ size, edges }) => {
        const { ir, digest } = compile(documentOf(size, edges));
        expect(loadIr(JSON.parse(JSON.stringify(ir))).digest).toBe(digest);
      }),
    );
  });

  it("breaks ties by the order of the file", () => {
    fc.assert(
      fc.property(acyclic, ({ size, edges }) => {
        const order = topologicalOrder(makeGraph(size, linksOf(edges)));
        // The slow definition: always take the first node of the file that is ready.
        const taken = new Set<number>();
        for (const node of order) {
          const ready = Array.from({ length: size }, (_, index) => index).filter(
            (index) => !taken.has(index) && edges.every(([from, to]) => to !== index || taken.has(from)),
          );
          expect(node).toBe(ready[0]);
          taken.add(node);
        }
        expect(taken.size).toBe(size);
      }),
    );
  });
});

describe("areAncestors", () => {
  it("agrees with following the edges, for every pair", () => {
    fc.assert(
      fc.property(acyclic, ({ size, edges }) => {
        const graph = makeGraph(size, linksOf(edges));
        const pairs = Array.from({ length: size * size }, (_, index) => ({
          ancestor: Math.floor(index / size),
          node: index % size,
        }));
        const answers = areAncestors(graph, topologicalOrder(graph), pairs);
        for (const [index, { ancestor, node }] of pairs.entries()) {
          expect(answers[index]).toBe(leadsTo(edges, ancestor, node));
        }
      }),
    );
  });

  it("follows more ancestors than fit into one sweep", () => {
    const size = 700;
    const edges = Array.from({ length: size - 1 }, (_, index): [number, number] => [index, index + 1]);
    const graph = makeGraph(size, linksOf(edges));
    const questions = edges.flatMap(([node]) => [
      { ancestor: node, node: size - 1 },
      { ancestor: size - 1, node },
    ]);
    const answers = areAncestors(graph, topologicalOrder(graph), questions);
    expect(answers.every((answer, index) => answer === (index % 2 === 0))).toBe(true);
  });
});

function leadsTo(edges: readonly [number, number][], from: number, to: number): boolean {
  return edges.some(([start, end]) => start === from && (end === to || leadsTo(edges, end, to)));
}

describe("findCycles", () => {
  it("finds a cycle exactly when there is no topological order, and each is one", () => {
    const graphs = fc.tuple(
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 25 }),
    );
    fc.assert(
      fc.property(graphs, ([size, pairs]) => {
        const edges = pairs
          .map(([x, y]): [number, number] => [x % size, y % size])
          .filter(([x, y]) => x !== y);
        const graph = makeGraph(size, linksOf(edges));
        const { found } = findCycles(graph, 100);
        expect(found.length === 0).toBe(topologicalOrder(graph).length === size);
        const seen = new Set<number>();
        for (const cycle of found) {
          for (const [index, link] of cycle.entries()) {
            expect(edges[link.edge]).toEqual([link.from, link.to]);
            expect(cycle[(index + 1) % cycle.length]?.from).toBe(link.to);
            expect(seen.has(link.from)).toBe(false);
            seen.add(link.from);
          }
          expect(cycle[0]?.from).toBe(Math.min(...cycle.map((link) => link.from)));
        }
      }),
    );
  });
});
