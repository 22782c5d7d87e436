/**
 * Grows a valid workflow from a list of genes, whatever they are. Bodies grow inside: a loop's genes take the place of one node,
 * with one way in, their first node, and one way out, the loop node, which bears the id of the whole.
 */
import { constantOf, type Expression, type Json } from "./expression.ts";
import {
  type LoopGene,
  type MapGene,
  type NodeGene,
  type Place,
  QUEUES,
  type RunGene,
  SEMAPHORES,
  type SignalGene,
  type WorkGene,
} from "./genes.ts";
import { withMeetableRules } from "./meetable.ts";
import type {
  Behaviour,
  Behaviours,
  Graph,
  Loop,
  NodeProperties,
  SimulatedEdge,
  SimulatedNode,
  SimulatedRetry,
  SimulatedWorkflow,
  Work,
} from "./model.ts";
import { allNodes, asksForDays, compensationOf, hangs, targetsOf } from "./model.ts";
import {
  type Around,
  distinct,
  entryOf,
  isEarly,
  isEarlyRule,
  type Link,
  Neighbours,
  NOWHERE,
} from "./neighbours.ts";

/** A valid workflow from any genes. */
export function grow(
  genes: readonly NodeGene[],
  { output, maxParallelNodes, failFast }: RunGene,
): { workflow: SimulatedWorkflow; behaviours: Behaviours } {
  const behaviours: Record<string, Behaviour> = {};
  const graph = graphOf(genes, { ...NOWHERE, prefix: "n" }, behaviours);
  const held = allNodes(graph).some(({ holds }) => holds !== undefined);
  const workflow = {
    name: "simulated",
    ...graph,
    ...(output === null ? {} : { output: outputOf(output, genes.length) }),
    ...(maxParallelNodes === null ? {} : { max_parallel_nodes: maxParallelNodes }),
    ...(failFast ? { fail_fast: true } : {}),
    ...(held ? { semaphores: SEMAPHORES } : {}),
  };
  return { workflow, behaviours };
}

/** A try that hangs is given up after this time. */
const HANGS_FOR_MS = 25;

/** A signal that nobody gives is given up after this time. */
const DEADLINE_MS = 20;

/** One that is given comes in time, or may be too late. */
const ANSWERED_WITHIN_MS = { short: 120, ample: 600_000 };

/** Nodes and edges with their places in the file. */
interface Growth {
  nodes: [SimulatedNode, number][];
  edges: [SimulatedEdge, number][];
  behaviours: Record<string, Behaviour>;
}

function graphOf(genes: readonly NodeGene[], around: Around, behaviours: Record<string, Behaviour>): Graph {
  const growth: Growth = { nodes: [], edges: [], behaviours };
  growInto(growth, genes, around);
  return withMeetableRules({ nodes: byPosition(growth.nodes), edges: byPosition(growth.edges) });
}

function growInto(growth: Growth, genes: readonly NodeGene[], around: Around): void {
  const neighbours = new Neighbours(genes, around);
  giveBehaviours(neighbours, growth.behaviours);
  for (const [index, gene] of genes.entries()) {
    const id = neighbours.id(index);
    const between = neighbours.place(index);
    const given = givenTo(gene, between);
    const place = { ...between, isGiven: given !== undefined };
    const links = neighbours.linksFrom(index);
    if (gene.work.kind === "loop") growLoop(growth, gene, gene.work, id, { ...around, ...place }, links);
    else {
      const node = {
        id,
        ...workOf(gene.work, id, place, growth.behaviours),
        ...propertiesOf(gene, id, place, growth),
        ...(given && { given }),
      };
      growth.nodes.push([{ ...node, ...neighbours.influence(index) }, gene.position]);
      growth.edges.push(...edgesOf(id, gene, place, links));
    }
  }
}

/** A loop's body takes the place of one node; the loop node, which bears its id, is its way out. */
function growLoop(
  growth: Growth,
  gene: NodeGene,
  work: LoopGene,
  id: string,
  around: Around & Place,
  links: readonly Link[],
): void {
  const inside = { ...around, prefix: `${id}_`, inLoop: true, exit: { id, gene } };
  const body = new Neighbours(work.body, inside);
  growInto(growth, work.body, inside);
  const leaves = work.body.length === 0 ? around.predecessors : body.leaves();
  const early = work.body.some((inner) => isEarly(inner));
  const between: Place = {
    predecessors: leaves,
    ancestors: around.early || early || isEarlyRule(gene.rule) ? [] : [...around.ancestors, ...body.ids()],
    inLoop: true,
    inMap: around.inMap,
    passesDataOn: work.calls === null,
    on: "node",
  };
  const given = givenTo(gene, between);
  const place: Place = { ...between, isGiven: given !== undefined, on: "success" };
  if (work.calls !== null) growth.behaviours[id] = work.calls;
  const paths = pathsOf(work, links);
  const loop: Loop = { type: "loop", loop_back_to: entryOf(gene, id), ...boundsOf(work, place), ...paths };
  const properties = propertiesOf(gene, id, place, growth);
  growth.nodes.push([
    { id, ...loop, ...(work.calls === null ? {} : { calls: true }), ...properties, ...(given && { given }) },
    gene.position,
  ]);
  const targets = [...targetsOf(paths.break_path), ...targetsOf(paths.timeout_path)];
  const named = links.filter(({ to }) => targets.includes(to));
  const others = links.filter((link) => !named.includes(link));
  if (work.explicit)
    growth.edges.push(
      ...named.map(({ to, gene }): [SimulatedEdge, number] => [{ from: id, to }, gene.position]),
    );
  if (work.edgeBack) growth.edges.push([{ from: id, to: loop.loop_back_to }, 0]);
  growth.edges.push(...edgesOf(id, gene, place, others));
}

