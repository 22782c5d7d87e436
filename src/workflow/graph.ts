/** Graphs of numbered nodes: order, levels, cycles, reachability. Nothing recurses, so the length of a chain is no limit. */

export interface Link {
  from: number;
  to: number;
  /** Place of the edge in the workflow file. */
  edge: number;
}

export interface Graph {
  /** Number of nodes; they are named 0 … size-1, in file order. */
  size: number;
  /** Links leaving each node, in file order. */
  out: Link[][];
  /** Links entering each node, in file order. */
  in: Link[][];
}

export function makeGraph(size: number, links: readonly Link[]): Graph {
  const graph: Graph = {
    size,
    out: Array.from({ length: size }, () => []),
    in: Array.from({ length: size }, () => []),
  };
  for (const link of links) {
    (graph.out[link.from] as Link[]).push(link);
    (graph.in[link.to] as Link[]).push(link);
  }
  return graph;
}

/**
 * Nodes in topological order; among those that are ready, the first in the file comes first (Kahn's algorithm with a heap).
 * Nodes on or behind a cycle are left out.
 */
export function topologicalOrder(graph: Graph): number[] {
  const waitingFor = graph.in.map((links) => links.length);
  const ready = new SmallestFirst();
  for (let node = 0; node < graph.size; node++) if (waitingFor[node] === 0) ready.push(node);
  const order: number[] = [];
  for (let node = ready.pop(); node !== undefined; node = ready.pop()) {
    order.push(node);
    for (const { to } of graph.out[node] as Link[]) {
      const left = (waitingFor[to] as number) - 1;
      waitingFor[to] = left;
      if (left === 0) ready.push(to);
    }
  }
  return order;
}

/**
 * Longest distance of each node from an entry node, given the whole topological order. `above` names for each node one that
 * it follows without a link; -1: none.
 */
export function levelsOf(graph: Graph, order: readonly number[], above: readonly number[]): number[] {
  const levels = new Array<number>(graph.size).fill(0);
  for (const node of order) {
    levels[node] = Math.max(levels[node] as number, (levels[above[node] as number] ?? -1) + 1);
    const next = (levels[node] as number) + 1;
    for (const { to } of graph.out[node] as Link[]) levels[to] = Math.max(levels[to] as number, next);
  }
  return levels;
}

/** Marks the nodes that can be reached from `starts`, these included. */
export function reachableFrom(graph: Graph, starts: readonly number[]): boolean[] {
  const reached = new Array<boolean>(graph.size).fill(false);
  const waiting = [...starts];
  for (const start of starts) reached[start] = true;
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    for (const { to } of graph.out[node] as Link[]) {
      if (reached[to]) continue;
      reached[to] = true;
      waiting.push(to);
    }
  }
  return reached;
}

interface Cycles {
  /** Cycles that share no node, each as its links in order, starting at the node that is first in the file. */
  found: Link[][];
  /** Nodes on a cycle, or on a path from one cycle to another. */
  core: boolean[];
}

/** Finds up to `limit` cycles. */
export function findCycles(graph: Graph, limit: number): Cycles {
  const remaining = new Remaining(graph);
  const core = [...remaining.alive];
  const found: Link[][] = [];
  for (let start = 0; start < graph.size && found.length < limit; start++) {
    // A node's first cycle may not pass through it; look again until it is gone.
    while (remaining.alive[start] && found.length < limit) {
      const cycle = walkToCycle(graph, remaining, start);
      found.push(cycle);
      for (const link of cycle) remaining.remove(link.from);
    }
  }
  return { found, core };
}

/** Every remaining node has a remaining successor, so walking on must meet a node again. */
function walkToCycle(graph: Graph, remaining: Remaining, start: number): Link[] {
  const seenAt = new Map<number, number>();
  const walked: Link[] = [];
  let node = start;
  while (!seenAt.has(node)) {
    seenAt.set(node, walked.length);
    const link = (graph.out[node] as Link[]).find(({ to }) => remaining.alive[to]) as Link;
    walked.push(link);
    node = link.to;
  }
  const cycle = walked.slice(seenAt.get(node));
  const first = cycle.reduce(
    (best, link, index) => (link.from < (cycle[best] as Link).from ? index : best),
    0,
  );
  return [...cycle.slice(first), ...cycle.slice(0, first)];
}

/** The nodes left after taking away, again and again, all that have no predecessor or no successor left. */
class Remaining {
  readonly alive: boolean[];
  private readonly inCount: number[];
  private readonly outCount: number[];

  constructor(private readonly graph: Graph) {
    this.alive = new Array<boolean>(graph.size).fill(true);
    this.inCount = graph.in.map((links) => links.length);
    this.outCount = graph.out.map((links) => links.length);
    for (let node = 0; node < graph.size; node++) {
      if (this.inCount[node] === 0 || this.outCount[node] === 0) this.remove(node);
    }
  }

  remove(first: number): void {
    const waiting = [first];
    for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
      if (!this.alive[node]) continue;
      this.alive[node] = false;
      for (const { to } of this.graph.out[node] as Link[]) {
        if (--(this.inCount[to] as number) === 0) waiting.push(to);
      }
      for (const { from } of this.graph.in[node] as Link[]) {
        if (--(this.outCount[from] as number) === 0) waiting.push(from);
      }
    }
  }
}

/** A binary heap of numbers, the smallest on top. */
class SmallestFirst {
  private readonly items: number[] = [];

  push(item: number): void {
    let place = this.items.length;
    this.items.push(item);
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if ((this.items[parent] as number) <= item) break;
      this.items[place] = this.items[parent] as number;
      place = parent;
    }
    this.items[place] = item;
  }

  pop(): number | undefined {
    const top = this.items[0];
    const last = this.items.pop();
    if (last === undefined || this.items.length === 0) return top;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.items.length) break;
      if (child + 1 < this.items.length && (this.items[child + 1] as number) < (this.items[child] as number))
        child += 1;
      if ((this.items[child] as number) >= last) break;
      this.items[place] = this.items[child] as number;
      place = child;
    }
    this.items[place] = last;
    return top;
  }
}
