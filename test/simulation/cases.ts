/** Small workflows in few words, and what became of them. */
import type { Expression, Json, Variable } from "./expression.ts";
import {
  allNodes,
  type Behaviour,
  type Behaviours,
  childrenOf,
  compensationOf,
  type SimulatedEdge,
  type SimulatedNode,
  type SimulatedWorkflow,
  type TriggerRule,
} from "./model.ts";
import { play } from "./play.ts";
import type { GameResult } from "./reference.ts";

/** Functions by name, and other nodes as they are. */
export function workflow(
  nodes: (string | SimulatedNode)[],
  edges: (string | SimulatedEdge)[],
): SimulatedWorkflow {
  return {
    name: "case",
    nodes: nodes.map((node) => (typeof node === "string" ? { id: node, type: "function" } : node)),
    edges: edges.map((edge) => (typeof edge === "string" ? link(edge) : edge)),
  };
}

/** `A>B` with more of an edge. */
export function link(ends: string, more: Partial<SimulatedEdge> = {}): SimulatedEdge {
  const [from, to] = ends.split(">");
  return { from: from!, to: to!, ...more };
}

export function joined(id: string, trigger_rule: TriggerRule): SimulatedNode {
  return { id, type: "function", trigger_rule };
}

export const literal = (value: boolean | number | string): Expression => ({ kind: "literal", value });
export const field = (of: Variable, ...path: string[]): Expression => ({
  kind: "field",
  of,
  path,
});
export const atLeast = (least: number): Expression => ({
  kind: "compare",
  operator: ">=",
  left: field("output", "score"),
  right: literal(least),
});
export const missing: Expression = {
  kind: "compare",
  operator: "==",
  left: field("output", "missing"),
  right: literal(1),
};

export const output = (value: Json): Behaviour => ({ kind: "output", value });
export const fail: Behaviour = { kind: "fail", code: "BOOM", message: "as told" };
export const echo: Behaviour = { kind: "echo" };

/** Plays a case in which functions without a behaviour give their own id. */
export function run(
  of: SimulatedWorkflow,
  behaviours: Behaviours = {},
  order?: string[],
  input: Json = {},
): GameResult {
  const ids = [of, ...childrenOf(of)].flatMap(allNodes).flatMap(({ id }) => [id, compensationOf(id)]);
  const all = Object.fromEntries(ids.map((id) => [id, behaviours[id] ?? output(id)]));
  const left = [...(order ?? [])];
  return play(of, input, all, (enabled) => left.find((id) => enabled.includes(id)) ?? enabled[0]!);
}

/** Statuses in short: `A:COMPLETED B:SKIPPED(not_taken) C:SKIPPED(upstream_failed A)`. */
export function statuses(result: GameResult): string {
  return Object.keys(result.nodes)
    .sort()
    .map((id) => {
      const { status, reason } = result.nodes[id]!;
      if (reason === null) return `${id}:${status}`;
      return `${id}:${status}(${reason.kind}${reason.kind === "upstream_failed" ? ` ${reason.node}` : ""})`;
    })
    .join(" ");
}
