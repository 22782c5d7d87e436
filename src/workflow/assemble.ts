/** The passes that turn a checked workflow into its IR. Nothing can be wrong any more when they run. */
import type { CheckedGraph } from "./check.ts";
import type { Needs } from "./check_expressions.ts";
import { retryWithoutPolicy } from "./defaults.ts";
import type { Draft } from "./draft.ts";
import { levelsOf } from "./graph.ts";
import { type IR, IR_FORMAT, type IREdge, type IRNode, type NodeType, type TriggerRule } from "./ir.ts";
import type { FileEdge, FileNode, Header } from "./schema.ts";

/** Positions are places in the file; indexes are places in the IR. Needs a draft and a graph without faults. */
export function assemble(draft: Draft, checked: CheckedGraph, needs: Needs): IR {
  const order = checked.order as number[];
  const indexOf = new Array<number>(order.length);
  for (const [index, position] of order.entries()) indexOf[position] = index;
  const toIndexes = (positions: Iterable<number>) =>
    [...positions].map((position) => indexOf[position] as number).sort(ascending);

  const levels = levelsOf(checked.graph, order);
  const edges = edgesPass(draft, checked, indexOf);
  const nodes = order.map((position) => {
    const file = draft.nodes[position]?.parsed as FileNode;
    const incoming = (checked.graph.in[position] ?? []).map((link) => link.edge).sort(ascending);
    const outgoing = outgoingPass(
      file,
      (checked.graph.out[position] ?? []).map((link) => link.edge),
      edges,
    );
    return nodePass(
      file,
      levels[position] as number,
      incoming,
      outgoing,
      toIndexes(needs.ofNodes[position] ?? []),
    );
  });
  return headerPass(draft.header as Header, nodes, edges, toIndexes(needs.ofOutput));
}

const ascending = (a: number, b: number) => a - b;

function edgesPass(draft: Draft, checked: CheckedGraph, indexOf: readonly number[]): IREdge[] {
  const indexOfId = (id: string) => indexOf[checked.positionOf.get(id) as number] as number;
  return draft.edges.map((draftEdge) => {
    const edge = draftEdge.parsed as FileEdge;
    return {
      from: indexOfId(edge.from),
      to: indexOfId(edge.to),
      on: edge.on,
      ...(edge.condition === undefined ? {} : { condition: edge.condition }),
      priority: edge.priority,
    };
  });
}

/** Outgoing edges by (priority, file order); the default of a `conditional` node is looked at last. */
function outgoingPass(file: FileNode, outgoing: number[], edges: readonly IREdge[]): number[] {
  const isDefault = (edge: IREdge) => (file.type === "conditional" && edge.condition === undefined ? 1 : 0);
  return outgoing.sort((a, b) => {
    const left = edges[a] as IREdge;
    const right = edges[b] as IREdge;
    return isDefault(left) - isDefault(right) || left.priority - right.priority || a - b;
  });
}

function nodePass(
  file: FileNode,
  level: number,
  incoming: number[],
  outgoing: number[],
  needs: number[],
): IRNode {
  return {
    id: file.id,
    type: file.type as NodeType,
    config: file.config as Record<string, unknown>,
    level,
    trigger_rule: file.trigger_rule as TriggerRule,
    terminal: outgoing.length === 0,
    in: incoming,
    out: outgoing,
    needs,
    retry: file.retry ?? retryWithoutPolicy(file.type),
    timeout_ms: file.timeout_ms,
    queue: file.queue,
    priority: file.priority,
  };
}

function headerPass(header: Header, nodes: IRNode[], edges: IREdge[], outputNeeds: number[]): IR {
  const indexesWhere = (test: (node: IRNode) => boolean) =>
    nodes.flatMap((node, index) => (test(node) ? [index] : []));
  return {
    format: IR_FORMAT,
    name: header.name,
    nodes,
    edges,
    entries: indexesWhere((node) => node.in.length === 0),
    terminals: indexesWhere((node) => node.terminal),
    levels: 1 + nodes.reduce((highest, node) => Math.max(highest, node.level), 0),
    vars: header.vars,
    ...(header.output === undefined ? {} : { output: header.output }),
    output_needs: outputNeeds,
    ...(header.input_schema === undefined ? {} : { input_schema: header.input_schema }),
    timeout_ms: header.timeout_ms,
    max_parallel_nodes: header.max_parallel_nodes,
    fail_fast: header.fail_fast,
  };
}
