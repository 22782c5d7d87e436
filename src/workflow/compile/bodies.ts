/**
 * Finds the bodies of loops and maps. A map's body stands in the file; a loop's is drawn by its edges: all nodes on paths
 * from its entry to the loop node. Loop nodes are looked at in topological order, inner ones first, and a body that is found
 * counts as one unit from then on, so that all of them together cost one walk over the graph.
 */
import type { CheckedGraph } from "../check/check.ts";
import { type Faults, quote } from "../faults.ts";
import type { Graph, Link } from "../graph.ts";
import { LIMITS } from "../limits.ts";
import type { Draft, DraftNode } from "./draft.ts";

export interface Body {
  kind: "loop" | "map";
  /** Position of the loop or map node. */
  node: number;
  /** Index of the enclosing body; -1: none. */
  parent: number;
  /** Position of a loop's entry; -1 for a map. */
  entry: number;
}

export interface Bodies {
  /** Outer ones first, otherwise in topological order of their nodes. */
  list: Body[];
  /** By position: index of the innermost body that the node belongs to; -1: none. */
  of: number[];
}

export const NO_BODY = -1;

/** @returns undefined if a loop has faults. The graph has no cycle, and `order` names all its nodes. */
export function findBodies(
  draft: Draft,
  checked: CheckedGraph,
  order: readonly number[],
  faults: Faults,
): Bodies | undefined {
  const loops = new Loops(draft, checked.graph, faults);
  for (const position of order) {
    const entry = checked.entryOf.get(position);
    if (entry !== undefined) loops.find(position, entry);
  }
  if (loops.isFaulty) return undefined;
  const bodies = withMaps(draft, loops, order);
  checkDepth(bodies, draft, faults);
  return bodies;
}

/** Bodies from the inside out: of this body, then of its parents. */
export function* enclosing(bodies: Bodies, body: number): Generator<Body> {
  for (let at = body; at !== NO_BODY; at = (bodies.list[at] as Body).parent) yield bodies.list[at] as Body;
}

/** The body in which a node's output can be named: of a loop node the one around its loop. */
export function outerBodyOf(bodies: Bodies, position: number): number {
  const body = bodies.of[position] as number;
  const found = bodies.list[body];
  return found?.kind === "loop" && found.node === position ? found.parent : body;
}

/** Is `inner` the body `outer` or one inside it? */
export function isWithin(bodies: Bodies, inner: number, outer: number): boolean {
  if (outer === NO_BODY) return true;
  for (let at = inner; at !== NO_BODY; at = (bodies.list[at] as Body).parent) if (at === outer) return true;
  return false;
}

/** Is a node one of a body's own: not inside another body in it, a loop node standing for its loop? */
export function isDirectlyIn(bodies: Bodies, position: number, body: number): boolean {
  return bodies.of[position] === body || outerBodyOf(bodies, position) === body;
}

/** By body, and at the end of those without one: positions of all nodes in it and in the loops inside it. */
export class BodyMembers {
  private readonly own: number[][];
  private readonly loopsIn: number[][];

  constructor(bodies: Bodies) {
    this.own = Array.from({ length: bodies.list.length + 1 }, () => []);
    this.loopsIn = Array.from({ length: bodies.list.length + 1 }, () => []);
    for (const [position, body] of bodies.of.entries()) this.own.at(body)?.push(position);
    for (const [index, { kind, parent }] of bodies.list.entries())
      if (kind === "loop") this.loopsIn.at(parent)?.push(index);
  }

  of(body: number): number[] {
    const members: number[] = [];
    const waiting = [body];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      for (const position of this.own.at(at) as number[]) members.push(position);
      for (const inner of this.loopsIn.at(at) as number[]) waiting.push(inner);
    }
    return members;
  }
}

const BODY_HINT = "A body has one way in, its entry (loop_back_to), and one way out, its loop node.";

class Loops {
  readonly list: Body[] = [];
  /** By position: the innermost loop body; -1: none. */
  readonly of: number[];
  isFaulty = false;
  /** By body: an enclosing body, the outermost one at the end of the chain (path compression). */
  private readonly above: number[] = [];
  /** By position: the last loop that saw the node as an ancestor, or as a part of its body. */
  private readonly seenBy: number[];
  private readonly insideOf: number[];

