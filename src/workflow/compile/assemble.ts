/** The passes that turn a checked workflow into its IR. Nothing can be wrong any more when they run. */

import type { CheckedGraph } from "../check/check.ts";
import type { Needs } from "../check/check_expressions.ts";
import type { Unless } from "../check/check_guards.ts";
import { DEFAULTS, retryWithoutPolicy } from "../file/defaults.ts";
import type { LoopConfig } from "../file/node_configs.ts";
import { compensationOf, type FileEdge, type FileNode, type Header } from "../file/schema.ts";
import { type Link, levelsOf } from "../graph.ts";
import { compensationIdOf } from "../ir/hidden_nodes.ts";
import {
  type IR,
  IR_FORMAT,
  type IRBody,
  type IREdge,
  type IRLoop,
  type IRNode,
  type NodeType,
  type TriggerRule,
} from "../ir/ir.ts";
import { type Bodies, NO_BODY, outerBodyOf } from "./bodies.ts";
import type { Draft } from "./draft.ts";
import type { Withdrawals } from "./withdrawals.ts";

/** A workflow without faults. */
export interface Sound {
  draft: Draft;
  checked: CheckedGraph;
  bodies: Bodies;
  needs: Needs;
  withdrawals: Withdrawals;
  unless: Unless;
}

/** Positions are places in the draft; indexes are places in the IR. */
interface Source extends Sound {
  /** Positions of the nodes in the IR's order, and back. */
  order: readonly number[];
  indexOf: readonly number[];
  /** Edges in the IR's order, and back from their places in the draft. */
  links: readonly Link[];
  edgeIndexOf: ReadonlyMap<number, number>;
  /** By position of a loop or map node: index of its body. */
  bodyAt: ReadonlyMap<number, number>;
}

export function assemble(sound: Sound): IR {
  const source = orderPass(sound);
  const { draft, order, needs } = source;
  const levels = levelsOf(
    sound.checked.graph,
    order,
    draft.nodes.map((node) => node.container),
  );
  const edges = edgesPass(source);
  const nodes = order.map((position) => nodePass(position, levels[position] as number, edges, source));
  const bodies = bodiesPass(source, nodes, edges);
  return headerPass(draft.header as Header, {
    nodes: [...nodes, ...compensationPass(nodes, source)],
    edges,
    bodies,
    isTopLevel: (index) => draft.nodes[order[index] ?? -1]?.container === -1,
    isOutside: (index) =>
      index < order.length && outerBodyOf(source.bodies, order[index] as number) === NO_BODY,
    outputNeeds: indexesOf(needs.ofOutput, source),
  });
}

const ascending = (a: number, b: number) => a - b;

function indexesOf(positions: Iterable<number>, { indexOf }: Source): number[] {
  return [...positions].map((position) => indexOf[position] as number).sort(ascending);
}

/** Edges stand in file order, those of a map's body in the order of the maps, behind all others. */
function orderPass(sound: Sound): Source {
  const { draft, checked, bodies } = sound;
  const order = checked.order as number[];
  const indexOf = invert(order);
  const links = checked.graph.out.flat();
  const rank = ({ from }: Link) => indexOf[draft.nodes[from]?.container as number] ?? -1;
  const hasMaps = bodies.list.some(({ kind }) => kind === "map");
  links.sort((a, b) => (hasMaps && rank(a) - rank(b)) || a.edge - b.edge);
  const edgeIndexOf = new Map(links.map(({ edge }, index) => [edge, index]));
  const bodyAt = new Map(bodies.list.map((body, index) => [body.node, index]));
  return { ...sound, order, indexOf, links, edgeIndexOf, bodyAt };
}

function invert(order: readonly number[]): number[] {
  const indexOf = new Array<number>(order.length);
  for (const [index, position] of order.entries()) indexOf[position] = index;
  return indexOf;
}