function pathsOf(
  { breaks, timesOut }: LoopGene,
  links: readonly Link[],
): Pick<Loop, "break_path" | "timeout_path"> {
  const target = (pick: number): string | undefined => links[pick % links.length]?.to;
  const path = (picks: number | number[] | null): string | string[] | undefined => {
    if (!Array.isArray(picks)) return picks === null ? undefined : target(picks);
    return [...new Set(picks.flatMap((pick) => target(pick) ?? []))];
  };
  const [break_path, timeout_path] = [path(breaks), path(timesOut)];
  return { ...(break_path && { break_path }), ...(timeout_path && { timeout_path }) };
}

function boundsOf(
  { times, bounded, condition }: LoopGene,
  place: Place,
): Pick<Loop, "condition" | "max_iterations"> {
  const own = condition?.(place);
  if (bounded) return { max_iterations: times, ...(own && { condition: own }) };
  const iteration: Expression = { kind: "field", of: "loop", path: ["iteration"] };
  const last: Expression = { kind: "literal", value: times };
  const bound: Expression = { kind: "compare", operator: "<", left: iteration, right: last };
  return { condition: own === undefined ? bound : { kind: "and", left: bound, right: own } };
}

/** What a node of any type has. One without predecessors fires at the start whatever its rule, so it is given none. */
function propertiesOf(gene: NodeGene, id: string, place: Place, { behaviours }: Growth): NodeProperties {
  const { rule, work, holds, undone } = gene;
  const fanIn = place.predecessors.length;
  const queue = QUEUES[gene.edges.length % QUEUES.length];
  const fitting = typeof rule === "object" && rule !== null ? { quorum: Math.min(rule.quorum, fanIn) } : rule;
  // Most rules say little about a single arrival, and stop what comes behind.
  const alone = gene.picks[0]! % 4 === 0;
  const called = work.kind === "function" || (work.kind === "loop" && work.calls !== null);
  const late = asksForDays(behaviours[id]) || asksForDays(undone);
  const retry = called && !late ? (gene.retry ?? retryFor(behaviours[id])) : null;
  // What undoes a node has its time limit, which is short for one that hangs.
  const isUndone = work.kind === "function" && undone !== null && !hangs(behaviours[id]);
  if (isUndone) behaviours[compensationOf(id)] = undone;
  return {
    ...(queue === "default" ? {} : { queue }),
    ...(fitting === null || fanIn === 0 || (fanIn === 1 && !alone) ? {} : { trigger_rule: fitting }),
    ...(retry === null ? {} : { retry }),
    ...(hangs(behaviours[id]) ? { timeout_ms: HANGS_FOR_MS } : {}),
    ...(called && holds.length > 0 ? { holds } : {}),
    ...(isUndone ? { compensated: true } : {}),
  };
}

/** What replaces a node's data; a filter or a map that wants a list is given it. */
function givenTo({ input, work }: NodeGene, place: Place): Expression | undefined {
  const wanted =
    work.kind === "filter" ? work.list : work.kind === "map" && work.fromData ? work.items : null;
  return wanted === null || input === null ? input?.(place) : constantOf(wanted);
}

/** Without a policy of its own, a handler that answers at last gets enough tries for it. */
function retryFor(behaviour: Behaviour | undefined): SimulatedRetry | null {
  return behaviour?.kind === "flaky" ? { max_attempts: behaviour.fails + 1, backoff_ms: 5 } : null;
}

/** A type that would only ever fail where it stands becomes `parallel`, unless its gene asks for that. */
function workOf(
  gene: Exclude<WorkGene, LoopGene>,
  id: string,
  place: Place,
  behaviours: Record<string, Behaviour>,
): Work {
  switch (gene.kind) {
    case "function":
      return { type: "function" };
    case "transform":
      return { type: "transform", expression: gene.expression(place) };
    case "filter":
      if (
        gene.list !== null &&
        place.isGiven !== true &&
        !place.predecessors.some((from) => gives(behaviours[from], gene.list))
      )
        return { type: "parallel" };
      return { type: "filter", filter_expression: gene.condition(place) };
    case "aggregate":
      return place.predecessors.length > 1 || place.isGiven === true ? gene.work : { type: "parallel" };
    case "map":
      return mapOf(gene, id, place, behaviours);
    case "until": {
      const { until } = gene;
      return { type: "wait", until: typeof until === "string" ? until : until(place) };
    }
    case "signal":
      return signalOf(gene, id);
    case "subworkflow": {
      const workflow = childOf(id, gene.body, behaviours);
      return { type: "subworkflow", workflow, ...(gene.input && { input: { given: gene.input(place) } }) };
    }
    default:
      return gene.work;
  }
}