  constructor(
    private readonly draft: Draft,
    private readonly graph: Graph,
    private readonly faults: Faults,
  ) {
    this.of = new Array<number>(graph.size).fill(NO_BODY);
    this.seenBy = new Array<number>(graph.size).fill(NO_BODY);
    this.insideOf = new Array<number>(graph.size).fill(NO_BODY);
  }

  find(loop: number, entry: number): void {
    // Each fault may cost a walk over the whole graph; beyond the reported ones it is not worth it.
    if (this.faults.isFull) return;
    const around = this.outermost(this.of[entry] as number);
    if (!this.isReached(loop, entry)) {
      const message = `no path of edges leads from ${this.idOf(entry)} to the loop node ${this.idOf(loop)}`;
      this.fault(
        "LOOP_NOT_REACHED",
        this.pathOf(loop),
        message,
        "Lead the edges of the body to its loop node.",
      );
      return;
    }
    if (around !== NO_BODY && this.list[around]?.entry !== entry) {
      const other = this.idOf((this.list[around] as Body).node);
      const message = `the bodies of the loops ${other} and ${this.idOf(loop)} overlap`;
      this.fault(
        "LOOP_BODIES_OVERLAP",
        this.pathOf(loop),
        message,
        "Put one loop wholly inside the other, or behind it.",
      );
      return;
    }
    const units = this.unitsFrom(entry, loop);
    if (this.checkEdges(units, entry, loop)) this.add(units, entry, loop);
  }

  /** Marks the ancestors of the loop node, looking no further than the entry. */
  private isReached(loop: number, entry: number): boolean {
    const target = this.unitOf(entry);
    const waiting = [loop];
    this.seenBy[loop] = loop;
    for (let unit = waiting.pop(); unit !== undefined; unit = waiting.pop()) {
      if (unit === target) continue;
      for (const link of this.graph.in[unit] as Link[]) {
        const before = this.unitOf(link.from);
        if (this.seenBy[before] === loop) continue;
        this.seenBy[before] = loop;
        waiting.push(before);
      }
    }
    return this.seenBy[target] === loop;
  }

  /** The units of the body: those that the entry leads to, of the ones that lead to the loop node. */
  private unitsFrom(entry: number, loop: number): number[] {
    const units = [entry];
    this.insideOf[entry] = loop;
    for (const unit of units) {
      for (const link of this.graph.out[this.exitOf(unit)] as Link[]) {
        const next = this.unitOf(link.to);
        if (unit === loop || this.seenBy[next] !== loop || this.insideOf[next] === loop) continue;
        this.insideOf[next] = loop;
        units.push(next);
      }
    }
    return units;
  }

  private checkEdges(units: readonly number[], entry: number, loop: number): boolean {
    let isSound = true;
    const report = (code: string, link: Link, verb: string, hint: string) => {
      isSound = false;
      const message = `the edge ${this.idOf(link.from)} -> ${this.idOf(link.to)} ${verb} the body of the loop ${this.idOf(loop)}`;
      this.fault(code, this.draft.edges[link.edge]?.path as string, message, hint);
    };
    for (const unit of units) {
      for (const link of unit === entry ? [] : (this.graph.in[unit] as Link[])) {
        if (this.insideOf[this.unitOf(link.from)] !== loop)
          report("LOOP_BODY_ENTERED", link, "enters", `${BODY_HINT} The entry is ${this.idOf(entry)}.`);
      }
      for (const link of unit === loop ? [] : (this.graph.out[this.exitOf(unit)] as Link[])) {
        if (this.insideOf[this.unitOf(link.to)] !== loop)
          report(
            "LOOP_BODY_LEFT",
            link,
            "leaves",
            `${BODY_HINT} Lead it to ${this.idOf(loop)}, or start it there.`,
          );
      }
    }
    return isSound;
  }

