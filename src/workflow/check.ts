/** Checks of the workflow as a graph: ids, edges, cycles, reachability. Reports every fault it finds. */
import type { Draft, DraftEdge, DraftNode } from "./draft.ts";
import { didYouMean, type Faults, quote } from "./faults.ts";
import { findCycles, type Graph, type Link, makeGraph, reachableFrom, topologicalOrder } from "./graph.ts";

export interface CheckedGraph {
  graph: Graph;
  /** Topological order; undefined if there is a cycle. */
  order: number[] | undefined;
  /** Place of each id in the file; the first one of duplicates. */
  positionOf: ReadonlyMap<string, number>;
}

const MAX_CYCLES = 10;
const MAX_CYCLE_NODES_NAMED = 20;

/** Checks the graph of a draft and returns what could be drawn of it. */
export function checkGraph(draft: Draft, faults: Faults): CheckedGraph {
  const positionOf = checkIds(draft.nodes, faults);
  const graph = makeGraph(draft.nodes.length, checkEdges(draft, positionOf, faults));
  const order = topologicalOrder(graph);
  const acyclic = order.length === graph.size;
  if (!acyclic) checkCycles(draft, graph, faults);
  checkConditionals(draft, faults);
  checkConfigs(draft, positionOf, faults);
  return { graph, order: acyclic ? order : undefined, positionOf };
}

function checkIds(nodes: readonly DraftNode[], faults: Faults): Map<string, number> {
  const positionOf = new Map<string, number>();
  for (const { id, path, position } of nodes) {
    if (id === undefined) continue;
    const first = positionOf.get(id);
    if (first === undefined) {
      positionOf.set(id, position);
      continue;
    }
    const message = `the id ${quote(id)} is already used by $.nodes[${first}]`;
    faults.add("DUPLICATE_ID", `${path}.id`, message, "Give each node an id of its own.");
  }
  return positionOf;
}

/** @returns the edges that can be drawn. */
function checkEdges(draft: Draft, positionOf: ReadonlyMap<string, number>, faults: Faults): Link[] {
  const links: Link[] = [];
  const firstOf = new Map<number, number>();
  for (const edge of draft.edges) {
    const from = checkEnd(edge, "from", positionOf, faults);
    const to = checkEnd(edge, "to", positionOf, faults);
    if (from === undefined || to === undefined || isLoopBack(draft.nodes[from] as DraftNode, edge)) continue;
    if (from === to) {
      const message = `the edge leads from ${quote(edge.from as string)} to itself`;
      faults.add("SELF_EDGE", edge.path, message, "Remove it; to repeat a node use a loop node.");
      continue;
    }
    const key = from * draft.nodes.length + to;
    const first = firstOf.get(key);
    if (first !== undefined) {
      const message = `$.edges[${first}] already leads from ${quote(edge.from as string)} to ${quote(edge.to as string)}`;
      faults.add(
        "DUPLICATE_EDGE",
        edge.path,
        message,
        "Keep one of them; join their conditions with ||, or use on: always.",
      );
      continue;
    }
    firstOf.set(key, edge.position);
    links.push({ from, to, edge: edge.position });
  }
  return links;
}

function checkEnd(
  edge: DraftEdge,
  end: "from" | "to",
  positionOf: ReadonlyMap<string, number>,
  faults: Faults,
): number | undefined {
  const id = edge[end];
  if (id === undefined) return undefined;
  const position = positionOf.get(id);
  if (position === undefined) reportUnknownNode(`${edge.path}.${end}`, id, positionOf, faults);
  return position;
}

function reportUnknownNode(
  path: string,
  id: string,
  positionOf: ReadonlyMap<string, number>,
  faults: Faults,
): void {
  const hint = faults.isFull ? "" : didYouMean(id, positionOf.keys(), "Name a node of this workflow.");
  faults.add("UNKNOWN_NODE", path, `there is no node ${quote(id)}`, hint);
}