function signalOf({ type, answer, deadline, transient }: SignalGene, id: string): Work {
  const asked = { type, name: `signal-${id}`, answer, ...(transient ? { transient } : {}) };
  if (answer === null) return { ...asked, deadline_ms: DEADLINE_MS };
  return { ...asked, ...(deadline === "none" ? {} : { deadline_ms: ANSWERED_WITHIN_MS[deadline] }) };
}

function mapOf(gene: MapGene, id: string, place: Place, behaviours: Record<string, Behaviour>): Work {
  const { items, maxConcurrency, tolerated, asChild, completeWhen, signals } = gene;
  const [only] = place.predecessors;
  const isGiven =
    gene.fromData &&
    items !== null &&
    (place.isGiven === true || (only !== undefined && gives(behaviours[only], items)));
  const inside: Around = {
    ...NOWHERE,
    ancestors: place.ancestors,
    inLoop: place.inLoop,
    inMap: true,
    prefix: `${id}_`,
  };
  const early = { early: place.ancestors.length === 0 };
  return {
    type: "map",
    items: isGiven
      ? { kind: "field", of: "data", path: [] }
      : items === null
        ? gene.expression(place)
        : constantOf(items),
    body: asChild
      ? childOf(id, gene.body, behaviours)
      : graphOf(gene.body, { ...inside, ...early }, behaviours),
    ...(maxConcurrency === null ? {} : { max_concurrency: maxConcurrency }),
    ...(tolerated === 0 ? {} : { tolerated_failures: tolerated }),
    ...(completeWhen === null ? {} : { complete_when: completeWhen }),
    ...(signals === null ? {} : { open: { name: `signal-${id}`, signals } }),
  };
}

/** A workflow of its own; its nodes' ids are unlike those of the workflow that starts it. */
function childOf(
  id: string,
  genes: readonly NodeGene[],
  behaviours: Record<string, Behaviour>,
): SimulatedWorkflow {
  const graph = graphOf(genes, { ...NOWHERE, prefix: `${id}_` }, behaviours);
  const held = allNodes(graph).some(({ holds }) => holds !== undefined);
  return { name: `child-${id}`, ...graph, ...(held ? { semaphores: SEMAPHORES } : {}) };
}

/** A node's outgoing edges with their places in the file. A conditional gets at most one success edge as its default. */
function edgesOf(
  id: string,
  gene: NodeGene,
  place: Place,
  links: readonly Link[],
): [SimulatedEdge, number][] {
  const decides = gene.work.kind === "conditional";
  let hasDefault = false;
  return links.map((link) => {
    const { on, priority, position } = link.gene;
    const among = decides && on === "success";
    const wanted = link.gene.conditioned >= (among ? 3 : 8);
    const conditioned = wanted || (among && hasDefault);
    if (among && !conditioned) hasDefault = true;
    const edge: SimulatedEdge = {
      from: id,
      to: link.to,
      ...(on === "success" ? {} : { on }),
      ...(gene.priorities ? { priority } : {}),
      ...(conditioned ? { condition: link.gene.condition({ ...place, on }) } : {}),
    };
    return [edge, position];
  });
}

/** Behaviours of the functions. A filter or a map may give its only predecessor a list to answer with, so that it has work. */
function giveBehaviours(neighbours: Neighbours, behaviours: Record<string, Behaviour>): void {
  for (const [index, { work }] of neighbours.genes.entries()) {
    if (work.kind === "function") behaviours[neighbours.id(index)] = work.behaviour;
    const wanted =
      work.kind === "filter" ? work.list : work.kind === "map" && work.fromData ? work.items : null;
    const [only, ...others] = neighbours.predecessors(index);
    if (wanted === null || only === undefined || others.length > 0) continue;
    if (["output", "echo", "measure", "bulk"].includes(behaviours[only]?.kind ?? ""))
      behaviours[only] = { kind: "output", value: wanted };
  }
}

function gives(behaviour: Behaviour | undefined, list: Json[] | null): boolean {
  return behaviour?.kind === "output" && behaviour.value === list;
}

function outputOf(picks: readonly number[], count: number): Expression {
  const ids = distinct(picks.map((pick) => pick % count)).map((index) => `n${index}`);
  return { kind: "object", entries: ids.map((id) => [id, { kind: "node", id, path: [] }]) };
}

function byPosition<T>(entries: [T, number][]): T[] {
  return entries.toSorted(([, a], [, b]) => a - b).map(([entry]) => entry);
}
