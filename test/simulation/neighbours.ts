/** How the nodes of one graph hang together: who comes before whom, and what each may do to the others. */
import type { EdgeGene, NodeGene, Place } from "./genes.ts";
import type { NodeProperties, TriggerRule } from "./model.ts";

/** What a graph grows in. */
export interface Around {
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

export const NOWHERE: Around = {
  prefix: "",
  predecessors: [],
  ancestors: [],
  early: false,
  inLoop: false,
  inMap: false,
  exit: null,
};

export interface Link {
  to: string;
  gene: EdgeGene;
}

/** Where edges enter what grows from a gene. */
export function entryOf({ work }: NodeGene, id: string): string {
  const first = work.kind === "loop" ? work.body[0] : undefined;
  return first === undefined ? id : entryOf(first, `${id}_0`);
}

export function isEarlyRule(rule: TriggerRule | null): boolean {
  return rule === "one_success" || rule === "one_failed" || (typeof rule === "object" && rule !== null);
}

/** May it, or something in its loop, run while an ancestor is not over? */
export function isEarly({ rule, work }: NodeGene): boolean {
  return isEarlyRule(rule) || (work.kind === "loop" && work.body.some(isEarly));
}

/** The genes of one graph, and how they hang together. */
export class Neighbours {
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
      passesDataOn: ["conditional", "parallel", "wait", "until"].includes(work.kind),
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

export function distinct(indexes: readonly number[]): number[] {
  return [...new Set(indexes)].sort((a, b) => a - b);
}
