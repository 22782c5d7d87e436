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

/** What a workflow is called in the engine. */
type NameOf = (name: string) => string;

export function renderFile(
  { name, nodes, edges, output, ...settings }: SimulatedWorkflow,
  behaviours: Behaviours,
  nameOf: NameOf = (own) => own,
): JsonObject {
  const graph = new Rendering(behaviours, nameOf).graph({ nodes, edges });
  return { name: nameOf(name), ...graph, ...cel({ output }), ...settings } as JsonObject;
}

class Rendering {
  readonly #behaviours: Behaviours;
  readonly #nameOf: NameOf;

  constructor(behaviours: Behaviours, nameOf: NameOf) {
    this.#behaviours = behaviours;
    this.#nameOf = nameOf;
  }

  graph({ nodes, edges }: Graph): { nodes: Json[]; edges: Json[] } {
    return {
      nodes: nodes.map((node) => this.#node(node)),
      edges: edges.map(({ condition, ...edge }) => ({ ...edge, ...cel({ condition }) })),
    };
  }

  #node(node: SimulatedNode): Json {
    const {
      id,
      type,
      given,
      queue,
      trigger_rule,
      retry,
      timeout_ms,
      cancels,
      cancel_rest,
      unless,
      holds,
      compensated,
    } = node;
    return present({
      id,
      type,
      ...cel({ input: given }),
      queue,
      config: this.#config(node),
      trigger_rule,
      retry: retry && { ...retry, backoff_multiplier: 1, jitter: false },
      timeout_ms,
      cancels,
      cancel_rest,
      unless,
      holds,
      compensate_with: compensated && this.#call(compensationOf(id)),
    });
  }

  #config(node: SimulatedNode): JsonObject {
    switch (node.type) {
      case "function":
        return this.#call(node.id);
      case "transform":
        return { expression: renderCel(node.expression) };
      case "filter":
        return { filter_expression: renderCel(node.filter_expression) };
      case "aggregate":
        return "strategy" in node
          ? { strategy: node.strategy }
          : present({ operation: node.operation, field: node.field });
      case "conditional":
        return present({ mode: node.mode });
      case "parallel":
        return {};
      case "loop": {
        const { loop_back_to, condition, max_iterations, break_path, timeout_path, calls } = node;
        const paths = present({ loop_back_to, max_iterations, break_path, timeout_path });
        return { ...paths, ...cel({ condition }), ...(calls ? this.#call(node.id) : {}) };
      }
      case "map":
        return this.#map(node);
      case "wait":
        if (!("until" in node)) return { duration_ms: node.duration_ms };
        return { until: typeof node.until === "string" ? node.until : renderCel(node.until) };
      case "signal":
      case "approval":
        return present({ name: node.name, timeout_ms: node.deadline_ms, transient: node.transient });
      case "subworkflow": {
        const given = Object.entries(node.input ?? {}).map(([name, of]) => [name, `{{ ${renderCel(of)} }}`]);
        const input = node.input && Object.fromEntries(given);
        return present({ workflow: this.#nameOf(node.workflow.name), input });
      }
    }
  }

  #map({ body, items, complete_when, open, max_concurrency, tolerated_failures }: SimulatedMap): JsonObject {
    const what = "name" in body ? { workflow: this.#nameOf(body.name) } : { body: this.graph(body) };
    const added = open && { open: true, name: open.name };
    const plain = present({ max_concurrency, tolerated_failures });
    return { ...cel({ items, complete_when }), ...what, ...plain, ...added };
  }

  #call(id: string): JsonObject {
    const behaviour: Behaviour | undefined = this.#behaviours[id];
    if (behaviour === undefined) throw new Error(`no behaviour for ${id}`);
    return { function_name: "simulated", params: { behaviour: behaviour as unknown as Json } };
  }
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
