/** Simulated workflows: the workflow file's format with expressions as trees, and handlers whose behaviour is a value. */
import { type Expression, isObject, type Json, type JsonObject } from "./expression.ts";
import { hostileNamed } from "./hostile.ts";

export type TriggerRule =
  | "none_failed_min_one_success"
  | "all_success"
  | "all_done"
  | "one_success"
  | "one_failed"
  | "all_failed"
  | "none_failed"
  | { quorum: number };

/** Nodes and edges: of a workflow, or of a map's body. */
export interface Graph {
  nodes: SimulatedNode[];
  edges: SimulatedEdge[];
}

/** Ends the body that begins at `loop_back_to`. */
export interface Loop {
  type: "loop";
  loop_back_to: string;
  condition?: Expression;
  max_iterations?: number;
  break_path?: string | string[];
  timeout_path?: string | string[];
  /** It calls the handler; else its output is its data. */
  calls?: true;
}

export interface SimulatedMap {
  type: "map";
  items: Expression;
  /** What is done for each item: a graph, or a workflow whose input is the item. */
  body: Graph | SimulatedWorkflow;
  max_concurrency?: number;
  tolerated_failures?: number;
  /** Sees `completed`, `failed`, `total` and `input`. */
  complete_when?: Expression;
  /** Items are added by signals of this name; each execution is given these, one after another. */
  open?: { name: string; signals: MapSignal[] };
}

/** What a signal of an open map brings. */
export type MapSignal = { items?: Json[]; close?: boolean; complete?: boolean };

/** What a node does, apart from its arrivals and edges. */
export type Work =
  | { type: "function" }
  | { type: "transform"; expression: Expression }
  | { type: "filter"; filter_expression: Expression }
  | { type: "aggregate"; operation: "sum" | "avg" | "min" | "max" | "count"; field?: string }
  | { type: "aggregate"; strategy: "merge" | "union" | "concat" | "coalesce" }
  | { type: "conditional"; mode?: "first" | "all" }
  | { type: "parallel" }
  | Loop
  | SimulatedMap
  | { type: "wait"; duration_ms: number }
  /** An instant as text (RFC 3339), or an expression that gives one. */
  | { type: "wait"; until: string | Expression }
  /** Every execution of it is answered alike; null: nobody answers. */
  | {
      type: "signal" | "approval";
      name: string;
      answer: JsonObject | null;
      deadline_ms?: number;
      transient?: true;
    }
  /** `input`: its properties' values; absent: the data. */
  | { type: "subworkflow"; workflow: SimulatedWorkflow; input?: Record<string, Expression> };

/** How often a node is tried; waits are the same before each try. */
export interface SimulatedRetry {
  max_attempts: number;
  backoff_ms: number;
}

/** What nodes of all types may have. */
export interface NodeProperties {
  /** Its `input` in the file: its data, instead of what its predecessors gave. */
  given?: Expression;
  /** Default: `default`. Which workers perform it; it changes nothing of what comes of it. */
  queue?: string;
  trigger_rule?: TriggerRule;
  retry?: SimulatedRetry;
  /** Limit of one try. Only nodes that hang, or answer at once, may have a small one: else it would be a race. */
  timeout_ms?: number;
  /** Nodes of the same body that it withdraws; `*`: all others. */
  cancels?: string[];
  /** It withdraws what leads to it alone, as soon as it fires. */
  cancel_rest?: true;
  /** Nodes of the same body, one of which keeps it from running if it completed before. */
  unless?: string[];
  /** Semaphores. */
  holds?: string[];
  /** Undone by the handler, with the behaviour of `<id>.compensate`. */
  compensated?: true;
}

/** The nodes that a way out of a loop leads to. */
export function targetsOf(path: string | readonly string[] | undefined): readonly string[] {
  if (path === undefined) return [];
  return typeof path === "string" ? [path] : path;
}

export type SimulatedNode = Work & NodeProperties & { id: string };

export interface SimulatedEdge {
  from: string;
  to: string;
  on?: "success" | "failure" | "always";
  priority?: number;
  condition?: Expression;
}

export interface SimulatedWorkflow extends Graph {
  name: string;
  output?: Expression;
  /** Executions of a run that may hold a worker at once. */
  max_parallel_nodes?: number;
  /** The first unhandled failure halts the run. */
  fail_fast?: boolean;
  /** Permits by name. */
  semaphores?: Record<string, number>;
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
  | { kind: "hang" }
  /** Throws or returns what no handler should, in every try; see hostile.ts. */
  | { kind: "hostile"; what: string };

/** Behaviours by the id of their node, or of its compensation; those of child workflows among them. */
export type Behaviours = Readonly<Record<string, Behaviour>>;

/** Longer than what travels inline. */
const BULK_LENGTH = 40_000;

export type Answer =
  | { output: Json }
  /** Without a message: it is not fixed. */
  | { error: { code: string; message: string | null }; forGood: boolean }
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
    case "hostile":
      return hostileNamed(behaviour.what).outcome;
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

/** Does it ask for a next try so late that no run should wait for it? */
export function asksForDays(behaviour: Behaviour | null | undefined): boolean {
  return behaviour?.kind === "hostile" && hostileNamed(behaviour.what).isLate;
}

function measure(data: Json): JsonObject {
  if (Array.isArray(data)) return { score: data.length, label: "list" };
  if (isObject(data))
    return { score: Object.keys(data).length, label: "object", items: Object.keys(data).sort() };
  return { score: typeof data === "number" ? data : 0, label: data === null ? "null" : typeof data };
}

/** Who answers approvals. */
export const ANSWERED_BY = "the simulation";

export const compensationOf = (id: string): string => `${id}.compensate`;

/** The node of a map's body that stands for the workflow that is run for each item. */
const itemNodeOf = (mapId: string): string => `${mapId}.item`;

/** The graph that is worked through for each item of a map. */
export function bodyOfMap({ id, body }: SimulatedNode & SimulatedMap): Graph {
  if (!("name" in body)) return body;
  return { nodes: [{ id: itemNodeOf(id), type: "subworkflow", workflow: body }], edges: [] };
}

/** All nodes of a graph, those in bodies of maps included, in the order of the file. */
export function allNodes({ nodes }: Graph): SimulatedNode[] {
  return nodes.flatMap((node) => (node.type === "map" ? [node, ...allNodes(bodyOfMap(node))] : [node]));
}

/** The name of the signals that a node waits for. */
export function signalNameOf(node: SimulatedNode): string | undefined {
  if (node.type === "map") return node.open?.name;
  return node.type === "signal" || node.type === "approval" ? node.name : undefined;
}

/** Are signals of this name dropped when nobody waits for them? */
export function isTransient(graph: Graph, name: string): boolean {
  const waiting = allNodes(graph).filter((node) => signalNameOf(node) === name);
  return waiting.every((node) => "transient" in node && node.transient === true);
}

/** The workflows that the executions of this one start, and theirs. */
export function childrenOf(workflow: SimulatedWorkflow): SimulatedWorkflow[] {
  const children = allNodes(workflow).flatMap((node) => (node.type === "subworkflow" ? [node.workflow] : []));
  return [...new Set(children.flatMap((child) => [...childrenOf(child), child]))];
}
