/**
 * Scopes: where in the iterations of loops and the items of maps an execution stands. A scope is a path of components
 * `id:number`, outer first (`poll:3/each:17`), one for each body around the node; "" stands outside all bodies. Iterations
 * count from 1, items from 0.
 */
import type { IR, IRBody, IREdge, IRNode } from "./ir.ts";

const OUTSIDE = -1;

/** Number of components of a scope in a body; 0 for -1. */
export function depthOf(ir: IR, body: number): number {
  let depth = 0;
  for (let at = body; at !== OUTSIDE; at = bodyAt(ir, at).parent) depth += 1;
  return depth;
}

/** A body and those around it, by index, outer first. */
export function bodyPath(ir: IR, body: number): number[] {
  const path: number[] = [];
  for (let at = body; at !== OUTSIDE; at = bodyAt(ir, at).parent) path.push(at);
  return path.reverse();
}

/** The target's scope for an edge taken at a scope of its source. A loop is entered at iteration 1. */
export function enterScope(ir: IR, scope: string, edge: IREdge): string {
  const components = componentsOf(scope);
  const kept = components.slice(0, components.length - (edge.exits ?? 0));
  return [...kept, ...(edge.enters ?? []).map((body) => firstOf(ir, body))].join("/");
}

/**
 * The scope of an entry when a scope begins (the run's: "", or an item's): each loop that begins at the entry begins too.
 */
export function startScope(ir: IR, scope: string, entry: number): string {
  const components = componentsOf(scope);
  const inner = bodyPath(ir, (ir.nodes[entry] as IRNode).body).slice(components.length);
  return [...components, ...inner.map((body) => firstOf(ir, body))].join("/");
}

/**
 * Depth at which a node's output is kept: that of its body; of a loop node one less, as its output is that of the last
 * iteration done.
 */
export function storageDepth(ir: IR, node: number): number {
  const { body, loop } = ir.nodes[node] as IRNode;
  return depthOf(ir, body) - (loop === undefined ? 0 : 1);
}

/** The first `depth` components of a scope. */
export function scopePrefix(scope: string, depth: number): string {
  return componentsOf(scope).slice(0, depth).join("/");
}

/** From a loop node's scope to that of its entry in the next iteration. Inner loops that begin at the entry begin anew. */
export function nextIteration(ir: IR, scope: string, loopNode: number): string {
  const { body, loop } = ir.nodes[loopNode] as IRNode;
  const components = componentsOf(scope);
  const next = `${idOf(ir, body)}:${numberOf(components.pop() as string) + 1}`;
  return startScope(ir, [...components, next].join("/"), loop?.entry as number);
}

/** Iteration of the innermost loop around a node; undefined: there is none. */
export function iterationOf(ir: IR, node: number, scope: string): number | undefined {
  return innermost(ir, node, scope, "loop")?.number;
}

export interface ItemPlace {
  /** From 0. */
  index: number;
  /** The map node. */
  map: number;
  /** Scope of the map node's execution. */
  scope: string;
}

/** Item of the innermost map around a node; undefined: there is none. */
export function itemIndexOf(ir: IR, node: number, scope: string): ItemPlace | undefined {
  const found = innermost(ir, node, scope, "map");
  if (found === undefined) return undefined;
  return { index: found.number, map: bodyAt(ir, found.body).node, scope: scopePrefix(scope, found.depth) };
}

function innermost(
  ir: IR,
  node: number,
  scope: string,
  kind: IRBody["kind"],
): { number: number; body: number; depth: number } | undefined {
  const path = bodyPath(ir, (ir.nodes[node] as IRNode).body);
  const depth = path.findLastIndex((body) => bodyAt(ir, body).kind === kind);
  if (depth === -1) return undefined;
  const component = componentsOf(scope)[depth] as string;
  return { number: numberOf(component), body: path[depth] as number, depth };
}

function componentsOf(scope: string): string[] {
  return scope === "" ? [] : scope.split("/");
}

function numberOf(component: string): number {
  return Number(component.slice(component.lastIndexOf(":") + 1));
}

function bodyAt(ir: IR, body: number): IRBody {
  return ir.bodies[body] as IRBody;
}

function idOf(ir: IR, body: number): string {
  return (ir.nodes[bodyAt(ir, body).node] as IRNode).id;
}

function firstOf(ir: IR, body: number): string {
  return `${idOf(ir, body)}:1`;
}