function edgesPass({ draft, bodies, indexOf, links }: Source): IREdge[] {
  return links.map(({ from, to, edge: place }) => {
    const file = draft.edges[place]?.parsed as FileEdge;
    const { on, condition, priority } = file;
    const source = indexOf[from] as number;
    const target = indexOf[to] as number;
    // Written out, as there are many: spreading would take most of this pass.
    const edge: IREdge =
      condition === undefined
        ? { from: source, to: target, on, priority }
        : { from: source, to: target, on, condition, priority };
    if (bodies.of[from] !== bodies.of[to]) addCrossing(edge, from, to, bodies);
    return edge;
  });
}

/** The bodies that an edge leaves and enters. */
function addCrossing(edge: IREdge, from: number, to: number, bodies: Bodies): void {
  const left = pathOf(bodies, bodies.of[from] as number);
  const entered = pathOf(bodies, bodies.of[to] as number);
  let common = 0;
  while (common < left.length && left[common] === entered[common]) common += 1;
  if (common < left.length) edge.exits = left.length - common;
  if (common < entered.length) edge.enters = entered.slice(common);
}

/** Indexes of a body and those around it, outer first. */
function pathOf(bodies: Bodies, body: number): number[] {
  const path: number[] = [];
  for (let at = body; at !== NO_BODY; at = bodies.list[at]?.parent as number) path.unshift(at);
  return path;
}

function nodePass(position: number, level: number, edges: readonly IREdge[], source: Source): IRNode {
  const { draft, checked, bodies, edgeIndexOf, bodyAt } = source;
  const file = draft.nodes[position]?.parsed as FileNode;
  const toEdges = (links: readonly Link[]) => links.map((link) => edgeIndexOf.get(link.edge) as number);
  const outgoing = toEdges(checked.graph.out[position] as Link[]);
  return {
    id: file.id,
    type: file.type as NodeType,
    config: file.config as Record<string, unknown>,
    level,
    trigger_rule: file.trigger_rule as TriggerRule,
    terminal: outgoing.length === 0,
    in: toEdges(checked.graph.in[position] as Link[]).sort(ascending),
    out: inOrderOfLooking(file, outgoing, edges),
    needs: indexesOf(source.needs.ofNodes[position] ?? [], source),
    retry: file.retry ?? retryWithoutPolicy(file.type),
    timeout_ms: file.timeout_ms,
    queue: file.queue,
    priority: file.priority,
    ...(file.input === undefined ? {} : { input: file.input }),
    body: bodies.of[position] as number,
    ...(file.type === "loop" ? { loop: loopPass(position, file.config as LoopConfig, source) } : {}),
    ...(file.type === "map" ? { map_body: bodyAt.get(position) as number } : {}),
    ...guardsPass(position, file, source),
  };
}

function guardsPass(
  position: number,
  file: FileNode,
  source: Source,
): Pick<IRNode, "cancels" | "cancels_at" | "holds" | "unless"> {
  const withdrawal = source.withdrawals.get(position);
  const unless = source.unless.get(position);
  return {
    ...(withdrawal && { cancels: indexesOf(withdrawal.targets, source), cancels_at: withdrawal.at }),
    ...(file.holds.length === 0 ? {} : { holds: [...new Set(file.holds)].sort() }),
    ...(unless && { unless: indexesOf(unless, source) }),
  };
}

/** Links the nodes to those that undo them, and returns these. */
function compensationPass(nodes: readonly IRNode[], { draft, order }: Source): IRNode[] {
  const added: IRNode[] = [];
  for (const [index, node] of nodes.entries()) {
    const undo = compensationOf(draft.nodes[order[index] as number]?.parsed as FileNode);
    if (undo === undefined) continue;
    node.compensation = nodes.length + added.length;
    const { level, retry, timeout_ms, queue, priority, body } = node;
    added.push({
      id: compensationIdOf(node.id),
      type: "function",
      config: undo,
      level,
      trigger_rule: DEFAULTS.triggerRule,
      terminal: false,
      in: [],
      out: [],
      needs: [],
      retry,
      timeout_ms,
      queue,
      priority,
      body,
      compensates: index,
    });
  }
  return added;
}

