/** From an IR back to a workflow file that has this IR. */
import { isHiddenId } from "../ir/hidden_nodes.ts";
import type { Shape } from "../ir/load_ir.ts";

type ShapeNode = Shape["nodes"][number];

/** Nodes stand in the IR's order, whose topological order is that same order. The IR's indexes are in range. */
export function fileOf(shape: Shape): Record<string, unknown> {
  const { name, vars, output, input_schema, timeout_ms, max_parallel_nodes, fail_fast, semaphores } = shape;
  const graphs = graphsOf(shape);
  return {
    name,
    vars,
    output,
    input_schema,
    timeout_ms,
    max_parallel_nodes,
    fail_fast,
    semaphores,
    ...graphs.get(-1),
  };
}

interface FileGraph {
  nodes: Record<string, unknown>[];
  edges: Record<string, unknown>[];
}

/** By index of a map's body, -1 for the workflow itself: its part of the graph. */
function graphsOf(shape: Shape): Map<number, FileGraph> {
  const { nodes, edges, bodies } = shape;
  const graphs = new Map<number, FileGraph>([[-1, { nodes: [], edges: [] }]]);
  for (const [index, { kind }] of bodies.entries())
    if (kind === "map") graphs.set(index, { nodes: [], edges: [] });
  const around = (index: number) => mapBodyAround(shape, (nodes[index] as ShapeNode).body);
  for (const [index, node] of nodes.entries()) {
    if (!isHiddenId(node.id)) graphs.get(around(index))?.nodes.push(nodeOf(node, shape, graphs));
  }
  for (const { from, to, exits: _, enters: __, ...edge } of edges) {
    graphs.get(around(from))?.edges.push({ ...edge, from: nodes[from]?.id, to: nodes[to]?.id });
  }
  return graphs;
}

/** The body of the innermost map around or at a body. */
function mapBodyAround({ bodies }: Shape, body: number): number {
  let at = body;
  while (at !== -1 && bodies[at]?.kind !== "map") at = bodies[at]?.parent as number;
  return at;
}

function nodeOf(
  node: ShapeNode,
  shape: Shape,
  graphs: ReadonlyMap<number, FileGraph>,
): Record<string, unknown> {
  const { id, type, trigger_rule, retry, timeout_ms, queue, priority, input, map_body } = node;
  const body = map_body === undefined ? {} : bodyOf(map_body, shape, graphs);
  const config = { ...node.config, ...body };
  const given = { id, type, config, trigger_rule, retry, timeout_ms, queue, priority };
  return { ...given, ...(input === undefined ? {} : { input }), ...guardsOf(node, shape) };
}

function guardsOf(node: ShapeNode, shape: Shape): Record<string, unknown> {
  const { cancels, cancels_at, compensation, holds, unless } = node;
  const ids = (indexes: readonly number[]) => indexes.map((index) => shape.nodes[index]?.id);
  const undo = compensation === undefined ? undefined : shape.nodes[compensation]?.config;
  return {
    // The list of a loop's nodes is what its loop node stands for.
    ...(cancels &&
      cancels_at !== "fire" && { cancels: ids(cancels.filter((index) => isDirectlyIn(shape, index, node))) }),
    ...(cancels_at === "fire" && { cancel_rest: true }),
    ...(undo && { compensate_with: undo }),
    ...(holds === undefined ? {} : { holds }),
    ...(unless && { unless: ids(unless) }),
  };
}

/** Does a node belong to another's body itself, not to a loop inside it? */
function isDirectlyIn({ nodes, bodies }: Shape, index: number, { body }: ShapeNode): boolean {
  const own = (nodes[index] as ShapeNode).body;
  return own === body || (bodies[own]?.node === index && bodies[own]?.parent === body);
}

/** What a map's config says of its body. */
function bodyOf(
  index: number,
  shape: Shape,
  graphs: ReadonlyMap<number, FileGraph>,
): Record<string, unknown> {
  const first = shape.nodes[shape.bodies[index]?.entries[0] ?? -1];
  if (first !== undefined && isHiddenId(first.id)) {
    const { workflow, version } = first.config;
    return { workflow, ...(version === undefined ? {} : { version }) };
  }
  // Filled while the nodes are gone through.
  return { body: graphs.get(index) };
}
