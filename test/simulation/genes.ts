/** What workflows grow from: each gene says how one node hangs on those before it, and what it does. */
import type { Expression, Json, JsonObject } from "./expression.ts";
import type { Behaviour, MapSignal, SimulatedRetry, TriggerRule, Work } from "./model.ts";

/**
 * How a node hangs on those before it: `chain` on the last one, `sibling` on the same as the last one (fans, branches),
 * `leaves` on all that have no successor yet (joins), `pick` on any; `entry` on none.
 */
export type Shape = "chain" | "sibling" | "leaves" | "pick" | "entry";

/** Where an expression stands, which decides what it may name. */
export interface Place {
  /** Predecessors of the node; with several of them `data` is an object by their ids. */
  predecessors: readonly string[];
  /** Nodes that `nodes[...]` may name. */
  ancestors: readonly string[];
  inLoop: boolean;
  inMap: boolean;
  /** Its output is its data. */
  passesDataOn: boolean;
  /** Its data are what its `input` gives. */
  isGiven?: boolean;
  on: "node" | "success" | "failure" | "always";
}

/** An expression that adapts itself to its place. */
export type Adaptive = (place: Place) => Expression;

export interface EdgeGene {
  on: "success" | "failure" | "always";
  /** Has a condition from a certain value on, which is lower for a conditional's edges. */
  conditioned: number;
  condition: Adaptive;
  priority: number;
  /** Moves the edge in the file. */
  position: number;
}

/** A loop that ends: it has a bound, or its condition does. */
export interface LoopGene {
  kind: "loop";
  body: NodeGene[];
  times: number;
  bounded: boolean;
  condition: Adaptive | null;
  /** Which of its edges leads to `break_path`, and which to `timeout_path`: one, or a list. */
  breaks: number | number[] | null;
  timesOut: number | number[] | null;
  /** The edges to these paths stand in the file. */
  explicit: boolean;
  edgeBack: boolean;
  calls: Behaviour | null;
}

export interface MapGene {
  kind: "map";
  body: NodeGene[];
  /** As constants, or as the output of its one predecessor, if that can give it; null: whatever `expression` says. */
  items: Json[] | null;
  fromData: boolean;
  expression: Adaptive;
  /** The body is a workflow of its own. */
  asChild: boolean;
  maxConcurrency: number | null;
  tolerated: number;
  completeWhen: Expression | null;
  /** What is given to it while it runs; null: it is not open. */
  signals: MapSignal[] | null;
}

/** Nobody answers within a short deadline, or somebody may, or the deadline is ample, or there is none. */
export interface SignalGene {
  kind: "signal";
  type: "signal" | "approval";
  answer: JsonObject | null;
  deadline: "none" | "short" | "ample";
  transient: boolean;
}

export type WorkGene =
  | { kind: "function"; behaviour: Behaviour }
  | { kind: "conditional" | "parallel" | "wait"; work: Work }
  | { kind: "transform"; expression: Adaptive }
  | { kind: "filter"; condition: Adaptive; list: Json[] | null }
  | { kind: "aggregate"; work: Work }
  | LoopGene
  | MapGene
  | { kind: "until"; until: string | Adaptive }
  | SignalGene
  | { kind: "subworkflow"; body: NodeGene[]; input: Adaptive | null };

export interface NodeGene {
  shape: Shape;
  picks: number[];
  work: WorkGene;
  /** What replaces its data. */
  input: Adaptive | null;
  rule: TriggerRule | null;
  retry: SimulatedRetry | null;
  edges: EdgeGene[];
  priorities: boolean;
  /** Moves the node in the file. */
  position: number;
  /** Neighbours that it withdraws; an empty list: all. */
  cancels: number[] | null;
  cancelsRest: boolean;
  /** A neighbour that keeps it from running. */
  unless: number | null;
  holds: string[];
  /** How it is undone. */
  undone: Behaviour | null;
}

/** What concerns the run as a whole. */
export interface RunGene {
  /** Nodes that its output names; null: no expression for it. */
  output: number[] | null;
  /** null: no limit. */
  maxParallelNodes: number | null;
  failFast: boolean;
}

/** Queues that nodes lie in: `default` most of them. */
export const QUEUES = ["default", "left", "right"] as const;

/** Permits by name. */
export const SEMAPHORES: Readonly<Record<string, number>> = { one: 1, two: 2 };
