/** Grows a valid workflow from a list of genes, whatever they are. */
import type { Expression, Json } from "./expression.ts";
import type {
  Behaviour,
  Behaviours,
  SimulatedEdge,
  SimulatedNode,
  SimulatedRetry,
  SimulatedWorkflow,
  TriggerRule,
  Work,
} from "./model.ts";
import { hangs } from "./model.ts";

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

export type WorkGene =
  | { kind: "function"; behaviour: Behaviour }
  | { kind: "conditional" | "parallel"; work: Work }
  | { kind: "transform"; expression: Adaptive }
  | { kind: "filter"; condition: Adaptive; list: Json[] | null }
  | { kind: "aggregate"; work: Work };

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
}

/** What concerns the run as a whole. */
export interface RunGene {
  /** Nodes that its output names; null: no expression for it. */
  output: number[] | null;
  /** null: no limit. */
  maxParallelNodes: number | null;
  failFast: boolean;
}

interface Link {
  from: number;
  to: number;
  gene: EdgeGene;
}

/** A valid workflow from any genes. */
export function grow(
  genes: readonly NodeGene[],
  { output, maxParallelNodes, failFast }: RunGene,
): { workflow: SimulatedWorkflow; behaviours: Behaviours } {
  const predecessors = hang(genes);
  const links = genes.flatMap((gene, to): Link[] =>
    predecessors[to]!.map((from, nth) => ({ from, to, gene: gene.edges[nth % gene.edges.length]! })),
  );
  const places = genes.map((gene, index) => placeOf(gene, index, genes, predecessors));
  const behaviours = behavioursOf(genes, predecessors);
  const nodes = genes.map((gene, index) => nodeOf(gene, idOf(index), places[index]!, behaviours));
  const edges = genes.flatMap((gene, from) =>
    edgesOf(
      gene,
      places[from]!,
      links.filter((link) => link.from === from),
    ),
  );
  const workflow = {
    name: "simulated",
    nodes: byPosition(nodes.map((node, index) => [node, genes[index]!.position])),
    edges: byPosition(edges),
    ...(output === null ? {} : { output: outputOf(output, genes.length) }),
    ...(maxParallelNodes === null ? {} : { max_parallel_nodes: maxParallelNodes }),
    ...(failFast ? { fail_fast: true } : {}),
  };
  return { workflow, behaviours };
}

/** A try that hangs is given up after this time. */
const HANGS_FOR_MS = 15;

const idOf = (index: number): string => `n${index}`;

/** Predecessors of each node by index. The node after an entry joins it to the rest, so all is connected. */
function hang(genes: readonly NodeGene[]): number[][] {
  const predecessors: number[][] = [];
  for (const [index, gene] of genes.entries())
    predecessors.push(hangOne(gene, index, genes.length, predecessors));
  return predecessors;
}

function hangOne(gene: NodeGene, index: number, count: number, predecessors: readonly number[][]): number[] {
  if (index === 0) return [];
  const last = index - 1;
  if (last > 0 && predecessors[last]!.length === 0) return distinct([last, gene.picks[0]! % last]);
  switch (gene.shape) {
    case "entry":
      return index < count - 1 ? [] : [last];
    case "sibling":
      return predecessors[last]!.length > 0 ? predecessors[last]!.slice(0, 2) : [last];
    case "leaves":
      return [...predecessors.keys()].filter((node) => !predecessors.some((list) => list.includes(node)));
    case "pick":
      return distinct(gene.picks.map((pick) => last - (pick % index)));
    case "chain":
      return [last];
  }
}

function distinct(indexes: readonly number[]): number[] {
  return [...new Set(indexes)].sort((a, b) => a - b);
}

function placeOf(
  gene: NodeGene,
  index: number,
  genes: readonly NodeGene[],
  predecessors: readonly number[][],
): Place {
  const ancestors = ancestorsOf(index, predecessors);
  const firesEarly = [index, ...ancestors].some(
    (node) => ruleOf(genes[node]!, predecessors[node]!) === "one_success",
  );
  return {
    predecessors: predecessors[index]!.map(idOf),
    ancestors: firesEarly ? [] : ancestors.map(idOf),
    passesDataOn: gene.work.kind === "conditional" || gene.work.kind === "parallel",
    on: "node",
  };
}

