/** What loop nodes say about edges: where they go back to, and which edges `break_path` and `timeout_path` mean. */
import { type Draft, type DraftEdge, type DraftNode, isObject } from "../compile/draft.ts";
import { type Faults, quote, reportUnknownNode } from "../faults.ts";
import { EdgeSchema } from "../file/schema.ts";

type WayOut = "break" | "timeout";

/** Places of edges in the draft. */
type WaysOut = Readonly<Partial<Record<WayOut, readonly number[]>>>;

export interface LoopEdges {
  /** By position of a loop node: position of its entry. */
  entryOf: ReadonlyMap<number, number>;
  /** By position of a loop node: places of its ways out in the draft's `edges`. */
  waysOutOf: ReadonlyMap<number, WaysOut>;
  /** By place of an edge that is a way out: JSON path of the property that names it. */
  wayOutAt: ReadonlyMap<number, string>;
}

/** Reads the loop nodes, and adds to the draft the edges of their ways out that the file leaves to them. */
export function readLoops(draft: Draft, positionOf: ReadonlyMap<string, number>, faults: Faults): LoopEdges {
  const entryOf = new Map<number, number>();
  const waysOutOf = new Map<number, WaysOut>();
  const wayOutAt = new Map<number, string>();
  const edgeOf = edgesOfLoops(draft);
  for (const node of draft.nodes) {
    if (node.raw.type !== "loop" || node.id === undefined) continue;
    const [back] = idsOf(node, "loop_back_to");
    const entry = back && targetOf(node, back, draft, positionOf, faults);
    if (entry !== undefined) entryOf.set(node.position, entry);
    const waysOut: Partial<Record<WayOut, number[]>> = {};
    for (const way of ["break", "timeout"] as const) {
      const edges = new Set<number>();
      for (const { id, property } of idsOf(node, `${way}_path`)) {
        const target = targetOf(node, { id, property }, draft, positionOf, faults);
        if (target === undefined || isInside(node, target, entry, property, faults)) continue;
        const key = edgeKey(node.id, id);
        let edge = edgeOf.get(key);
        if (edge === undefined) {
          edge = addEdge(draft, node, id, property);
          edgeOf.set(key, edge);
        }
        checkWayOut(edge, property, faults);
        edges.add(edge.position);
        wayOutAt.set(edge.position, `${node.path}.config.${property}`);
      }
      if (edges.size > 0) waysOut[way] = [...edges];
    }
    waysOutOf.set(node.position, waysOut);
  }
  return { entryOf, waysOutOf, wayOutAt };
}

/** The first edge of each pair of nodes, as far as it leaves a loop node. */
function edgesOfLoops(draft: Draft): Map<string, DraftEdge> {
  const loops = new Set(draft.nodes.filter((node) => node.raw.type === "loop").map((node) => node.id));
  const edgeOf = new Map<string, DraftEdge>();
  if (loops.size === 0) return edgeOf;
  for (const edge of draft.edges) {
    if (edge.from === undefined || edge.to === undefined || !loops.has(edge.from)) continue;
    const key = edgeKey(edge.from, edge.to);
    if (!edgeOf.has(key)) edgeOf.set(key, edge);
  }
  return edgeOf;
}

function edgeKey(from: string, to: string): string {
  return JSON.stringify([from, to]);
}

interface NamedNode {
  id: string;
  /** Where in the node's config it is named. */
  property: string;
}

/** The ids at a property of a loop node's config: one, or a list of them. */
function idsOf({ raw }: DraftNode, property: "loop_back_to" | "break_path" | "timeout_path"): NamedNode[] {
  const value = isObject(raw.config) ? raw.config[property] : undefined;
  if (typeof value === "string") return [{ id: value, property }];
  if (!Array.isArray(value)) return [];
  return value.flatMap((id, index) =>
    typeof id === "string" ? [{ id, property: `${property}[${index}]` }] : [],
  );
}

function targetOf(
  node: DraftNode,
  { id, property }: NamedNode,
  draft: Draft,
  positionOf: ReadonlyMap<string, number>,
  faults: Faults,
): number | undefined {
  const path = `${node.path}.config.${property}`;
  const target = positionOf.get(id);
  if (target === undefined) {
    // Else the fault is told already.
    if (node.parsed !== undefined) reportUnknownNode(path, id, positionOf, faults);
    return undefined;
  }
  if (draft.nodes[target]?.container === node.container) return target;
  const message = `the node ${quote(id)} does not stand in the same list of nodes as the loop ${quote(node.id as string)}`;
  faults.add("EDGE_CROSSES_BODY", path, message, "A loop lies wholly inside a map's body, or outside it.");
  return undefined;
}

function isInside(
  node: DraftNode,
  target: number,
  entry: number | undefined,
  property: string,
  faults: Faults,
): boolean {
  if (target !== node.position && target !== entry) return false;
  const message = `${property} leads back into the body of the loop ${quote(node.id as string)}`;
  faults.add(
    "LOOP_PATH_INSIDE",
    `${node.path}.config.${property}`,
    message,
    "Name a node outside the loop's body.",
  );
  return true;
}

function addEdge(draft: Draft, node: DraftNode, to: string, property: string): DraftEdge {
  const raw = { from: node.id as string, to };
  const edge: DraftEdge = {
    position: draft.edges.length,
    path: `${node.path}.config.${property}`,
    container: node.container,
    ...raw,
    raw,
    parsed: EdgeSchema.parse(raw),
  };
  draft.edges.push(edge);
  return edge;
}

/** The loop's decision takes a way out, nothing else. */
function checkWayOut(edge: DraftEdge, property: string, faults: Faults): void {
  const { condition, on = "success" } = edge.raw;
  if (condition === undefined && on === "success") return;
  const excess = condition === undefined ? "on" : "condition";
  const message = `the edge of ${property} is taken by the loop's decision; it carries no ${excess}`;
  faults.add("INVALID_VALUE", `${edge.path}.${excess}`, message, "Remove it, or lead to another node.");
}
