/** What a compiled workflow will do, told without a run: for `compile --explain`. A JSON document, so its names are snake_case. */
import type { IR, IRBody, IRNode, TriggerRule } from "../ir/ir.ts";

export interface Explanation {
  /** Ids of the nodes by level, without those that compensate. */
  levels: string[][];
  /** Ids of the nodes that end the graph. */
  terminals: string[];
  /** The outermost bodies. */
  bodies: ExplainedBody[];
  /** Nodes with several incoming edges, or with a rule of their own. */
  joins: ExplainedJoin[];
  /** Nodes that withdraw others. */
  cancel_regions: CancelRegion[];
  compensations: { node: string; function_name: string }[];
  semaphores: { name: string; permits: number; held_by: string[] }[];
  guards: { node: string; unless: string[] }[];
}

export interface ExplainedBody {
  kind: IRBody["kind"];
  /** The loop or map node. */
  node: string;
  entries: string[];
  terminals: string[];
  /** Nodes that belong to it, and to no body inside it. */
  nodes: string[];
  bodies: ExplainedBody[];
  loop?: {
    max_iterations: number | null;
    condition: string | null;
    break: string[] | null;
    timeout: string[] | null;
  };
  map?: { items: string; max_concurrency: number; tolerated_failures: number; complete_when: string | null };
}

export interface ExplainedJoin {
  node: string;
  rule: TriggerRule;
  fan_in: number;
  /** May it run before all arrivals are in? */
  early: boolean;
}

export interface CancelRegion {
  node: string;
  when: NonNullable<IRNode["cancels_at"]>;
  withdraws: string[];
}

export function explain(ir: IR): Explanation {
  const ids = idsOf(ir);
  const named = ir.nodes.filter((node) => node.compensates === undefined);
  return {
    levels: levelsOf(ir, named),
    terminals: ids(ir.terminals),
    bodies: bodiesOf(ir, named),
    joins: named.filter(isJoin).map((node) => ({
      node: node.id,
      rule: node.trigger_rule,
      fan_in: node.in.length,
      early: isEarly(node),
    })),
    cancel_regions: named.flatMap(({ id, cancels, cancels_at: when }) =>
      cancels && when ? [{ node: id, when, withdraws: ids(cancels) }] : [],
    ),
    compensations: ir.nodes.flatMap(({ compensates, config }) =>
      compensates === undefined
        ? []
        : ids([compensates]).map((node) => ({ node, function_name: String(config.function_name) })),
    ),
    semaphores: Object.entries(ir.semaphores).map(([name, permits]) => {
      const holders = named.filter((node) => node.holds?.includes(name));
      return { name, permits, held_by: holders.map(({ id }) => id) };
    }),
    guards: named.flatMap(({ id, unless }) => (unless ? [{ node: id, unless: ids(unless) }] : [])),
  };
}

function idsOf(ir: IR): (indexes: readonly number[]) => string[] {
  return (indexes) => indexes.map((index) => (ir.nodes[index] as IRNode).id);
}

function levelsOf(ir: IR, nodes: readonly IRNode[]): string[][] {
  const levels = Array.from({ length: ir.levels }, (): string[] => []);
  for (const { id, level } of nodes) levels[level]?.push(id);
  return levels;
}

function isJoin({ in: incoming, trigger_rule }: IRNode): boolean {
  return incoming.length > 1 || (incoming.length === 1 && trigger_rule !== "none_failed_min_one_success");
}

function isEarly({ trigger_rule: rule, in: incoming }: IRNode): boolean {
  const enough = typeof rule === "object" ? rule.quorum : 1;
  const mayBeEarly = typeof rule === "object" || rule === "one_success" || rule === "one_failed";
  return mayBeEarly && enough < incoming.length;
}

function bodiesOf(ir: IR, nodes: readonly IRNode[]): ExplainedBody[] {
  const bodies = ir.bodies.map((body) => explainBody(ir, body));
  for (const { id, body } of nodes) bodies[body]?.nodes.push(id);
  const outermost: ExplainedBody[] = [];
  for (const [index, { parent }] of ir.bodies.entries())
    (bodies[parent]?.bodies ?? outermost).push(bodies[index] as ExplainedBody);
  return outermost;
}

function explainBody(ir: IR, { kind, node, entries, terminals }: IRBody): ExplainedBody {
  const ids = idsOf(ir);
  const owner = ir.nodes[node] as IRNode;
  const common = {
    kind,
    node: owner.id,
    entries: ids(entries),
    terminals: ids(terminals),
    nodes: [],
    bodies: [],
  };
  const text = (property: string) => (owner.config[property] as string | undefined) ?? null;
  const { loop } = owner;
  if (loop === undefined) {
    const { items, max_concurrency, tolerated_failures } = owner.config as Omit<
      NonNullable<ExplainedBody["map"]>,
      "complete_when"
    >;
    return {
      ...common,
      map: { items, max_concurrency, tolerated_failures, complete_when: text("complete_when") },
    };
  }
  const targets = (edges: readonly number[] | undefined) =>
    edges === undefined ? null : ids(edges.map((edge) => ir.edges[edge]?.to as number));
  return {
    ...common,
    loop: {
      max_iterations: loop.max_iterations ?? null,
      condition: text("condition"),
      break: targets(loop.break),
      timeout: targets(loop.timeout),
    },
  };
}
