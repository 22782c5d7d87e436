/** What a batch of the journal comes to, before it is written. */
import type { CopiedExecutions } from "../../postgres/copied_executions.ts";
import type { RunTotals } from "../../postgres/finals.ts";
import type { PackedEvents } from "../../postgres/packed_events.ts";
import type { BlobRecord, ChildRecord, CommandBelow, DeadLetterRecord } from "../../postgres/record.ts";
import type { ExecutionRecord } from "../../postgres/record_executions.ts";
import type { Withdrawn } from "../../redis/announcements.ts";
import type { Burial } from "../../redis/scripts/sweep.ts";
import type { Step } from "../../token/journal.ts";
import type { NodeStatus, RunStatus } from "../../token/lifecycle.ts";
import type { IR } from "../../workflow/ir/ir.ts";

/** A published change of state (CONTRACT, `workflow:{run_id}:state`). */
export interface StateChange {
  instance_id: string;
  /** Absent: the run itself. */
  node_id?: string;
  scope?: string;
  previous_state: NodeStatus | RunStatus;
  new_state: NodeStatus | RunStatus;
  reason: string | null;
  /** ISO 8601. */
  timestamp: string;
  duration_ms?: number;
}

/** A change, before it is known what it was a change from. */
export type NewState = Omit<StateChange, "previous_state">;

/** A run whose counter hit zero in this batch. */
export interface ZeroHit {
  runId: string;
  ir: IR;
  status: "COMPLETED" | "FAILED" | "CANCELLED";
  /** When it started, if it did in this batch. */
  startedAt?: number;
  at: number;
  /** Why the run was halted, if it was. */
  halted?: NonNullable<Step["halted"]>;
  /** The first node that failed unhandled. */
  unhandled?: string;
  /** Its scope. */
  unhandledAt?: string;
  /** JSON text: what its one terminal node returned, if that came in this batch. */
  output?: string;
  /** Of all its executions, where none of them is unknown. */
  totals?: RunTotals;
}

export interface RecordBatch {
  /** Those that are compared with what is on record. */
  executions: ExecutionRecord[];
  /** Those of which nothing can be on record; undefined: all are compared. */
  copied: CopiedExecutions | undefined;
  events: PackedEvents[];
  /** Moments of events that Postgres might not take. */
  oddMoments: readonly number[];
  /** Of runs that are not over yet, or were paused since. */
  starts: { runId: string; at: number }[];
  zeroHits: ZeroHit[];
  /** Changes between RUNNING and PAUSED. */
  statuses: { runId: string; status: "RUNNING" | "PAUSED" }[];
  /** Commands that took effect. */
  commands: number[];
  /** Runs whose waiting executions must be brought in line: halted or resumed. */
  sweeps: { runId: string; halted: boolean }[];
  /** Executions given up after workers died with them. */
  deadLetters: DeadLetterRecord[];
  /** Large outputs, whose content is to be read from Redis. */
  blobs: Omit<BlobRecord, "content">[];
  /** Runs that executions wait for. */
  children: ChildRecord[];
  /** What halted, paused and resumed runs hand down to their child runs, and cancels of those that nobody waits for any more. */
  below: CommandBelow[];
  /** Maps that are gone while items of them may be under way. */
  burials: { runId: string; burial: Burial }[];
  /** Executions that somebody may be performing, and nobody wants. */
  withdrawn: Withdrawn[];
  /** Runs that undo what they did. */
  compensating: { runId: string; ir: IR }[];
  changes: NewState[];
}
