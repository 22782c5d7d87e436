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

export type SimulatedNode = Work & { id: string; trigger_rule?: TriggerRule };

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
}

/** What the handler `simulated` does: gives a value, gives back its data, measures its data, or fails. */
export type Behaviour =
  | { kind: "output"; value: Json }
  | { kind: "echo" }
  | { kind: "measure" }
  | { kind: "fail"; code: string; message: string };

/** Behaviours by the id of their `function` node. */
export type Behaviours = Readonly<Record<string, Behaviour>>;

export type Answer = { output: Json } | { error: { code: string; message: string } };

/** What a handler with this behaviour answers to this data. */
export function behave(behaviour: Behaviour, data: Json): Answer {
  switch (behaviour.kind) {
    case "output":
      return { output: behaviour.value };
    case "echo":
      return { output: data };
    case "measure":
      return { output: measure(data) };
    case "fail":
      return { error: { code: behaviour.code, message: behaviour.message } };
  }
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
    })),
    edges: workflow.edges.map(({ condition, ...edge }) => ({
      ...edge,
      ...(condition === undefined ? {} : { condition: renderCel(condition) }),
    })),
    ...(workflow.output === undefined ? {} : { output: renderCel(workflow.output) }),
  };
}

function renderConfig(node: SimulatedNode, behaviour: Behaviour | undefined): JsonObject {
  const { id, trigger_rule: _rule, type, ...config } = node;
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
