/**
 * From journal entries to rows: pure. The recorder reads entries, this says what they mean in the terms of the workflow file,
 * and the recorder's transaction writes it.
 */
import { presentable } from "../base/text.ts";
import type { BlobRecord, EventRecord, ExecutionRecord } from "../postgres/record.ts";
import type { Finished, JournalEntry, JournalEvent, Step } from "../token/journal.ts";
import type { NodeStatus, RunStatus } from "../token/lifecycle.ts";
import type { IR, IRNode } from "../workflow/ir.ts";

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

/** A run whose counter hit zero in this batch. */
export interface ZeroHit {
  runId: string;
  ir: IR;
  status: "COMPLETED" | "FAILED";
  at: number;
  /** The first node that failed unhandled. */
  unhandled?: string;
}

export interface RecordBatch {
  executions: ExecutionRecord[];
  events: EventRecord[];
  starts: { runId: string; at: number }[];
  zeroHits: ZeroHit[];
  /** Large outputs, whose content is to be read from Redis. */
  blobs: Omit<BlobRecord, "content">[];
  changes: StateChange[];
}

export type FindIR = (runId: string) => IR | undefined;

/** Runs that a list of entries speaks of. */
export function runIdsOf(entries: readonly JournalEntry[]): string[] {
  const ids = entries.flatMap(({ events }) =>
    events.map((event) => (event.kind === "running" ? event.running.id : event.step.id)),
  );
  return [...new Set(ids)];
}

class BatchBuilder {
  readonly batch: RecordBatch = {
    executions: [],
    events: [],
    starts: [],
    zeroHits: [],
    blobs: [],
    changes: [],
  };
  /** One row for each execution: the last word in the batch. */
  readonly #executions = new Map<string, ExecutionRecord>();
  readonly #noted: Set<string>;

  constructor(noted: Set<string>) {
    this.#noted = noted;
  }

