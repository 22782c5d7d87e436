/** The rows of a batch, as they are gathered: one for each execution, events and changes of state in order, commands to child runs. */
import { EventPacks, type EventRecord } from "../../postgres/packed_events.ts";
import type { CommandBelow } from "../../postgres/record.ts";
import type { ExecutionRecord } from "../../postgres/record_executions.ts";
import type { JournalEntry, JournalEvent } from "../../token/journal.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { RecordBatch, StateChange } from "./record_types.ts";

/** An execution that was performed. */
export type FinishedEvent = Extract<JournalEvent, { kind: "finished" }>;

export class BatchRows {
  readonly batch: RecordBatch = {
    executions: [],
    copied: undefined,
    events: [],
    oddMoments: [],
    starts: [],
    zeroHits: [],
    statuses: [],
    commands: [],
    sweeps: [],
    deadLetters: [],
    blobs: [],
    children: [],
    below: [],
    burials: [],
    withdrawn: [],
    compensating: [],
    changes: [],
  };

  protected readonly packs = new EventPacks();
  /** The last word of each execution in the batch. */
  readonly #executions = new Map<string, ExecutionRecord>();

  /** Writes an execution that completed as most do, with its event, and tells that it did; the others are told by what follows. */
  completed(_event: FinishedEvent, _entry: JournalEntry, _run: { readonly ir: IR }): boolean {
    return false;
  }

  finish(): RecordBatch {
    const { batch, packs } = this;
    batch.executions = [...this.#executions.values()];
    batch.events = packs.finish();
    batch.oddMoments = packs.odd;
    this.#startAndEndTogether();
    return this.batch;
  }

  /** A run that starts and ends in this batch is written once, unless it is paused between the two. */
  #startAndEndTogether(): void {
    const { starts, zeroHits, statuses } = this.batch;
    if (starts.length === 0 || zeroHits.length === 0) return;
    const startedAt = new Map(starts.map(({ runId, at }) => [runId, at]));
    for (const { runId } of statuses) startedAt.delete(runId);
    const together = new Set<string>();
    for (const hit of zeroHits) {
      const at = startedAt.get(hit.runId);
      if (at === undefined) continue;
      hit.startedAt = at;
      together.add(hit.runId);
    }
    if (together.size > 0) this.batch.starts = starts.filter(({ runId }) => !together.has(runId));
  }

  start(runId: string, at: number): void {
    this.batch.starts.push({ runId, at });
  }

  execution(record: ExecutionRecord): void {
    const key = executionKey(record.runId, record.nodeId, record.scope);
    const earlier = this.#executions.get(key);
    this.#executions.set(key, earlier === undefined ? record : { ...record, ...keptOf(earlier, record) });
  }

  event(
    runId: string,
    seq: number,
    entry: JournalEntry,
    level: EventRecord["level"],
    eventType: string,
    node: [string, string] | null,
    message: string,
    data: Record<string, unknown>,
  ): void {
    const [nodeId, scope] = node ?? [null, null];
    const { at } = entry;
    this.pack({
      runId,
      seq,
      level,
      eventType,
      nodeId,
      scope,
      at,
      message,
      data: { journal: entry.seq, ...data },
    });
  }

  protected pack(record: EventRecord): void {
    this.packs.add(record);
  }

  change(
    runId: string,
    node: [string, string] | undefined,
    next: StateChange["new_state"],
    at: number,
    reason: string | null,
    durationMs?: number,
  ): void {
    this.batch.changes.push({
      instance_id: runId,
      ...(node ? { node_id: node[0], scope: node[1] } : {}),
      new_state: next,
      reason,
      timestamp: new Date(at).toISOString(),
      ...(durationMs === undefined ? {} : { duration_ms: durationMs }),
    });
  }

  /** The last of the commands to child runs, if it is of this kind, or a new one. */
  below(kind: CommandBelow["kind"]): CommandBelow {
    const last = this.batch.below.at(-1);
    if (last?.kind === kind) return last;
    const next = { kind, parents: [], children: [] };
    this.batch.below.push(next);
    return next;
  }
}

/** What is left of the earlier word on an execution, as it is where that is on record already (`recordExecutions`). */
function keptOf(earlier: ExecutionRecord, record: ExecutionRecord): Partial<ExecutionRecord> {
  const childRunId = record.childRunId ?? earlier.childRunId;
  return {
    startedAt: earlier.status === "WAITING" ? earlier.startedAt : record.startedAt,
    ...(childRunId === undefined ? {} : { childRunId }),
    isFirst: false,
  };
}

/** Names an execution among those of all runs. */
export function executionKey(runId: string, nodeId: string, scope: string): string {
  return `${runId}/${nodeId}/${scope}`;
}
