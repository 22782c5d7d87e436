/** The IR as scripts read it: one hash field per node, so that a step reads only the nodes that it touches. */

import { ON } from "../token/letters.ts";
import type { IR, IRBody, IREdge, IRNode, TriggerRule } from "../workflow/ir/ir.ts";
import type { CallLimits } from "./call_limits.ts";
import { ADJACENCY, BEGINNING, FIELD, fieldOf } from "./run_state.ts";

/** Rules that may fire before all arrivals are in. */
const isEarly = (rule: TriggerRule) =>
  typeof rule === "object" || rule === "one_success" || rule === "one_failed";

const ruleText = (rule: TriggerRule) => (typeof rule === "object" ? `q${rule.quorum}` : rule);

const isGuarded = (node: IRNode) => node.holds !== undefined || node.unless !== undefined;

const idOfBody = (ir: IR, body: number) => ir.nodes[(ir.bodies[body] as IRBody).node]?.id as string;

interface Crossing {
  exits: number;
  /** Bodies entered, outer first. */
  enters: readonly number[];
  /** Components of the target's scope that are this edge's. */
  own: number;
}

function edgeTo(ir: IR, edgeIndex: number, target: number, on: string, crossing: Crossing): unknown[] {
  const node = ir.nodes[target] as IRNode;
  const isEntry = edgeIndex < 0;
  const packed: unknown[] = [
    edgeIndex,
    target,
    on,
    isEntry ? 0 : node.in.length,
    isEntry ? "none_failed_min_one_success" : ruleText(node.trigger_rule),
    node.queue,
  ];
  const { exits, enters, own } = crossing;
  const guarded = isGuarded(node) ? 1 : 0;
  const fires = node.cancels_at === "fire" ? 1 : 0;
  if (exits + own + guarded + fires === 0) return packed;
  const components = enters.map((body) => `${idOfBody(ir, body)}:1`).join("/");
  return [...packed, exits, components, own, guarded, fires];
}

/** Loop bodies around a node inside of `body` (-1: the workflow), outer first: those that begin with their iteration 1 when it is entered. */
function loopsInside(ir: IR, node: number, body: number): number[] {
  const bodies: number[] = [];
  for (let at = (ir.nodes[node] as IRNode).body; at !== body && at >= 0; at = ir.bodies[at]?.parent ?? -1)
    bodies.unshift(at);
  return bodies;
}

function entryEdge(ir: IR, entry: number, body: number, before = 0): unknown[] {
  const enters = loopsInside(ir, entry, body);
  return edgeTo(ir, -1, entry, ON.success, { exits: 0, enters, own: enters.length + before });
}

function crossingOf(edge: IREdge): Crossing {
  const enters = edge.enters ?? [];
  return { exits: edge.exits ?? 0, enters, own: enters.length };
}

function loopsOf(ir: IR, index: number): number[] {
  return ir.bodies.flatMap(({ kind, parent, node }) => (kind === "loop" && parent === index ? [node] : []));
}

/** What a body is like. */
function bodyTraits(ir: IR, body: IRBody, index: number): Record<string, unknown> {
  const node = ir.nodes[body.node] as IRNode;
  const common = { id: idOfBody(ir, index), queue: node.queue, loops: loopsOf(ir, index) };
  if (body.kind === "loop") return common;
  return {
    ...common,
    window: node.config.max_concurrency,
    results: body.terminals,
    ends: body.ends,
    asks: node.config.complete_when === undefined ? undefined : 1,
  };
}

/**
 * The fields of the run's state that a scope of a body may leave behind, without the scope. What undoes its executions comes when all
 * is over, and may be under way while the scope is cleared.
 */
function scopeFields(ir: IR, body: IRBody, index: number): string[] {
  const direct = ir.nodes.flatMap((node, at) =>
    node.body === index && node.compensates === undefined ? [at] : [],
  );
  const joins = direct.filter((at) => (ir.nodes[at] as IRNode).in.length > 1);
  const outputs = [...direct.filter((at) => at !== body.node), ...loopsOf(ir, index)];
  const waiting = direct.filter((at) => PARKING.has((ir.nodes[at] as IRNode).type));
  return [
    ...direct.map((at) => fieldOf(FIELD.execution, at)),
    ...outputs
      .filter((at) => ir.nodes[at]?.compensation === undefined)
      .map((at) => fieldOf(FIELD.output, at)),
    ...joins.map((at) => fieldOf(FIELD.arrivals, at)),
    ...joins.flatMap((at) => (ir.nodes[at] as IRNode).in.map((edge) => fieldOf(FIELD.arrival, edge))),
    ...waiting.map((at) => fieldOf(FIELD.waits, at)),
    ...body.ends.map((at) => fieldOf(FIELD.ended_item, at)),
  ];
}

/** Node types whose executions wait without a worker. */
export const PARKING: ReadonlySet<IRNode["type"]> = new Set([
  "map",
  "subworkflow",
  "wait",
  "approval",
  "signal",
]);