  finish(): RecordBatch {
    this.batch.executions = [...this.#executions.values()];
    return this.batch;
  }

  add(event: JournalEvent, entry: JournalEntry, ir: IR): void {
    if (event.kind === "running") this.#running(event.running, ir);
    else if (event.kind === "retrying") this.#retrying(event, entry, ir);
    else if (event.kind === "redelivered") this.#redelivered(event.step, entry, ir);
    else this.#step(event, entry, ir);
  }

  #step(
    event: Extract<JournalEvent, { kind: "started" | "finished" | "settled" }>,
    entry: JournalEntry,
    ir: IR,
  ): void {
    const { step } = event;
    let seq = step.q;
    if (event.kind === "started") {
      this.batch.starts.push({ runId: step.id, at: entry.at });
      this.#event(step.id, seq++, entry, "INFO", "run_started", null, "the run started", {
        activated: step.activated,
      });
      this.#change(step.id, undefined, "PENDING", "RUNNING", entry.at, null);
    }
    if (event.kind === "finished") this.#finished(event.step, seq++, entry, ir, event.detail, event.output);
    for (const skipped of step.skipped) this.#skipped(step.id, seq++, entry, ir, skipped);
    if (step.zero) this.#zero(step, seq, entry, ir);
  }

  #finished(
    step: Finished,
    seq: number,
    entry: JournalEntry,
    ir: IR,
    detail: Extract<JournalEvent, { kind: "finished" }>["detail"],
    output: string,
  ): void {
    const node = nodeOf(ir, step.node);
    const failed = step.outcome === "F";
    const status = failed ? "FAILED" : "COMPLETED";
    const blob = output.startsWith("b") ? output.slice(1) : null;
    if (blob !== null)
      this.batch.blobs.push({ runId: step.id, name: blob, nodeId: node.id, scope: step.scope });
    this.#execution({
      runId: step.id,
      nodeId: node.id,
      scope: step.scope,
      attempt: step.attempt,
      status,
      reason: null,
      workerId: detail.worker,
      startedAt: detail.started_at,
      endedAt: detail.ended_at,
      output: output.startsWith("j") ? output.slice(1) : null,
      outputBlob: blob,
      error: detail.error ?? null,
      fromNodes: detail.from.map((index) => nodeOf(ir, index).id),
    });
    const duration = detail.ended_at - detail.started_at;
    const message = failed
      ? `${node.id} failed: ${presentable(detail.error?.message ?? "")}`
      : `${node.id} completed in ${duration} ms`;
    this.#event(
      step.id,
      seq,
      entry,
      failed ? "ERROR" : "INFO",
      failed ? "node_failed" : "node_completed",
      [node.id, step.scope],
      message,
      {
        attempt: step.attempt,
        delivery: step.delivery,
        arrivals: step.arrivals,
        activated: step.activated,
        ...(detail.error ? { code: detail.error.code } : {}),
        ...(detail.faults ? { condition_faults: detail.faults } : {}),
      },
    );
    const key = executionKey(step.id, node.id, step.scope);
    const previous = this.#noted.delete(key) ? "RUNNING" : "PENDING";
    this.#change(
      step.id,
      [node.id, step.scope],
      previous,
      status,
      detail.ended_at,
      detail.error?.code ?? null,
      duration,
    );
  }

  #retrying(
    { step, detail }: Extract<JournalEvent, { kind: "retrying" }>,
    entry: JournalEntry,
    ir: IR,
  ): void {
    const node = nodeOf(ir, step.node);
    const { error } = detail;
    this.#execution({
      runId: step.id,
      nodeId: node.id,
      scope: step.scope,
      attempt: step.attempt,
      status: "RETRYING",
      reason: null,
      workerId: detail.worker,
      startedAt: detail.started_at,
      endedAt: null,
      output: null,
      outputBlob: null,
      error: error ?? null,
      fromNodes: detail.from.map((index) => nodeOf(ir, index).id),
    });
    const due = new Date(step.due).toISOString();
    const message = `${node.id} failed in attempt ${step.attempt} of ${node.retry.max_attempts}: ${error?.message}; the next is due ${due}`;
    this.#event(step.id, step.q, entry, "WARN", "node_retrying", [node.id, step.scope], message, {
      attempt: step.attempt,
      delivery: step.delivery,
      due,
      error,
    });
    const previous = this.#noted.delete(executionKey(step.id, node.id, step.scope)) ? "RUNNING" : "PENDING";
    this.#change(step.id, [node.id, step.scope], previous, "RETRYING", detail.ended_at, error?.code ?? null);
  }

  #redelivered(
    step: Extract<JournalEvent, { kind: "redelivered" }>["step"],
    entry: JournalEntry,
    ir: IR,
  ): void {
    const { id } = nodeOf(ir, step.node);
    const message = `the worker of ${id} was lost; it is handed out for the ${step.delivery}. time`;
    this.#event(step.id, step.q, entry, "WARN", "node_redelivered", [id, step.scope], message, {
      attempt: step.attempt,
      delivery: step.delivery,
    });
  }

  #running(running: Extract<JournalEvent, { kind: "running" }>["running"], ir: IR): void {
    const node = nodeOf(ir, running.node);
    this.#execution({
      runId: running.id,
      nodeId: node.id,
      scope: running.scope,
      attempt: running.attempt,
      status: "RUNNING",
      reason: null,
      workerId: running.worker,
      startedAt: running.started_at,
      endedAt: null,
      output: null,
      outputBlob: null,
      error: null,
      fromNodes: [],
    });
    this.#noted.add(executionKey(running.id, node.id, running.scope));
    this.#change(running.id, [node.id, running.scope], "PENDING", "RUNNING", running.started_at, null);
  }

  #skipped(runId: string, seq: number, entry: JournalEntry, ir: IR, skipped: Step["skipped"][number]): void {
    const [index, scope, kind, origin] = skipped;
    const node = nodeOf(ir, index);
    const reason = kind === "upstream_failed" ? `upstream_failed: ${nodeOf(ir, origin as number).id}` : kind;
    this.#execution({
      runId,
      nodeId: node.id,
      scope,
      attempt: 0,
      status: "SKIPPED",
      reason,
      workerId: null,
      startedAt: null,
      endedAt: entry.at,
      output: null,
      outputBlob: null,
      error: null,
      fromNodes: [],
    });
    this.#event(
      runId,
      seq,
      entry,
      "INFO",
      "node_skipped",
      [node.id, scope],
      `${node.id} skipped: ${reason}`,
      { reason },
    );
    this.#change(runId, [node.id, scope], "PENDING", "SKIPPED", entry.at, reason);
  }

  #zero(step: Step, seq: number, entry: JournalEntry, ir: IR): void {
    const failed = step.zero === "F";
    const unhandled = step.unhandled === undefined ? undefined : nodeOf(ir, step.unhandled).id;
    this.batch.zeroHits.push({
      runId: step.id,
      ir,
      status: failed ? "FAILED" : "COMPLETED",
      at: entry.at,
      ...(unhandled === undefined ? {} : { unhandled }),
    });
    const message = failed ? `the run failed: node ${unhandled}` : "the run completed";
    this.#event(
      step.id,
      seq,
      entry,
      failed ? "ERROR" : "INFO",
      failed ? "run_failed" : "run_completed",
      null,
      message,
      {},
    );
  }

  #execution(record: ExecutionRecord): void {
    this.#executions.set(executionKey(record.runId, record.nodeId, record.scope), record);
  }

  #event(
    runId: string,
    seq: number,
    entry: JournalEntry,
    level: EventRecord["level"],
    eventType: string,
    node: [string, string] | null,
    message: string,
    data: object,
  ): void {
    const [nodeId, scope] = node ?? [null, null];
    this.batch.events.push({
      runId,
      seq,
      level,
      eventType,
      nodeId,
      scope,
      at: entry.at,
      message,
      data: { journal: entry.seq, ...data },
    });
  }

  #change(
    runId: string,
    node: [string, string] | undefined,
    previous: StateChange["previous_state"],
    next: StateChange["new_state"],
    at: number,
    reason: string | null,
    durationMs?: number,
  ): void {
    this.batch.changes.push({
      instance_id: runId,
      ...(node ? { node_id: node[0], scope: node[1] } : {}),
      previous_state: previous,
      new_state: next,
      reason,
      timestamp: new Date(at).toISOString(),
      ...(durationMs === undefined ? {} : { duration_ms: durationMs }),
    });
  }
}

function nodeOf(ir: IR, index: number): IRNode {
  return ir.nodes[index] as IRNode;
}

function executionKey(runId: string, nodeId: string, scope: string): string {
  return `${runId}/${nodeId}/${scope}`;
}

/**
 * What these entries mean. `noted` holds the executions that are on record as RUNNING; it is kept between batches. Events of
 * runs that `findIR` does not know are left out; the caller reports them.
 */
export function buildRecordBatch(
  entries: readonly JournalEntry[],
  findIR: FindIR,
  noted: Set<string>,
): RecordBatch {
  const builder = new BatchBuilder(noted);
  for (const entry of entries) {
    for (const event of entry.events) {
      const ir = findIR(event.kind === "running" ? event.running.id : event.step.id);
      if (ir) builder.add(event, entry, ir);
    }
  }
  return builder.finish();
}