/** The edge by which a loop node goes back is no join input and closes no cycle. */
function isLoopBack(node: DraftNode, edge: DraftEdge): boolean {
  const config = node.raw.config as { loop_back_to?: unknown } | null | undefined;
  return node.raw.type === "loop" && edge.to !== undefined && config?.loop_back_to === edge.to;
}

function checkCycles(draft: Draft, graph: Graph, faults: Faults): void {
  const { found, core } = findCycles(graph, MAX_CYCLES);
  for (const cycle of found) {
    const ids = cycle.map((link) => draft.nodes[link.from]?.id ?? "?");
    const named = ids.slice(0, MAX_CYCLE_NODES_NAMED);
    const more = ids.length > named.length ? ` -> … (${ids.length - named.length} more)` : "";
    const closing = cycle[cycle.length - 1] as Link;
    const message = `the edges form a cycle: ${named.join(" -> ")}${more} -> ${ids[0]}`;
    faults.add(
      "CYCLE",
      `$.edges[${closing.edge}]`,
      message,
      "Remove one of its edges; to repeat nodes end them with a loop node.",
    );
  }
  const entries = graph.in.flatMap((links, node) => (links.length === 0 ? [node] : []));
  if (entries.length === 0) {
    faults.add(
      "NO_ENTRY",
      "$.nodes",
      "every node has an incoming edge, so none can start",
      "Leave one node without incoming edges.",
    );
  }
  if (graph.out.every((links) => links.length > 0)) {
    faults.add(
      "NO_TERMINAL",
      "$.nodes",
      "every node has an outgoing edge, so none is the last",
      "Leave one node without outgoing edges.",
    );
  }
  if (entries.length === 0) return;
  const reached = reachableFrom(graph, entries);
  for (const node of draft.nodes) {
    // The nodes of the cycles themselves are named already.
    if (reached[node.position] || core[node.position]) continue;
    const message = `the node ${quote(node.id ?? "?")} cannot be reached from any node without incoming edges`;
    faults.add("UNREACHABLE_NODE", node.path, message, "Connect it, or break the cycle before it.");
  }
}

function checkConditionals(draft: Draft, faults: Faults): void {
  const typeOf = new Map(draft.nodes.map((node) => [node.id, node.raw.type]));
  const defaultOf = new Map<string, DraftEdge>();
  for (const edge of draft.edges) {
    if (edge.from === undefined || typeOf.get(edge.from) !== "conditional") continue;
    if (edge.raw.condition !== undefined || (edge.raw.on ?? "success") !== "success") continue;
    const first = defaultOf.get(edge.from);
    if (first === undefined) {
      defaultOf.set(edge.from, edge);
      continue;
    }
    const message = `the conditional node ${quote(edge.from)} has a default edge already: ${first.path}`;
    faults.add("MULTIPLE_DEFAULTS", edge.path, message, "Give all but one of its edges a condition.");
  }
}

/** Nodes that a node's configuration names must exist. */
function checkConfigs(draft: Draft, positionOf: ReadonlyMap<string, number>, faults: Faults): void {
  for (const node of draft.nodes) {
    if (node.parsed?.type !== "loop") continue;
    const config = node.parsed.config as Record<string, unknown>;
    for (const property of ["loop_back_to", "break_path", "timeout_path"]) {
      const id = config[property];
      if (typeof id !== "string" || positionOf.has(id)) continue;
      reportUnknownNode(`${node.path}.config.${property}`, id, positionOf, faults);
    }
  }
}

/** What is allowed but probably not meant. */
export function graphWarnings(draft: Draft, warnings: Faults): void {
  const conditional = new Map<string, DraftNode>();
  for (const node of draft.nodes)
    if (node.raw.type === "conditional" && node.id !== undefined) conditional.set(node.id, node);
  for (const edge of draft.edges) {
    if (edge.from !== undefined && edge.raw.condition !== undefined) conditional.delete(edge.from);
  }
  for (const node of conditional.values()) {
    const message = `no edge of the conditional node ${quote(node.id as string)} has a condition`;
    warnings.add("NO_CONDITIONS", node.path, message, "Put conditions on its outgoing edges.");
  }
}
