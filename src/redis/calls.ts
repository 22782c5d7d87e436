/** What the calls of a partition carry: the items of a step, a start, a note. The scripts' headers say what they do with it. */

interface RunItem {
  runId: string;
  generation: number;
  digest: string;
}

export interface FinishedItem extends RunItem {
  node: number;
  scope: string;
  attempt: number;
  delivery: number;
  nonce: string;
  /** Queue of the node. */
  queue: string;
  /** Completed, failed, cancelled, or to be tried again (at `due`). */
  outcome: "C" | "F" | "X" | "R";
  /** Does this failure halt the run (fail_fast)? */
  halt: boolean;
  /** Does the run limit how many of its executions hold a worker? */
  limited: boolean;
  /** Redis's clock, ms; with outcome R. */
  due?: number;
  /** `=` and one letter (t, n) for each outgoing edge, or `X`: an unhandled failure fails every edge. */
  arrivals: string;
  unhandled: boolean;
  /** May a next token come straight back? */
  hand: boolean;
  /** Ancestors' outputs that a target needs, by target. */
  needs: Record<string, number[]>;
  /** JSON of an ExecutionDetail. */
  detail: string;
  /** What dependents see: `j<JSON>` or `b<blob name>`. */
  output: string;
  /** Is `output` the execution's own (and not the error that dependents see)? */
  outputInJournal: boolean;
  /** Does anybody downstream read the output? */
  keep: boolean;
  blob?: string;
}

export interface StreamPosition {
  queue: string;
  entry: string;
}

export interface SettleItem extends RunItem, StreamPosition {
  work: string;
}

export interface ClaimItem extends RunItem, StreamPosition {
  node: number;
  scope: string;
  attempt: number;
  delivery: number;
  nonce: string;
  needs: number[];
  limited: boolean;
}

export interface AdvanceCall {
  worker: string;
  leaseMs: number;
  /** How many tokens may be handed straight to this worker. */
  take: number;
  /** Queues that this worker reads. */
  reads: readonly string[];
  /** All queues that the IRs of the finished items name. */
  queues: readonly string[];
  finished: readonly (FinishedItem | SettleItem)[];
  claims: readonly ClaimItem[];
}

export interface StartCall extends RunItem {
  epoch: string;
  /** Redis's clock, ms. */
  deadline: number;
  /** JSON of the run's input. */
  input: string;
  queues: readonly string[];
  /** Executions that may hold a worker at once; 0: no limit. */
  permits: number;
  /** Limit of the whole run, ms; 0: none. */
  timeoutMs: number;
}

export interface RunningNote {
  runId: string;
  generation: number;
  node: number;
  scope: string;
  attempt: number;
  delivery: number;
  nonce: string;
  startedAt: number;
}
