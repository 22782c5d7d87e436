/**
 * The compiled form of a workflow: what workers, scripts and the recorder read. Immutable; identified by `digest`, the
 * SHA-256 (hex) of its canonical JSON. Nodes are named by index, in topological order (ties in file order); edges by index,
 * in file order. As this is a JSON document that users may hold (`compile --out`), its names are snake_case.
 */

/** Version of this format. A reader refuses another. */
export const IR_FORMAT = 3;

export type NodeType =
  | "function"
  | "transform"
  | "filter"
  | "aggregate"
  | "conditional"
  | "parallel"
  | "http"
  | "loop"
  | "map"
  | "subworkflow"
  | "wait"
  | "approval"
  | "signal";

export type EdgeOn = "success" | "failure" | "always";

/** When a node with arrivals may run. Airflow's names. */
export type TriggerRule =
  | "none_failed_min_one_success"
  | "all_success"
  | "all_done"
  | "one_success"
  | "one_failed"
  | "all_failed"
  | "none_failed"
  | { quorum: number };

/**
 * A part of the graph that is executed in scopes of its own: once for each iteration of a loop, or for each item of a map.
 * A loop node belongs to its own body; a map node does not.
 */
export interface IRBody {
  kind: "loop" | "map";
  /** The loop or map node. */
  node: number;
  /** Index of the enclosing body; -1: none. Outer bodies come first. */
  parent: number;
  /** Nodes that are activated when a scope begins: of a loop its one entry. */
  entries: number[];
  /** Nodes whose outputs are a scope's result: of a loop the loop node. */
  terminals: number[];
  /** Of a map: nodes that may end an item too, as `ends` of the IR. */
  ends: number[];
}

export interface IRLoop {
  /** First node of the body. */
  entry: number;
  /** Iterations after which the loop ends by `timeout`, or fails; absent: no bound. */
  max_iterations?: number;
  /** Indexes of the edges taken when the condition is false; absent: the ordinary edges decide. */
  break?: number[];
  /** Indexes of the edges taken when `max_iterations` is reached; absent: the node fails. */
  timeout?: number[];
}

export interface IRRetry {
  max_attempts: number;
  backoff_ms: number;
  backoff_multiplier: number;
  max_backoff_ms: number;
  jitter: boolean;
}

export interface IRNode {
  id: string;
  type: NodeType;
  /** The node's `config` as validated, with the defaults of its type filled in. */
  config: Record<string, unknown>;
  /** Longest distance from an entry node, from 0. */
  level: number;
  trigger_rule: TriggerRule;
  /** No outgoing edges: its output belongs to the run's output. For output and statistics only. */
  terminal: boolean;
  /** Indexes of incoming edges, ascending. Its length is the static fan-in. */
  in: number[];
  /** Indexes of outgoing edges by (priority, file order), an edge without a condition last for a `conditional` node. */
  out: number[];
  /**
   * Ancestors whose output is named as `nodes["id"].output` by this node's expressions or its outgoing edges' conditions,
   * ascending. The node itself, which its conditions may also name, is not among them: its output is at hand.
   */
  needs: number[];
  retry: IRRetry;
  /** Per attempt, milliseconds. */
  timeout_ms: number;
  queue: string;
  priority: number;
  /** CEL whose value replaces the node's data. */
  input?: string;
  /** Body to which the node belongs, by index; -1: none. */
  body: number;
  /** Of a loop node. */
  loop?: IRLoop;
  /** Of a map node: its body, by index. */
  map_body?: number;
  /** Executions of the same scope that this one withdraws, ascending. */
  cancels?: number[];
  /** When it withdraws them: once it completed, as soon as it fires, or when the event arrives that it waits for. */
  cancels_at?: "done" | "fire" | "event";
  /** Node that undoes this one when the run fails or is cancelled. */
  compensation?: number;
  /** Node that this one undoes. Such a node has no edges. */
  compensates?: number;
  /** Semaphores of which an execution holds one permit each while it holds a worker, sorted. */
  holds?: string[];
  /** Nodes of the same scope: if one of them completed before this one begins, this one is skipped. */
  unless?: number[];
}

export interface IREdge {
  from: number;
  to: number;
  on: EdgeOn;
  /** CEL source, checked at compile time; absent: unconditional. */
  condition?: string;
  priority: number;
  /** Bodies that it leaves; absent: 0. */
  exits?: number;
  /** Bodies that it enters, outer first; absent: none. */
  enters?: number[];
}

export interface IR {
  format: typeof IR_FORMAT;
  name: string;
  nodes: IRNode[];
  edges: IREdge[];
  /** Indexes of nodes without incoming edges. */
  entries: number[];
  /** Indexes of nodes without outgoing edges. */
  terminals: number[];
  /**
   * Indexes of nodes with outgoing edges that may take none of them after a success. Then they end their path, and count as
   * terminal. Those inside a loop do not: its loop node stands for it.
   */
  ends: number[];
  /** Number of levels. */
  levels: number;
  bodies: IRBody[];
  /** Permits of each named semaphore. */
  semaphores: Record<string, number>;
  vars: Record<string, unknown>;
  /** CEL for the run's output; absent: the terminal nodes' outputs. */
  output?: string;
  /** Nodes named by `output`. */
  output_needs: number[];
  /** JSON Schema of the run's input; absent: any. */
  input_schema?: unknown;
  /** Limit of the whole run, milliseconds; 0: none. */
  timeout_ms: number;
  /** Executions of one run that hold a worker at once; 0: no limit. */
  max_parallel_nodes: number;
  fail_fast: boolean;
}
