/**
 * Grows a valid workflow from a list of genes, whatever they are. Bodies grow inside: a loop's genes take the place of one node,
 * with one way in, their first node, and one way out, the loop node, which bears the id of the whole.
 */
import type { Expression, Json, JsonObject } from "./expression.ts";
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
  TriggerRule,
  Work,
} from "./model.ts";
import { allNodes, compensationOf, hangs } from "./model.ts";

/**
 * How a node hangs on those before it: `chain` on the last one, `sibling` on the same as the last one (fans, branches),
 * `leaves` on all that have no successor yet (joins), `pick` on any; `entry` on none.
 */
export type Shape = "chain" | "sibling" | "leaves" | "pick" | "entry";

/** Where an expression stands, which decides what it may name. */
export interface Place {
  /** Predecessors of the node; with several of them `data` is an object by their ids. */
  predecessors: readonly string[];
  /** Nodes that `nodes[...]` may name. */
  ancestors: readonly string[];
  inLoop: boolean;
  inMap: boolean;
  /** Its output is its data. */
  passesDataOn: boolean;
  on: "node" | "success" | "failure" | "always";
}

/** An expression that adapts itself to its place. */
export type Adaptive = (place: Place) => Expression;

export interface EdgeGene {
  on: "success" | "failure" | "always";
  /** Has a condition from a certain value on, which is lower for a conditional's edges. */
  conditioned: number;
  condition: Adaptive;
  priority: number;
  /** Moves the edge in the file. */
  position: number;
}

/** A loop that ends: it has a bound, or its condition does. */
export interface LoopGene {
  kind: "loop";
  body: NodeGene[];
  times: number;
  bounded: boolean;
  condition: Adaptive | null;
  /** Which of its edges leads to `break_path`, and which to `timeout_path`. */
  breaks: number | null;
  timesOut: number | null;
  /** The edges to these paths stand in the file. */
  explicit: boolean;
  edgeBack: boolean;
  calls: Behaviour | null;
}

export interface MapGene {
  kind: "map";
  body: NodeGene[];
  /** As constants, or as the output of its one predecessor, if that can give it; null: whatever `expression` says. */
  items: Json[] | null;
  fromData: boolean;
  expression: Adaptive;
  /** The body is a workflow of its own. */
  asChild: boolean;
  maxConcurrency: number | null;
  tolerated: number;
}

export type WorkGene =
  | { kind: "function"; behaviour: Behaviour }
  | { kind: "conditional" | "parallel" | "wait"; work: Work }
  | { kind: "transform"; expression: Adaptive }
  | { kind: "filter"; condition: Adaptive; list: Json[] | null }
  | { kind: "aggregate"; work: Work }
  | LoopGene
  | MapGene
  | { kind: "signal"; type: "signal" | "approval"; answer: JsonObject | null }
  | { kind: "subworkflow"; body: NodeGene[]; input: Adaptive | null };

export interface NodeGene {
  shape: Shape;
  picks: number[];
  work: WorkGene;
  rule: TriggerRule | null;
  retry: SimulatedRetry | null;
  edges: EdgeGene[];
  priorities: boolean;
  /** Moves the node in the file. */
  position: number;
  /** Neighbours that it withdraws; an empty list: all. */
  cancels: number[] | null;
  cancelsRest: boolean;
  /** A neighbour that keeps it from running. */
  unless: number | null;
  holds: string[];
  /** How it is undone. */
  undone: Behaviour | null;
}

/** What concerns the run as a whole. */
export interface RunGene {
  /** Nodes that its output names; null: no expression for it. */
  output: number[] | null;
  /** null: no limit. */
  maxParallelNodes: number | null;
  failFast: boolean;
}

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

/** Permits by name. */
export const SEMAPHORES: Readonly<Record<string, number>> = { one: 1, two: 2 };

/** A try that hangs is given up after this time. */
const HANGS_FOR_MS = 25;

/** A signal that nobody gives is given up after this time. */
const DEADLINE_MS = 20;

/** What a graph grows in. */
interface Around {
  /** Of its nodes' ids. */
  prefix: string;
  /** Predecessors of its first node. */
  predecessors: readonly string[];
  ancestors: readonly string[];
  /** An ancestor's or an own rule may fire before all ancestors are over. */
  early: boolean;
  inLoop: boolean;
  inMap: boolean;
  /** The loop node to which all its leaves lead; null: none. */
  exit: { id: string; gene: NodeGene } | null;
}

const NOWHERE: Around = {
  prefix: "",
  predecessors: [],
  ancestors: [],
  early: false,
  inLoop: false,
  inMap: false,
  exit: null,
};

/** Nodes and edges with their places in the file. */
interface Growth {
  nodes: [SimulatedNode, number][];
  edges: [SimulatedEdge, number][];
  behaviours: Record<string, Behaviour>;
}

