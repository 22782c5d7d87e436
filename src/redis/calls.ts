/** What the calls of a partition carry: the items of a step, a start, a note. The scripts' headers say what they do with it. */

import type { ExecutionDetail } from "../token/journal.ts";
import type { Letter, OUTCOME, PARK } from "../token/letters.ts";
import type { IR } from "../workflow/ir/ir.ts";

interface RunItem {
  runId: string;
  generation: number;
  digest: string;
}

/** What a run's IR asks of every call that changes the run. */
export interface RunTraits {
  /** Permits are counted: of the run, or of semaphores. */
  limited: boolean;
  /** It has maps. */
  mapped?: boolean | undefined;
}

/** An output that a token needs: the node, and the field of the run's state that holds it. */
export type Need = [node: number, field: string];

/** Why an execution waits, and until when. */
export interface Park {
  /** For a time, a signal, its items, or its child run. */
  kind: Letter<typeof PARK>;
  /** Redis's clock, ms. */
  due?: number;
  /** Name of the signal. */
  signal?: string;
  /** Number of items (added). */
  total?: number;
  /** No more items are added. */
  closes?: boolean;
  /** The map ends with what is over. */
  stops?: boolean;
  /** Blobs that the items were stored in. */
  blobs?: string[];
}

export interface FinishedItem extends RunItem, RunTraits {
  node: number;
  scope: string;
  attempt: number;
  delivery: number;
  nonce: string;
  /** Queue of the node. */
  queue: string;
  /** Completed, failed, cancelled, to be tried again (at `due`), or waiting (as `park` says). */
  outcome: Letter<typeof OUTCOME>;
  /** Does this failure halt the run (fail_fast)? */
  halt: boolean;
  park?: Park | undefined;
  /** A loop goes round once more. */
  again?: boolean;
  /** Scope at which the output is kept, if not the execution's own. */
  keepAt?: string | undefined;
  /** It took none of its edges, and so ends its item: its output belongs to the item's result. */
  endsItem?: boolean;
  /** The node withdraws others now. */
  withdraws?: boolean;
  /** Its type waits. */
  waits?: boolean;
  /** It holds semaphores. */
  guarded?: boolean;
  /** Node that undoes it. */
  compensation?: number | undefined;
  /** Redis's clock, ms; with outcome R. */
  due?: number | undefined;
  /** `=` and one letter (t, n) for each outgoing edge, or `X`: an unhandled failure fails every edge. */
  arrivals: string;
  unhandled: boolean;
  /** May a next token come straight back? */
  hand: boolean;
  /** May the next item of the map come straight back? */
  handItems?: boolean;
  /** Targets whose functions this worker does not offer. */
  unoffered?: readonly number[];
  /** State of the execution that handed this one over, when it was the last of its item: nobody asks for it any more. */
  forgets?: string | undefined;
  /** Ancestors' outputs that a target needs, by target. */
  needs: Record<string, Need[]>;
  detail: ExecutionDetail;
  /** What dependents see: `j<JSON>` or `b<blob name>`. */
  output: string;
  /** Is `output` the execution's own (and not the error that dependents see)? */
  outputInJournal: boolean;
  /** Does anybody downstream read the output? */
  keep: boolean;
  blob?: string | undefined;
}

export interface StreamPosition {
  queue: string;
  /** Of a function stream. */
  functionName?: string;
  /** Of a stream of suspects: it is performed with nothing else in its process. */
  suspects?: boolean;
  entry: string;
}

export interface SettleItem extends RunItem, RunTraits, StreamPosition {
  work: string;
}

export interface ClaimItem extends RunItem, RunTraits, StreamPosition {
  node: number;
  scope: string;
  attempt: number;
  delivery: number;
  nonce: string;
  needs: Need[];
  waits?: boolean;
  withdraws?: boolean;
  guarded?: boolean;
  /** If one of these completed, it is skipped. */
  unless?: Need[];
  /** Its function, which this worker does not offer. */
  unoffered?: string;
}

export interface FinishedEntry {
  item: FinishedItem | SettleItem;
  ir: IR;
}

export interface ClaimEntry {
  item: ClaimItem;
  ir: IR;
}

export interface AdvanceCall {
  worker: string;
  leaseMs: number;
  /** How many tokens may be handed straight to this worker. */
  take: number;
  /** Queues that this worker reads. */
  reads: readonly string[];
  finished: readonly FinishedEntry[];
  claims: readonly ClaimEntry[];
}

/** An accepted run that is to be started. */
export interface StartItem extends RunItem {
  /** JSON of the run's input. */
  input: string;
  ir: IR;
  /** It begins paused, as its parent is. */
  paused?: boolean;
}

export interface StartCall {
  epoch: string;
  /** Redis's clock, ms. */
  deadline: number;
  /** At least one. */
  runs: readonly StartItem[];
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