function ancestorsOf(index: number, predecessors: readonly number[][]): number[] {
  const direct = predecessors[index]!;
  return distinct([...direct, ...direct.flatMap((from) => ancestorsOf(from, predecessors))]);
}

/** An entry node fires at the start whatever its rule, so it is given none. */
function ruleOf(gene: NodeGene, predecessors: readonly unknown[]): TriggerRule | null {
  return predecessors.length === 0 ? null : gene.rule;
}

function nodeOf(gene: NodeGene, id: string, place: Place, behaviours: Behaviours): SimulatedNode {
  const rule = ruleOf(gene, place.predecessors);
  const retry = gene.retry ?? retryFor(behaviours[id]);
  return {
    id,
    ...workOf(gene.work, place, behaviours),
    ...(rule === null ? {} : { trigger_rule: rule }),
    ...(retry === null ? {} : { retry }),
    ...(hangs(behaviours[id]) ? { timeout_ms: HANGS_FOR_MS } : {}),
  };
}

/** Without a policy of its own, a handler that answers at last gets enough tries for it. */
function retryFor(behaviour: Behaviour | undefined): SimulatedRetry | null {
  return behaviour?.kind === "flaky" ? { max_attempts: behaviour.fails + 1, backoff_ms: 5 } : null;
}

/** A type that would only ever fail where it stands becomes `parallel`, unless its gene asks for that. */
function workOf(gene: WorkGene, place: Place, behaviours: Behaviours): Work {
  switch (gene.kind) {
    case "function":
      return { type: "function" };
    case "transform":
      return { type: "transform", expression: gene.expression(place) };
    case "filter":
      if (gene.list !== null && !place.predecessors.some((id) => gives(behaviours[id], gene.list)))
        return { type: "parallel" };
      return { type: "filter", filter_expression: gene.condition(place) };
    case "aggregate":
      return place.predecessors.length > 1 ? gene.work : { type: "parallel" };
    default:
      return gene.work;
  }
}

/** A node's outgoing edges with their places in the file. A conditional gets at most one success edge as its default. */
function edgesOf(gene: NodeGene, place: Place, links: readonly Link[]): [SimulatedEdge, number][] {
  const decides = gene.work.kind === "conditional";
  let hasDefault = false;
  return links.map((link) => {
    const { on, priority, position } = link.gene;
    const among = decides && on === "success";
    const wanted = link.gene.conditioned >= (among ? 3 : 7);
    const conditioned = wanted || (among && hasDefault);
    if (among && !conditioned) hasDefault = true;
    const edge: SimulatedEdge = {
      from: idOf(link.from),
      to: idOf(link.to),
      ...(on === "success" ? {} : { on }),
      ...(gene.priorities ? { priority } : {}),
      ...(conditioned ? { condition: link.gene.condition({ ...place, on }) } : {}),
    };
    return [edge, position];
  });
}

/** Behaviours of the functions. A filter may give its only predecessor a list to answer with, so that it has work. */
function behavioursOf(genes: readonly NodeGene[], predecessors: readonly number[][]): Behaviours {
  const behaviours: Record<string, Behaviour> = {};
  for (const [index, { work }] of genes.entries()) {
    if (work.kind === "function") behaviours[idOf(index)] = work.behaviour;
    const [only, ...others] = predecessors[index]!.map(idOf);
    if (work.kind !== "filter" || work.list === null || only === undefined || others.length > 0) continue;
    if (["output", "echo", "measure", "bulk"].includes(behaviours[only]?.kind ?? ""))
      behaviours[only] = { kind: "output", value: work.list };
  }
  return behaviours;
}

function gives(behaviour: Behaviour | undefined, list: Json[] | null): boolean {
  return behaviour?.kind === "output" && behaviour.value === list;
}

function outputOf(picks: readonly number[], count: number): Expression {
  const ids = distinct(picks.map((pick) => pick % count)).map(idOf);
  return { kind: "object", entries: ids.map((id) => [id, { kind: "node", id, path: [] }]) };
}

function byPosition<T>(entries: [T, number][]): T[] {
  return entries.toSorted(([, a], [, b]) => a - b).map(([entry]) => entry);
}
