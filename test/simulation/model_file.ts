/** Simulated workflows as files for the engine: expressions as CEL, behaviours as params of the handler `simulated`. */
import { type Expression, type Json, type JsonObject, renderCel } from "./expression.ts";
import {
  type Behaviour,
  type Behaviours,
  compensationOf,
  type Graph,
  type SimulatedMap,
  type SimulatedNode,
  type SimulatedWorkflow,
} from "./model.ts";

export function renderFile(workflow: SimulatedWorkflow, behaviours: Behaviours): JsonObject {
  const { name, nodes, edges, output, ...settings } = workflow;
  return {
    name,
    ...renderGraph({ nodes, edges }, behaviours),
    ...cel({ output }),
    ...settings,
  } as JsonObject;
}

function renderGraph({ nodes, edges }: Graph, behaviours: Behaviours): { nodes: Json[]; edges: Json[] } {
  return {
    nodes: nodes.map((node) => renderNode(node, behaviours)),
    edges: edges.map(({ condition, ...edge }) => ({ ...edge, ...cel({ condition }) })),
  };
}

function renderNode(node: SimulatedNode, behaviours: Behaviours): Json {
  const {
    id,
    type,
    trigger_rule,
    retry,
    timeout_ms,
    cancels,
    cancel_rest,
    unless,
    holds,
    compensated,
    ...work
  } = node;
  return present({
    id,
    type,
    config: renderConfig(node, work, behaviours),
    trigger_rule,
    retry: retry && { ...retry, backoff_multiplier: 1, jitter: false },
    timeout_ms,
    cancels,
    cancel_rest,
    unless,
    holds,
    compensate_with: compensated && call(compensationOf(id), behaviours),
  });
}

function renderConfig(node: SimulatedNode, work: object, behaviours: Behaviours): JsonObject {
  switch (node.type) {
    case "function":
      return call(node.id, behaviours);
    case "transform":
      return { expression: renderCel(node.expression) };
    case "filter":
      return { filter_expression: renderCel(node.filter_expression) };
    case "loop": {
      const { loop_back_to, condition, max_iterations, break_path, timeout_path, calls } = node;
      const paths = { loop_back_to, max_iterations, break_path, timeout_path };
      return present({ ...paths, ...cel({ condition }), ...(calls ? call(node.id, behaviours) : {}) });
    }
    case "map":
      return renderMap(node, behaviours);
    case "signal":
    case "approval":
      return present({ name: node.name, timeout_ms: node.deadline_ms });
    case "subworkflow": {
      const entries = Object.entries(node.input ?? {}).map(([name, value]) => [
        name,
        `{{ ${renderCel(value)} }}`,
      ]);
      return present({ workflow: node.workflow.name, input: node.input && Object.fromEntries(entries) });
    }
    default:
      return work as JsonObject;
  }
}

function renderMap({ body, items, complete_when, ...map }: SimulatedMap, behaviours: Behaviours): JsonObject {
  const what = "name" in body ? { workflow: body.name } : { body: renderGraph(body, behaviours) };
  const { max_concurrency, tolerated_failures } = map;
  return present({ ...cel({ items, complete_when }), ...what, max_concurrency, tolerated_failures });
}

function call(id: string, behaviours: Behaviours): JsonObject {
  const behaviour: Behaviour | undefined = behaviours[id];
  if (behaviour === undefined) throw new Error(`no behaviour for ${id}`);
  return { function_name: "simulated", params: { behaviour: behaviour as unknown as Json } };
}

/** Those expressions that are there, as CEL. */
function cel(expressions: Record<string, Expression | undefined>): JsonObject {
  const entries = Object.entries(expressions);
  return present(Object.fromEntries(entries.map(([name, of]) => [name, of && renderCel(of)])));
}

/** Without what is undefined. */
function present(object: Record<string, unknown>): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as JsonObject;
}