/** Those that may wait for a time. */
const TIMED: ReadonlySet<IRNode["type"]> = new Set(["wait", "approval", "signal"]);

/** May something of an iteration still go on when its loop node is done? */
export function isCounted(ir: IR, index: number): boolean {
  return ir.nodes.some((node, at) => isEarly(node.trigger_rule) && loopsInside(ir, at, -1).includes(index));
}

function packBodies(ir: IR, inParts: InParts): string[] {
  if (ir.bodies.length === 0) return [];
  const fields: string[] = [];
  ir.bodies.forEach((body, index) => {
    const { kind, node } = body;
    const counted = kind === "map" || isCounted(ir, index) ? 1 : undefined;
    fields.push(ADJACENCY.component + idOfBody(ir, index), JSON.stringify({ k: kind, n: node, c: counted }));
    fields.push(`${ADJACENCY.body}${node}`, JSON.stringify(bodyTraits(ir, body, index)));
    fields.push(...inParts(`${ADJACENCY.scope_fields}${node}`, scopeFields(ir, body, index)));
    const beginning = kind === "loop" ? BEGINNING.iteration : BEGINNING.item;
    const before = kind === "loop" ? 1 : 0;
    const entries = body.entries.map((entry) => entryEdge(ir, entry, index, before));
    fields.push(...inParts(`${ADJACENCY.out}${beginning}${node}`, entries));
  });
  return fields;
}

function packGuards(ir: IR): string[] {
  return ir.nodes.flatMap((node, index) => {
    if (node.holds === undefined) return [];
    return [
      `${ADJACENCY.guards}${index}`,
      JSON.stringify({ holds: node.holds.map((name) => [name, ir.semaphores[name]]) }),
    ];
  });
}

function packWithdrawals(ir: IR, inParts: InParts): string[] {
  return ir.nodes.flatMap((node, index) => {
    if (node.cancels === undefined) return [];
    const nodes = node.cancels.map((target) => {
      const { type, queue } = ir.nodes[target] as IRNode;
      const loops = loopsInside(ir, target, node.body).map((body) => ir.bodies[body]?.node);
      return TIMED.has(type) ? [target, loops, queue] : [target, loops];
    });
    return [
      `${ADJACENCY.withdrawal}${index}`,
      JSON.stringify({ at: node.cancels_at }),
      ...inParts(`${ADJACENCY.withdrawn}${index}`, nodes),
    ];
  });
}

/** Lays a list under one name, a part of it under each further one. */
type InParts = (name: string, list: readonly unknown[]) => string[];

const partsOf =
  (part: number): InParts =>
  (name, list) => {
    const fields = [name, JSON.stringify(list.slice(0, part))];
    for (let first = part; first < list.length; first += part)
      fields.push(`${name}+${first / part}`, JSON.stringify(list.slice(first, first + part)));
    return fields;
  };

/** May the outcome hang on the order in which executions end? */
const isOrdered = (ir: IR): boolean =>
  ir.fail_fast ||
  ir.nodes.some(
    ({ trigger_rule, cancels, unless, config }) =>
      isEarly(trigger_rule) ||
      cancels !== undefined ||
      unless !== undefined ||
      config.complete_when !== undefined,
  );

/** Alternating field names and values; the forms are described in lua/lib/fields.lua. */
export function packIR(ir: IR, { part, wide }: Pick<CallLimits, "part" | "wide">): string[] {
  const inParts = partsOf(part);
  const fields: string[] = [];
  ir.nodes.forEach((node, index) => {
    const outgoing = node.out.map((edgeIndex) => {
      const edge = ir.edges[edgeIndex] as IREdge;
      return edgeTo(ir, edgeIndex, edge.to, ON[edge.on], crossingOf(edge));
    });
    fields.push(...inParts(`${ADJACENCY.out}${index}`, outgoing));
    if (node.in.length > 1 && node.in.length <= wide) {
      const incoming = node.in.map((edgeIndex) => {
        const edge = ir.edges[edgeIndex] as IREdge;
        const own = crossingOf(edge).own;
        return own === 0 ? [edgeIndex, edge.from] : [edgeIndex, edge.from, own];
      });
      fields.push(`${ADJACENCY.into}${index}`, JSON.stringify(incoming));
    }
  });
  const roots = ir.entries.map((entry) => entryEdge(ir, entry, -1));
  fields.push(...inParts(ADJACENCY.out + BEGINNING.run, roots));
  if (isOrdered(ir)) fields.push(ADJACENCY.ordered, "1");
  return [...fields, ...packBodies(ir, inParts), ...packGuards(ir), ...packWithdrawals(ir, inParts)];
}

const queuesKnown = new WeakMap<IR, readonly string[]>();

/** All queues that an IR names, the default one first. */
export function queuesOf(ir: IR): readonly string[] {
  let queues = queuesKnown.get(ir);
  if (queues === undefined) {
    queues = [...new Set(["default", ...ir.nodes.map((node) => node.queue)])];
    queuesKnown.set(ir, queues);
  }
  return queues;
}