  private add(units: readonly number[], entry: number, loop: number): void {
    const index = this.list.length;
    this.list.push({ kind: "loop", node: loop, parent: NO_BODY, entry });
    this.above.push(index);
    for (const unit of units) {
      const inner = this.outermost(this.of[unit] as number);
      if (inner === NO_BODY) {
        this.of[unit] = index;
        continue;
      }
      (this.list[inner] as Body).parent = index;
      this.above[inner] = index;
    }
  }

  /** The outermost body found so far around a body. */
  private outermost(body: number): number {
    if (body === NO_BODY) return NO_BODY;
    let top = body;
    while (this.above[top] !== top) top = this.above[top] as number;
    for (let at = body; at !== top; ) {
      const next = this.above[at] as number;
      this.above[at] = top;
      at = next;
    }
    return top;
  }

  /** A body that was found stands under its entry. */
  private unitOf(position: number): number {
    const body = this.outermost(this.of[position] as number);
    return body === NO_BODY ? position : (this.list[body] as Body).entry;
  }

  /** The node whose edges leave a unit. */
  private exitOf(unit: number): number {
    const body = this.outermost(this.of[unit] as number);
    return body === NO_BODY ? unit : (this.list[body] as Body).node;
  }

  private idOf(position: number): string {
    return quote(this.draft.nodes[position]?.id ?? "?");
  }

  private pathOf(loop: number): string {
    return `${this.draft.nodes[loop]?.path}.config.loop_back_to`;
  }

  private fault(code: string, path: string, message: string, hint: string): void {
    this.isFaulty = true;
    this.faults.add(code, path, message, hint);
  }
}

/** Adds the bodies of maps, and sorts all: outer ones first. */
function withMaps(draft: Draft, loops: Loops, order: readonly number[]): Bodies {
  const list = [...loops.list];
  const of = [...loops.of];
  const bodyOfMap = new Map<number, number>();
  for (const { container } of draft.nodes) {
    if (container === NO_BODY || bodyOfMap.has(container)) continue;
    bodyOfMap.set(container, list.length);
    list.push({ kind: "map", node: container, parent: NO_BODY, entry: -1 });
  }
  const mapBodyAround = (position: number) =>
    bodyOfMap.get((draft.nodes[position] as DraftNode).container) ?? NO_BODY;
  for (const [position, body] of of.entries()) if (body === NO_BODY) of[position] = mapBodyAround(position);
  for (const body of list) {
    if (body.kind === "map") body.parent = of[body.node] as number;
    else if (body.parent === NO_BODY) body.parent = mapBodyAround(body.node);
  }
  return sorted(list, of, order);
}

function sorted(list: readonly Body[], of: readonly number[], order: readonly number[]): Bodies {
  const bodyAt = new Map(list.map((body, index) => [body.node, index]));
  const inside: number[][] = list.map(() => []);
  const outermost: number[] = [];
  for (const position of order) {
    const index = bodyAt.get(position);
    if (index !== undefined) (inside[(list[index] as Body).parent] ?? outermost).push(index);
  }
  const sequence: number[] = [];
  const waiting = outermost.reverse();
  for (let index = waiting.pop(); index !== undefined; index = waiting.pop()) {
    sequence.push(index);
    waiting.push(...(inside[index] as number[]).reverse());
  }
  const placeOf = new Map(sequence.map((index, place) => [index, place]));
  const renumbered = (index: number) => placeOf.get(index) ?? NO_BODY;
  return {
    list: sequence.map((index) => ({
      ...(list[index] as Body),
      parent: renumbered((list[index] as Body).parent),
    })),
    of: of.map(renumbered),
  };
}

function checkDepth(bodies: Bodies, draft: Draft, faults: Faults): void {
  const depths: number[] = [];
  for (const { node, parent } of bodies.list) {
    const depth = 1 + (depths[parent] ?? 0);
    depths.push(depth);
    if (depth !== LIMITS.bodyDepth + 1) continue;
    const message = `its body lies in ${LIMITS.bodyDepth} others; the limit is ${LIMITS.bodyDepth} within each other`;
    faults.add(
      "LIMIT_EXCEEDED",
      draft.nodes[node]?.path as string,
      message,
      "Move the inner ones into a sub-workflow.",
    );
  }
}