interface Link {
  to: string;
  gene: EdgeGene;
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
    const place = neighbours.place(index);
    const links = neighbours.linksFrom(index);
    if (gene.work.kind === "loop") growLoop(growth, gene, gene.work, id, { ...around, ...place }, links);
    else {
      const node = {
        id,
        ...workOf(gene.work, id, place, growth.behaviours),
        ...propertiesOf(gene, id, place, growth),
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
  const place: Place = {
    predecessors: leaves,
    ancestors: around.early || early || isEarlyRule(gene.rule) ? [] : [...around.ancestors, ...body.ids()],
    inLoop: true,
    inMap: around.inMap,
    passesDataOn: work.calls === null,
    on: "success",
  };
  if (work.calls !== null) growth.behaviours[id] = work.calls;
  const paths = pathsOf(work, links);
  const loop: Loop = { type: "loop", loop_back_to: entryOf(gene, id), ...boundsOf(work, place), ...paths };
  const properties = propertiesOf(gene, id, place, growth);
  growth.nodes.push([
    { id, ...loop, ...(work.calls === null ? {} : { calls: true }), ...properties },
    gene.position,
  ]);
  const named = links.filter(({ to }) => to === paths.break_path || to === paths.timeout_path);
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
  const path = (pick: number | null): string | undefined =>
    pick === null ? undefined : links[pick % links.length]?.to;
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

/** Where edges enter what grows from a gene. */
function entryOf({ work }: NodeGene, id: string): string {
  const first = work.kind === "loop" ? work.body[0] : undefined;
  return first === undefined ? id : entryOf(first, `${id}_0`);
}

function isEarlyRule(rule: TriggerRule | null): boolean {
  return rule === "one_success" || rule === "one_failed" || (typeof rule === "object" && rule !== null);
}

/** May it, or something in its loop, run while an ancestor is not over? */
function isEarly({ rule, work }: NodeGene): boolean {
  return isEarlyRule(rule) || (work.kind === "loop" && work.body.some(isEarly));
}

/** The genes of one graph, and how they hang together. */
class Neighbours {
  readonly #genes: readonly NodeGene[];
  readonly #around: Around;
  /** Of each node, by index. */
  readonly #predecessors: number[][] = [];

  constructor(genes: readonly NodeGene[], around: Around) {
    this.#genes = genes;
    this.#around = around;
    for (const [index, gene] of genes.entries()) this.#predecessors.push(this.#hang(gene, index));
  }

  get genes(): readonly NodeGene[] {
    return this.#genes;
  }

  id(index: number): string {
    return `${this.#around.prefix}${index}`;
  }

  ids(): string[] {
    return this.#genes.map((_gene, index) => this.id(index));
  }

  /** Ids of nodes that lead to no other. */
  leaves(): string[] {
    return this.#leaves().map((index) => this.id(index));
  }

  predecessors(index: number): readonly string[] {
    const own = this.#predecessors[index]!;
    return own.length === 0 ? this.#around.predecessors : own.map((from) => this.id(from));
  }

  place(index: number): Place & { early: boolean } {
    const { work } = this.#genes[index]!;
    const ancestors = this.#ancestors(index);
    const early = this.#around.early || [index, ...ancestors].some((at) => isEarly(this.#genes[at]!));
    const { inLoop, inMap } = this.#around;
    const seen = [...this.#around.ancestors, ...ancestors.map((at) => this.id(at))];
    return {
      predecessors: this.predecessors(index),
      ancestors: early ? [] : seen,
      early,
      inLoop,
      inMap,
      passesDataOn: ["conditional", "parallel", "wait"].includes(work.kind),
      on: "node",
    };
  }

  linksFrom(index: number): Link[] {
    const links = this.#genes.flatMap((gene, to): Link[] => {
      const nth = this.#predecessors[to]!.indexOf(index);
      return nth < 0 ? [] : [{ to: entryOf(gene, this.id(to)), gene: gene.edges[nth % gene.edges.length]! }];
    });
    const { exit } = this.#around;
    const nth = exit === null ? -1 : this.#leaves().indexOf(index);
    if (exit === null || nth < 0) return links;
    return [...links, { to: exit.id, gene: exit.gene.edges[nth % exit.gene.edges.length]! }];
  }

  /** What a node withdraws, and what keeps it from running. A loop in which something may be left over is not withdrawn. */
  influence(index: number): NodeProperties {
    const { cancels, cancelsRest, unless, rule, work, retry } = this.#genes[index]!;
    const others = [...this.#genes.keys()].filter((other) => other !== index);
    const withdrawn = others.filter((other) => !isEarly(this.#genes[other]!));
    const named = cancels?.flatMap((pick) => withdrawn[pick % withdrawn.length] ?? []) ?? [];
    const all = cancels?.length === 0 && withdrawn.length === others.length;
    const leavesOver = this.#genes.some((gene) => gene.work.kind === "loop" && isEarly(gene));
    const joins = this.#predecessors[index]!.length > 1 && isEarlyRule(rule) && rule !== "one_failed";
    const apart = others.filter(
      (other) =>
        !["loop", "map"].includes(this.#genes[other]!.work.kind) &&
        !this.#ancestors(index).includes(other) &&
        !this.#ancestors(other).includes(index),
    );
    // One that is tried again begins more than once.
    const triedOnce = work.kind === "function" && work.behaviour.kind !== "flaky" && retry === null;
    const forestalling = unless === null || !triedOnce ? undefined : apart[unless % apart.length];
    const rest = joins && cancelsRest && !leavesOver;
    const names = all ? ["*"] : distinct(named).map((other) => this.id(other));
    return {
      ...(rest ? { cancel_rest: true } : names.length > 0 ? { cancels: names } : {}),
      ...(forestalling === undefined ? {} : { unless: [this.id(forestalling)] }),
    };
  }

  #leaves(): number[] {
    return leavesOf(this.#predecessors);
  }

  #ancestors(index: number): number[] {
    const direct = this.#predecessors[index]!;
    return distinct([...direct, ...direct.flatMap((from) => this.#ancestors(from))]);
  }

  /** The node after an entry joins it to the rest, so all is connected. A loop's body has one entry. */
  #hang(gene: NodeGene, index: number): number[] {
    if (index === 0) return [];
    const last = index - 1;
    if (last > 0 && this.#predecessors[last]!.length === 0) return distinct([last, gene.picks[0]! % last]);
    switch (gene.shape) {
      case "entry":
        return this.#around.exit === null && index < this.#genes.length - 1 ? [] : [last];
      case "sibling":
        return this.#predecessors[last]!.length > 0 ? this.#predecessors[last]!.slice(0, 2) : [last];
      case "leaves":
        return leavesOf(this.#predecessors);
      case "pick":
        return distinct(gene.picks.map((pick) => last - (pick % index)));
      case "chain":
        return [last];
    }
  }
}

function leavesOf(predecessors: readonly number[][]): number[] {
  return [...predecessors.keys()].filter((node) => !predecessors.some((list) => list.includes(node)));
}

function distinct(indexes: readonly number[]): number[] {
  return [...new Set(indexes)].sort((a, b) => a - b);
}

/** What a node of any type has. One without predecessors fires at the start whatever its rule, so it is given none. */
function propertiesOf(gene: NodeGene, id: string, place: Place, { behaviours }: Growth): NodeProperties {
  const { rule, work, holds, undone } = gene;
  const fanIn = place.predecessors.length;
  const fitting = typeof rule === "object" && rule !== null ? { quorum: Math.min(rule.quorum, fanIn) } : rule;
  const called = work.kind === "function" || (work.kind === "loop" && work.calls !== null);
  const retry = called ? (gene.retry ?? retryFor(behaviours[id])) : null;
  // What undoes a node has its time limit, which is short for one that hangs.
  const isUndone = work.kind === "function" && undone !== null && !hangs(behaviours[id]);
  if (isUndone) behaviours[compensationOf(id)] = undone;
  return {
    ...(fitting === null || fanIn === 0 ? {} : { trigger_rule: fitting }),
    ...(retry === null ? {} : { retry }),
    ...(hangs(behaviours[id]) ? { timeout_ms: HANGS_FOR_MS } : {}),
    ...(called && holds.length > 0 ? { holds } : {}),
    ...(isUndone ? { compensated: true } : {}),
  };
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
      if (gene.list !== null && !place.predecessors.some((from) => gives(behaviours[from], gene.list)))
        return { type: "parallel" };
      return { type: "filter", filter_expression: gene.condition(place) };
    case "aggregate":
      return place.predecessors.length > 1 ? gene.work : { type: "parallel" };
    case "map":
      return mapOf(gene, id, place, behaviours);
    case "signal": {
      const { type, answer } = gene;
      return { type, name: `signal-${id}`, answer, ...(answer === null ? { deadline_ms: DEADLINE_MS } : {}) };
    }
    case "subworkflow": {
      const workflow = childOf(id, gene.body, behaviours);
      return { type: "subworkflow", workflow, ...(gene.input && { input: { given: gene.input(place) } }) };
    }
    default:
      return gene.work;
  }
}

function mapOf(gene: MapGene, id: string, place: Place, behaviours: Record<string, Behaviour>): Work {
  const { items, maxConcurrency, tolerated, asChild } = gene;
  const [only] = place.predecessors;
  const isGiven = gene.fromData && items !== null && only !== undefined && gives(behaviours[only], items);
  const literals = (items ?? []).map((value) => ({ kind: "literal", value: value as number }) as const);
  const constants: Expression = { kind: "list", items: literals };
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
        : constants,
    body: asChild
      ? childOf(id, gene.body, behaviours)
      : graphOf(gene.body, { ...inside, ...early }, behaviours),
    ...(maxConcurrency === null ? {} : { max_concurrency: maxConcurrency }),
    ...(tolerated === 0 ? {} : { tolerated_failures: tolerated }),
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
    const wanted = link.gene.conditioned >= (among ? 3 : 7);
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
