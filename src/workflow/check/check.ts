/** Checks of the workflow as a graph: ids, edges, cycles, reachability. Reports every fault it finds. */

import type { Draft, DraftEdge, DraftNode } from "../compile/draft.ts";
import { type Faults, quote, reportUnknownNode } from "../faults.ts";
import { findCycles, type Graph, type Link, makeGraph, reachableFrom, topologicalOrder } from "../graph.ts";
import { isHiddenId } from "../ir/hidden_nodes.ts";
import { type LoopEdges, readLoops } from "./check_loops.ts";

export interface CheckedGraph extends LoopEdges {
  /** Without the edges by which loops go back. */
  graph: Graph;
  /** Topological order, the body of a map right after its node; undefined if there is a cycle. */
  order: number[] | undefined;
  /** Position of each id; the first one of duplicates. */
  positionOf: ReadonlyMap<string, number>;
}

const MAX_CYCLES = 10;
const MAX_CYCLE_NODES_NAMED = 20;

/** Checks the graph of a draft and returns what could be drawn of it. Adds the edges to the draft that loops imply. */
export function checkGraph(draft: Draft, faults: Faults): CheckedGraph {
  const positionOf = checkIds(draft.nodes, faults);
  const loops = readLoops(draft, positionOf, faults);
  const graph = makeGraph(draft.nodes.length, checkEdges(draft, positionOf, loops, faults));
  const order = topologicalOrder(graph);
  const acyclic = order.length === graph.size;
  if (!acyclic) checkCycles(draft, graph, loops, faults);
  checkConditionals(draft, faults);
  return { graph, order: acyclic ? bodiesInPlace(order, draft) : undefined, positionOf, ...loops };
}

/** Moves the nodes of each map's body right behind their map node. */
function bodiesInPlace(order: readonly number[], draft: Draft): number[] {
  const members = new Map<number, number[]>();
  for (const position of order) {
    const { container } = draft.nodes[position] as DraftNode;
    const list = members.get(container);
    if (list === undefined) members.set(container, [position]);
    else list.push(position);
  }
  const placed: number[] = [];
  const place = (container: number) => {
    for (const position of members.get(container) ?? []) {
      placed.push(position);
      place(position);
    }
  };
  place(-1);
  return placed;
}

function checkIds(nodes: readonly DraftNode[], faults: Faults): Map<string, number> {
  const positionOf = new Map<string, number>();
  for (const { id, path, position } of nodes) {
    if (id === undefined || isHiddenId(id)) continue;
    const first = positionOf.get(id);
    if (first === undefined) {
      positionOf.set(id, position);
      continue;
    }
    const message = `the id ${quote(id)} is already used by ${nodes[first]?.path}`;
    faults.add("DUPLICATE_ID", `${path}.id`, message, "Give each node an id of its own.");
  }
  return positionOf;
}

/** @returns the edges that can be drawn. */
function checkEdges(
  draft: Draft,
  positionOf: ReadonlyMap<string, number>,
  loops: LoopEdges,
  faults: Faults,
): Link[] {
  const links: Link[] = [];
  const firstOf = new Map<number, DraftEdge>();
  for (const edge of draft.edges) {
    const from = checkEnd(edge, "from", positionOf, faults);
    const to = checkEnd(edge, "to", positionOf, faults);
    if (from === undefined || to === undefined || crossesBody(edge, [from, to], draft, faults)) continue;
    if (loops.entryOf.get(from) === to) {
      checkBackEdge(edge, faults);
      continue;
    }
    if (from === to) {
      const message = `the edge leads from ${quote(edge.from as string)} to itself`;
      faults.add("SELF_EDGE", edge.path, message, "Remove it; to repeat a node use a loop node.");
      continue;
    }
    const key = from * draft.nodes.length + to;
    const first = firstOf.get(key);
    if (first !== undefined) {
      const message = `${first.path} already leads from ${quote(edge.from as string)} to ${quote(edge.to as string)}`;
      faults.add(
        "DUPLICATE_EDGE",
        edge.path,
        message,
        "Keep one of them; join their conditions with ||, or use on: always.",
      );
      continue;
    }
    firstOf.set(key, edge);
    links.push({ from, to, edge: edge.position });
  }
  return links;
}

/** An edge stands in the same list of edges, of the file or of a map's body, as its nodes. */
function crossesBody(edge: DraftEdge, ends: readonly number[], draft: Draft, faults: Faults): boolean {
  const stranger = ends
    .map((end) => draft.nodes[end] as DraftNode)
    .find(({ container }) => container !== edge.container);
  if (stranger === undefined) return false;
  const map = draft.nodes[stranger.container]?.id;
  const where = map === undefined ? "outside this body" : `in the body of the map ${quote(map)}`;
  const message = `the node ${quote(stranger.id as string)} stands ${where}`;
  faults.add(
    "EDGE_CROSSES_BODY",
    edge.path,
    message,
    "The edges of a map's body stay inside it; lead them to the map node itself.",
  );
  return true;
}

/** The edge by which a loop node goes back is no join input and closes no cycle. */
function checkBackEdge(edge: DraftEdge, faults: Faults): void {
  const { condition, on = "success" } = edge.raw;
  if (condition === undefined && on === "success") return;
  const property = condition === undefined ? "on" : "condition";
  const message = `the edge by which the loop ${quote(edge.from as string)} goes back carries no ${property}`;
  faults.add(
    "INVALID_VALUE",
    `${edge.path}.${property}`,
    message,
    "Say it in the loop node's config.condition.",
  );
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

function checkCycles(draft: Draft, graph: Graph, loops: LoopEdges, faults: Faults): void {
  const { found, core } = findCycles(graph, MAX_CYCLES);
  for (const cycle of found) {
    const ids = cycle.map((link) => draft.nodes[link.from]?.id ?? "?");
    const named = ids.slice(0, MAX_CYCLE_NODES_NAMED);
    const more = ids.length > named.length ? ` -> … (${ids.length - named.length} more)` : "";
    const closing = cycle[cycle.length - 1] as Link;
    const message = `the edges form a cycle: ${named.join(" -> ")}${more} -> ${ids[0]}`;
    const wayOut = cycle.map((link) => loops.wayOutAt.get(link.edge)).find((path) => path !== undefined);
    if (wayOut !== undefined) {
      faults.add(
        "LOOP_PATH_INSIDE",
        wayOut,
        message,
        "Name a node outside the loop's body that does not lead back to it.",
      );
      continue;
    }
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

/** A quorum can be reached. */
export function checkRules(draft: Draft, { graph }: CheckedGraph, faults: Faults): void {
  for (const { position, path, parsed } of draft.nodes) {
    const rule = parsed?.trigger_rule;
    if (typeof rule !== "object") continue;
    const fanIn = (graph.in[position] as Link[]).length;
    if (rule.quorum <= fanIn) continue;
    const message = `the quorum is ${rule.quorum}, but ${fanIn === 1 ? "1 edge leads" : `${fanIn} edges lead`} to the node`;
    faults.add("QUORUM_TOO_LARGE", `${path}.trigger_rule.quorum`, message, "Lower it, or add edges.");
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
