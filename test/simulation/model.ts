/** Simulated workflows: the workflow file's format with expressions as trees, and handlers whose behaviour is a value. */
import { type Expression, isObject, type Json, type JsonObject, renderCel } from "./expression.ts";

export type TriggerRule = "none_failed_min_one_success" | "all_done" | "one_success";

/** What a node does, apart from its arrivals and edges. */
export type Work =
  | { type: "function" }
  | { type: "transform"; expression: Expression }
  | { type: "filter"; filter_expression: Expression }
  | { type: "aggregate"; operation: "sum" | "avg" | "min" | "max" | "count"; field?: string }
  | { type: "aggregate"; strategy: "merge" | "union" | "concat" }
  | { type: "conditional"; mode?: "first" | "all" }
  | { type: "parallel" };

/** How often a node is tried; waits are the same before each try. */
export interface SimulatedRetry {
  max_attempts: number;
  backoff_ms: number;
}

export type SimulatedNode = Work & {
  id: string;
  trigger_rule?: TriggerRule;
  retry?: SimulatedRetry;
  /** Limit of one try. Only nodes that hang, or answer at once, may have a small one: else it would be a race. */
  timeout_ms?: number;
};

export interface SimulatedEdge {
  from: string;
  to: string;
  on?: "success" | "failure" | "always";
  priority?: number;
  condition?: Expression;
}

export interface SimulatedWorkflow {
  name: string;
  nodes: SimulatedNode[];
  edges: SimulatedEdge[];
  output?: Expression;
  /** Executions of a run that may hold a worker at once. */
  max_parallel_nodes?: number;
  /** The first unhandled failure halts the run. */
  fail_fast?: boolean;
}

/** What a handler does that answers in every try alike: gives a value, gives back its data, measures its data, or gives
 * so much that it does not travel inline. */
export type Steady =
  | { kind: "output"; value: Json }
  | { kind: "echo" }
  | { kind: "measure" }
  | { kind: "bulk" };

/** What the handler `simulated` does. */
export type Behaviour =
  | Steady
  /** Fails in every try; `forGood`: says itself that no other try would help. */
  | { kind: "fail"; code: string; message: string; forGood?: true }
  /** Fails in its first tries, in the way told, and answers at last. */
  | {
      kind: "flaky";
      fails: number;
      by: "throwing" | "hanging";
      code: string;
      message: string;
      atLast: Steady;
    }
  /** Never answers: each try ends by its timeout. */
  | { kind: "hang" };

/** Behaviours by the id of their `function` node. */
export type Behaviours = Readonly<Record<string, Behaviour>>;

/** Longer than what travels inline. */
const BULK_LENGTH = 40_000;

export type Answer =
  | { output: Json }
  | { error: { code: string; message: string }; forGood: boolean }
  | { hangs: true };

/** What a handler with this behaviour answers to this data in this try (from 1). */
export function behave(behaviour: Behaviour, data: Json, attempt: number): Answer {
  switch (behaviour.kind) {
    case "output":
      return { output: behaviour.value };
    case "echo":
      return { output: data };
    case "measure":
      return { output: measure(data) };
    case "bulk":
      return { output: { score: 5, label: "bulk", text: "x".repeat(BULK_LENGTH) } };
    case "fail":
      return {
        error: { code: behaviour.code, message: behaviour.message },
        forGood: behaviour.forGood === true,
      };
    case "hang":
      return { hangs: true };
    case "flaky":
      if (attempt > behaviour.fails) return behave(behaviour.atLast, data, attempt);
      if (behaviour.by === "hanging") return { hangs: true };
      return { error: { code: behaviour.code, message: behaviour.message }, forGood: false };
  }
}

/** Does it ever leave a try without an answer? */
export function hangs(behaviour: Behaviour | undefined): boolean {
  return behaviour?.kind === "hang" || (behaviour?.kind === "flaky" && behaviour.by === "hanging");
}

function measure(data: Json): JsonObject {
  if (Array.isArray(data)) return { score: data.length, label: "list" };
  if (isObject(data))
    return { score: Object.keys(data).length, label: "object", items: Object.keys(data).sort() };
  return { score: typeof data === "number" ? data : 0, label: data === null ? "null" : typeof data };
}

/** The workflow as a file for the engine: expressions as CEL, behaviours as params of the handler `simulated`. */
export function renderFile(workflow: SimulatedWorkflow, behaviours: Behaviours): JsonObject {
  return {
    name: workflow.name,
    nodes: workflow.nodes.map((node) => ({
      id: node.id,
      type: node.type,
      config: renderConfig(node, behaviours[node.id]),
      ...(node.trigger_rule === undefined ? {} : { trigger_rule: node.trigger_rule }),
      ...(node.retry === undefined ? {} : { retry: { ...node.retry, backoff_multiplier: 1, jitter: false } }),
      ...(node.timeout_ms === undefined ? {} : { timeout_ms: node.timeout_ms }),
    })),
    edges: workflow.edges.map(({ condition, ...edge }) => ({
      ...edge,
      ...(condition === undefined ? {} : { condition: renderCel(condition) }),
    })),
    ...(workflow.output === undefined ? {} : { output: renderCel(workflow.output) }),
    ...(workflow.max_parallel_nodes === undefined ? {} : { max_parallel_nodes: workflow.max_parallel_nodes }),
    ...(workflow.fail_fast === undefined ? {} : { fail_fast: workflow.fail_fast }),
  };
}

function renderConfig(node: SimulatedNode, behaviour: Behaviour | undefined): JsonObject {
  const { id, trigger_rule: _rule, retry: _retry, timeout_ms: _timeout, type, ...config } = node;
  switch (node.type) {
    case "function":
      if (behaviour === undefined) throw new Error(`no behaviour for ${id} (${type})`);
      return { function_name: "simulated", params: { behaviour } };
    case "transform":
      return { expression: renderCel(node.expression) };
    case "filter":
      return { filter_expression: renderCel(node.filter_expression) };
    default:
      return config as JsonObject;
  }
}