/** Outgoing edges by (priority, file order); the default of a `conditional` node is looked at last. */
function inOrderOfLooking(file: FileNode, outgoing: number[], edges: readonly IREdge[]): number[] {
  const isDefault = (edge: IREdge) => (file.type === "conditional" && edge.condition === undefined ? 1 : 0);
  return outgoing.sort((a, b) => {
    const left = edges[a] as IREdge;
    const right = edges[b] as IREdge;
    return isDefault(left) - isDefault(right) || left.priority - right.priority || a - b;
  });
}

function loopPass(
  position: number,
  { max_iterations }: LoopConfig,
  { checked, indexOf, edgeIndexOf }: Source,
): IRLoop {
  const waysOut = checked.waysOutOf.get(position) ?? {};
  const wayOut = (way: "break" | "timeout") =>
    waysOut[way] === undefined ? {} : { [way]: waysOut[way].map((edge) => edgeIndexOf.get(edge) as number) };
  return {
    entry: indexOf[checked.entryOf.get(position) as number] as number,
    ...(max_iterations === undefined ? {} : { max_iterations }),
    ...wayOut("break"),
    ...wayOut("timeout"),
  };
}

/** May none of a node's edges be taken after a success? */
function mayTakeNone({ out, loop }: IRNode, edges: readonly IREdge[]): boolean {
  const isSure = (index: number): boolean => {
    const { on, condition } = edges[index] as IREdge;
    if (on === "failure" || condition !== undefined) return false;
    if (loop === undefined || on === "always") return true;
    return loop.break === undefined ? !loop.timeout?.includes(index) : loop.break.includes(index);
  };
  return out.length > 0 && !out.some(isSure);
}

function bodiesPass(
  { draft, bodies, order, indexOf, bodyAt }: Source,
  nodes: readonly IRNode[],
  edges: readonly IREdge[],
): IRBody[] {
  const list = bodies.list.map(({ kind, node, parent, entry }): IRBody => {
    const index = indexOf[node] as number;
    const isLoop = kind === "loop";
    return {
      kind,
      node: index,
      parent,
      entries: isLoop ? [indexOf[entry] as number] : [],
      terminals: isLoop ? [index] : [],
      ends: [],
    };
  });
  for (const [index, position] of order.entries()) {
    const map = bodyAt.get(draft.nodes[position]?.container as number);
    if (map === undefined) continue;
    const node = nodes[index] as IRNode;
    if (node.in.length === 0) list[map]?.entries.push(index);
    if (node.terminal) list[map]?.terminals.push(index);
    if (outerBodyOf(bodies, position) === map && mayTakeNone(node, edges)) list[map]?.ends.push(index);
  }
  return list;
}

interface Passed {
  nodes: IRNode[];
  edges: IREdge[];
  bodies: IRBody[];
  /** Does a node stand outside the bodies of maps? */
  isTopLevel(index: number): boolean;
  /** Does a node stand outside all bodies, a loop node standing for its loop? */
  isOutside(index: number): boolean;
  outputNeeds: number[];
}

function headerPass(
  header: Header,
  { nodes, edges, bodies, isTopLevel, isOutside, outputNeeds }: Passed,
): IR {
  const indexesWhere = (test: (node: IRNode) => boolean) =>
    nodes.flatMap((node, index) => (isTopLevel(index) && test(node) ? [index] : []));
  return {
    format: IR_FORMAT,
    name: header.name,
    nodes,
    edges,
    entries: indexesWhere((node) => node.in.length === 0),
    terminals: indexesWhere((node) => node.terminal),
    ends: nodes.flatMap((node, index) => (isOutside(index) && mayTakeNone(node, edges) ? [index] : [])),
    levels: 1 + nodes.reduce((highest, node) => Math.max(highest, node.level), 0),
    bodies,
    semaphores: header.semaphores,
    vars: header.vars,
    ...(header.output === undefined ? {} : { output: header.output }),
    output_needs: outputNeeds,
    ...(header.input_schema === undefined ? {} : { input_schema: header.input_schema }),
    timeout_ms: header.timeout_ms,
    max_parallel_nodes: header.max_parallel_nodes,
    fail_fast: header.fail_fast,
  };
}
