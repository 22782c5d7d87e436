/** The static shape of a simulated workflow: its bodies, and its edges as they count. */
import {
  bodyOfMap,
  type Graph,
  type Loop,
  type SimulatedEdge,
  type SimulatedMap,
  type SimulatedNode,
  targetsOf,
} from "./model.ts";

/** A part of the graph that is executed in scopes of its own. A loop's node belongs to its own body, a map's does not. */
export type Body = {
  /** Ids of the nodes in it, those of the bodies inside it included. */ members: ReadonlySet<string>;
} & ({ kind: "loop"; node: SimulatedNode & Loop } | { kind: "map"; node: SimulatedNode & SimulatedMap });

export class Structure {
  /** In the order of the file, those in bodies of maps included. */
  readonly nodes: SimulatedNode[] = [];
  /** Without the edges back; with those that `break_path` and `timeout_path` add. */
  readonly edges: SimulatedEdge[] = [];
  /** Outer ones before those inside them. */
  readonly bodies: Body[] = [];
  readonly #byId: Map<string, SimulatedNode>;
  readonly #incoming: Map<string, SimulatedEdge[]>;
  readonly #outgoing: Map<string, SimulatedEdge[]>;
  readonly #bodiesOf: Map<string, Body[]>;

  constructor(workflow: Graph) {
    this.#add(workflow);
    this.#byId = new Map(this.nodes.map((node) => [node.id, node]));
    const inner = (body: Body): number => (body.kind === "loop" ? 1 : 0);
    this.bodies.sort((a, b) => b.members.size - a.members.size || inner(a) - inner(b));
    const byId = <T>(of: (id: string) => T[]): Map<string, T[]> =>
      new Map(this.nodes.map(({ id }) => [id, of(id)]));
    this.#incoming = byId((id) => this.edges.filter((edge) => edge.to === id));
    this.#outgoing = byId((id) => this.edges.filter((edge) => edge.from === id));
    this.#bodiesOf = byId((id) => this.bodies.filter(({ members }) => members.has(id)));
  }

  node(id: string): SimulatedNode {
    return this.#byId.get(id)!;
  }

  incoming(id: string): SimulatedEdge[] {
    return this.#incoming.get(id) ?? [];
  }

  outgoing(id: string): SimulatedEdge[] {
    return this.#outgoing.get(id) ?? [];
  }

  /** The bodies in which a node is, outer first. */
  bodiesOf(id: string): Body[] {
    return this.#bodiesOf.get(id) ?? [];
  }

  /** In the same graph. */
  ancestors(id: string): Set<string> {
    return reach(id, (at) => this.incoming(at).map((edge) => edge.from));
  }

  /** Nodes that are activated when a scope of the body begins (undefined: the run). */
  entries(body?: Body): string[] {
    if (body?.kind === "loop") return [body.node.loop_back_to];
    return this.#inMap(body).filter((id) => this.incoming(id).length === 0);
  }

  /** Nodes whose outputs are the result of a map's item, or of the run. */
  terminals(body?: Body): string[] {
    return this.#inMap(body).filter((id) => this.outgoing(id).length === 0);
  }

  /** The nodes of the run, or of a map's body, that stand in no other body; a loop node stands for its loop. */
  direct(body?: Body): string[] {
    return this.#inMap(body).filter((id) => {
      const bodies = this.bodiesOf(id);
      return bodies
        .slice(body === undefined ? 0 : bodies.indexOf(body) + 1)
        .every(({ node }) => node.id === id);
    });
  }

  /** The nodes of a body of which a list of ids speaks: a loop stands for its whole body, `*` for all but one. In topological order. */
  expand(ids: readonly string[], of: string): string[] {
    const own = this.bodiesOf(of).at(-1);
    const inside = (id: string): boolean => own === undefined || own.members.has(id);
    const named = ids.includes("*") ? this.nodes.map(({ id }) => id).filter(inside) : ids;
    const loops = this.bodies.filter(
      ({ kind, node }) => kind === "loop" && named.includes(node.id) && node.id !== own?.node.id,
    );
    const all = [...named, ...loops.flatMap(({ members }) => [...members])];
    return this.#ordered(all.filter((id) => id !== of && this.#mapOf(id) === this.#mapOf(of)));
  }

  /** The ancestors of a join, in its body, from which every path leads to it. In topological order. */
  regionOf(join: string): string[] {
    const own = this.bodiesOf(join).at(-1);
    const leads = (id: string): boolean => {
      const next = this.outgoing(id).map((edge) => edge.to);
      return next.length > 0 && next.every((to) => to === join || leads(to));
    };
    const inside = (id: string): boolean => own === undefined || own.members.has(id);
    return this.#ordered([...this.ancestors(join)].filter((id) => inside(id) && leads(id)));
  }

  #ordered(ids: readonly string[]): string[] {
    return [...new Set(ids)].sort((a, b) => this.ancestors(a).size - this.ancestors(b).size);
  }

  #mapOf(id: string): Body | undefined {
    return this.bodiesOf(id).findLast(({ kind }) => kind === "map");
  }

  #inMap(body: Body | undefined): string[] {
    return this.nodes.map(({ id }) => id).filter((id) => this.#mapOf(id) === body);
  }

  /** Adds a graph; returns the ids of its nodes, those of maps inside it included. */
  #add(graph: Graph): string[] {
    const edges = edgesOf(graph);
    this.edges.push(...edges);
    const inMaps = new Map<string, string[]>();
    for (const node of graph.nodes) {
      this.nodes.push(node);
      if (node.type !== "map") continue;
      const ids = this.#add(bodyOfMap(node));
      inMaps.set(node.id, ids);
      this.bodies.push({ kind: "map", node, members: new Set(ids) });
    }
    for (const node of graph.nodes) {
      if (node.type !== "loop") continue;
      const after = reach(node.loop_back_to, (id) =>
        edges.filter(({ from }) => from === id).map(({ to }) => to),
      );
      const before = reach(node.id, (id) => edges.filter(({ to }) => to === id).map(({ from }) => from));
      const between = [node.id, node.loop_back_to, ...[...after].filter((id) => before.has(id))];
      const members = between.flatMap((id) => [id, ...(inMaps.get(id) ?? [])]);
      this.bodies.push({ kind: "loop", node, members: new Set(members) });
    }
    return graph.nodes.flatMap(({ id }) => [id, ...(inMaps.get(id) ?? [])]);
  }
}

/** A graph's edges as they count: without those back, with those to the paths that loops name. */
function edgesOf({ nodes, edges }: Graph): SimulatedEdge[] {
  const loops = nodes.filter((node) => node.type === "loop");
  const goesBack = ({ from, to }: SimulatedEdge): boolean =>
    loops.some(({ id, loop_back_to }) => from === id && to === loop_back_to);
  const counting = edges.filter((edge) => !goesBack(edge));
  for (const { id, break_path, timeout_path } of loops)
    for (const to of [...targetsOf(break_path), ...targetsOf(timeout_path)])
      if (!counting.some((edge) => edge.from === id && edge.to === to)) counting.push({ from: id, to });
  return counting;
}

/** All that is reached from a place by one step or more. */
function reach(start: string, next: (id: string) => string[]): Set<string> {
  const found = new Set<string>();
  const walk = (id: string): void => {
    for (const to of next(id)) {
      if (found.has(to)) continue;
      found.add(to);
      walk(to);
    }
  };
  walk(start);
  return found;
}
