/**
 * Joins that need more branches than are ever taken together. Some nodes choose: a `conditional` (mode first) takes one of its
 * edges, a loop one of its ways out, any node its success or its failure edges. What a node needs to have been chosen is
 * carried along the edges; where a join needs two choices of one node, it is never met.
 */

import type { Draft } from "../compile/draft.ts";
import type { FileNode } from "../file/schema.ts";
import type { Link } from "../graph.ts";
import type { CheckedGraph } from "./check.ts";

/** Choices carried per node. Fewer are always right, they only find less. */
const MOST_CARRIED = 64;

const SUCCESS = -1;
const FAILURE = -2;
const BREAK = -3;
const TIMEOUT = -4;

/** By place of an edge: which choice of its node it belongs to (one of the above, or the edge's own place). */
type Choices = ReadonlyMap<number, number>;

/** A `conditional` that takes its first matching edge only. */
export function takesOne({ type, config }: FileNode): boolean {
  return type === "conditional" && (config as { mode: string }).mode === "first";
}

/** The choices of all nodes that have more than one. Edges `on: always` belong to none. */
export function choicesOf(draft: Draft, { graph, waysOutOf }: CheckedGraph): Choices {
  const choices = new Map<number, number>();
  for (const node of draft.nodes) {
    const links = graph.out[node.position] as Link[];
    if (links.length < 2) continue;
    const isChooser = takesOne(node.parsed as FileNode);
    const { break: breaks = [], timeout: timesOut = [] } = waysOutOf.get(node.position) ?? {};
    // An edge that both ways share makes them one: they do not exclude each other then.
    const timeoutChoice = timesOut.some((edge) => breaks.includes(edge)) ? BREAK : TIMEOUT;
    const isFailure = ({ edge }: Link) => draft.edges[edge]?.parsed?.on === "failure";
    if (!isChooser && breaks.length + timesOut.length === 0 && !links.some(isFailure)) continue;
    const own = links.flatMap((link): [number, number][] => {
      const { edge } = link;
      if (draft.edges[edge]?.parsed?.on === "always") return [];
      if (isFailure(link)) return [[edge, FAILURE]];
      if (breaks.includes(edge)) return [[edge, BREAK]];
      if (timesOut.includes(edge)) return [[edge, timeoutChoice]];
      return [[edge, isChooser ? edge : SUCCESS]];
    });
    if (new Set(own.map(([, choice]) => choice)).size < 2) continue;
    for (const [edge, choice] of own) choices.set(edge, choice);
  }
  return choices;
}

/** Arrivals that must be taken for a node to run; 0 if it may run without any. */
export function neededOf(file: FileNode, fanIn: number): number {
  const { trigger_rule: rule } = file;
  if (typeof rule === "object") return rule.quorum;
  if (rule === "all_success") return fanIn;
  return rule === "none_failed_min_one_success" || rule === "one_success" ? Math.min(1, fanIn) : 0;
}

interface ExclusiveJoin {
  join: number;
  /** Edges that it needs taken. */
  needed: number;
  /** Edges that are taken together at most. */
  atMost: number;
  /** Node that chooses between them. */
  chooser: number;
}

/** By chooser: what must have been chosen. */
type Carried = ReadonlyMap<number, number>;

const NOTHING: Carried = new Map();

export function findExclusiveJoins(
  draft: Draft,
  { graph, order }: CheckedGraph,
  choices: Choices,
): ExclusiveJoin[] {
  const found: ExclusiveJoin[] = [];
  if (choices.size === 0) return found;
  const carriedTo = new Array<Carried>(graph.size);
  for (const join of order as number[]) {
    const links = graph.in[join] as Link[];
    const needed = neededOf(draft.nodes[join]?.parsed as FileNode, links.length);
    const [first] = links;
    if (first === undefined || needed === 0) {
      carriedTo[join] = NOTHING;
      continue;
    }
    if (links.length === 1) {
      carriedTo[join] = alongEdge(first, carriedTo, choices);
      continue;
    }
    const counts = countChoices(links, carriedTo, choices);
    const conflict = conflictIn(counts, links.length, needed);
    carriedTo[join] = conflict === undefined ? certainOf(counts, links.length - needed + 1) : NOTHING;
    if (conflict !== undefined) found.push({ join, needed, ...conflict });
  }
  return found;
}

/** Joins whose arrivals exclude each other: some node chooses between what two of them need. */
export function joinsOfExclusive({ graph, order }: CheckedGraph, choices: Choices): number[] {
  const found: number[] = [];
  if (choices.size === 0) return found;
  const carriedTo = new Array<Carried>(graph.size);
  for (const join of order as number[]) {
    const links = graph.in[join] as Link[];
    const [first] = links;
    if (links.length === 1) carriedTo[join] = alongEdge(first as Link, carriedTo, choices);
    else {
      const counts = countChoices(links, carriedTo, choices);
      // What all of them need is needed here, too.
      carriedTo[join] = certainOf(counts, links.length);
      if ([...counts.values()].some((ofChooser) => ofChooser.size > 1)) found.push(join);
    }
  }
  return found;
}

/** What must have been chosen for an edge to be taken. */
function alongEdge(link: Link, carriedTo: readonly Carried[], choices: Choices): Carried {
  const before = carriedTo[link.from] as Carried;
  const choice = choices.get(link.edge);
  if (choice === undefined) return before;
  const carried = new Map(before);
  if (carried.size >= MOST_CARRIED) carried.delete(carried.keys().next().value as number);
  return carried.set(link.from, choice);
}

/** By chooser and choice: number of edges that need it. */
type Counts = Map<number, Map<number, number>>;

function countChoices(links: readonly Link[], carriedTo: readonly Carried[], choices: Choices): Counts {
  const counts: Counts = new Map();
  for (const link of links) {
    for (const [chooser, choice] of alongEdge(link, carriedTo, choices)) {
      let ofChooser = counts.get(chooser);
      if (ofChooser === undefined) {
        ofChooser = new Map();
        counts.set(chooser, ofChooser);
      }
      ofChooser.set(choice, (ofChooser.get(choice) ?? 0) + 1);
    }
  }
  return counts;
}

function conflictIn(
  counts: Counts,
  fanIn: number,
  needed: number,
): Pick<ExclusiveJoin, "atMost" | "chooser"> | undefined {
  for (const [chooser, ofChooser] of counts) {
    let most = 0;
    let bound = 0;
    for (const count of ofChooser.values()) {
      most = Math.max(most, count);
      bound += count;
    }
    const atMost = fanIn - bound + most;
    if (atMost < needed) return { atMost, chooser };
  }
  return undefined;
}

/** Choices that every sufficient set of edges contains: so many edges need them that it cannot do without. */
function certainOf(counts: Counts, enough: number): Carried {
  const carried = new Map<number, number>();
  for (const [chooser, ofChooser] of counts) {
    for (const [choice, count] of ofChooser) if (count >= enough) carried.set(chooser, choice);
  }
  while (carried.size > MOST_CARRIED) carried.delete(carried.keys().next().value as number);
  return carried;
}
