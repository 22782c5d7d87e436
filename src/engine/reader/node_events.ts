/** What entries of the journal say of executions, as rows in the terms of the workflow file. */
import { presentable } from "../../base/text.ts";
import type { Finished, JournalEntry, JournalEvent, Step } from "../../token/journal.ts";
import { ARRIVAL, OUTCOME, OUTPUT } from "../../token/letters.ts";
import type { IR, IRNode } from "../../workflow/ir/ir.ts";
import { MOMENT_MS } from "../limits.ts";
import type { BatchRows } from "./batch_rows.ts";
import { NO_EDGE_TAKEN } from "./final_output.ts";

/** The status that a performance ends with. */
const FINAL = {
  [OUTCOME.completed]: "COMPLETED",
  [OUTCOME.failed]: "FAILED",
  [OUTCOME.cancelled]: "CANCELLED",
} as const;

/** An execution without anything to show. */
const NOTHING = {
  reason: null,
  workerId: null,
  startedAt: null,
  endedAt: null,
  output: null,
  outputBlob: null,
  error: null,
  fromNodes: [] as string[],
};

export class NodeEvents {
  readonly #rows: BatchRows;

  constructor(rows: BatchRows) {
    this.#rows = rows;
  }

  finished(
    step: Finished,
    seq: number,
    entry: JournalEntry,
    ir: IR,
    detail: Extract<JournalEvent, { kind: "finished" }>["detail"],
    output: string,
  ): void {
    const node = nodeOf(ir, step.node);
    const status = FINAL[step.outcome];
    const duration = detail.ended_at - detail.started_at;
    const blob = output.startsWith(OUTPUT.blob) ? output.slice(1) : null;
    if (blob !== null)
      this.#rows.batch.blobs.push({ runId: step.id, name: blob, nodeId: node.id, scope: step.scope });
    this.#rows.execution({
      runId: step.id,
      nodeId: node.id,
      scope: step.scope,
      attempt: step.attempt,
      status,
      reason: status === "COMPLETED" && tookNone(step, node) ? NO_EDGE_TAKEN : null,
      workerId: detail.worker,
      startedAt: detail.started_at,
      endedAt: detail.ended_at,
      output: output.startsWith(OUTPUT.json) ? output.slice(1) : null,
      outputBlob: blob,
      error: detail.error ?? null,
      fromNodes: detail.from.map((index) => nodeOf(ir, index).id),
      isFirst: isFirstWord(step, node, duration),
    });
    // A map may fail while items of it are under way.
    const buries = status === "FAILED" && node.map_body !== undefined;
    const [level, type, message] = (
      {
        [OUTCOME.completed]: ["INFO", "node_completed", `${node.id} completed in ${duration} ms`],
        [OUTCOME.failed]: [
          "ERROR",
          "node_failed",
          `${node.id} failed: ${presentable(detail.error?.message ?? "")}`,
        ],
        [OUTCOME.cancelled]: ["INFO", "node_cancelled", `${node.id} was cancelled after ${duration} ms`],
      } as const
    )[step.outcome];
    this.#rows.event(step.id, seq, entry, level, type, [node.id, step.scope], message, {
      attempt: step.attempt,
      delivery: step.delivery,
      arrivals: step.arrivals,
      activated: step.activated,
      ...(detail.error ? { code: detail.error.code } : {}),
      ...(detail.faults ? { condition_faults: detail.faults } : {}),
      ...(step.halted ? { halted: step.halted } : {}),
      ...(buries ? { buries } : {}),
    });
    if (detail.error?.code === "DEAD_LETTER") {
      const { worker } = detail;
      this.#rows.batch.deadLetters.push({
        ...{ runId: step.id, nodeId: node.id, scope: step.scope },
        deliveries: step.delivery - 1,
        losses: detail.losses?.alone ?? 0,
        lastWords: presentable(detail.losses?.words ?? "") || null,
        workerId: worker,
        diedAt: detail.ended_at,
      });
    }
    if (buries) this.#rows.batch.burials.push({ runId: step.id, burial: [step.node, step.scope] });
    this.#rows.change(
      step.id,
      [node.id, step.scope],
      status,
      detail.ended_at,
      detail.error?.code ?? null,
      duration,
    );
  }

  retrying({ step, detail }: Extract<JournalEvent, { kind: "retrying" }>, entry: JournalEntry, ir: IR): void {
    const node = nodeOf(ir, step.node);
    const { error } = detail;
    this.#rows.execution({
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
    this.#rows.event(step.id, step.q, entry, "WARN", "node_retrying", [node.id, step.scope], message, {
      attempt: step.attempt,
      delivery: step.delivery,
      due,
      error,
    });
    this.#rows.change(step.id, [node.id, step.scope], "RETRYING", detail.ended_at, error?.code ?? null);
  }

  redelivered(
    step: Extract<JournalEvent, { kind: "redelivered" }>["step"],
    entry: JournalEntry,
    ir: IR,
  ): void {
    const { id } = nodeOf(ir, step.node);
    const message = `the worker of ${id} was lost; it is handed out for the ${step.delivery}. time`;
    this.#rows.event(step.id, step.q, entry, "WARN", "node_redelivered", [id, step.scope], message, {
      attempt: step.attempt,
      delivery: step.delivery,
      ...(step.lost === undefined ? {} : { workers_lost: step.lost, lost_alone: step.alone ?? 0 }),
      ...(step.words === undefined ? {} : { last_words: presentable(step.words) }),
    });
  }

  running(running: Extract<JournalEvent, { kind: "running" }>["running"], ir: IR): void {
    const node = nodeOf(ir, running.node);
    this.#rows.execution({
      ...NOTHING,
      runId: running.id,
      nodeId: node.id,
      scope: running.scope,
      attempt: running.attempt,
      status: "RUNNING",
      workerId: running.worker,
      startedAt: running.started_at,
    });
    this.#rows.change(running.id, [node.id, running.scope], "RUNNING", running.started_at, null);
  }

  skipped(runId: string, seq: number, entry: JournalEntry, ir: IR, skipped: Step["skipped"][number]): void {
    const [index, scope, kind, origin] = skipped;
    const node = nodeOf(ir, index);
    const reason = origin === undefined ? kind : `${kind}: ${nodeOf(ir, origin).id}`;
    this.#rows.execution({
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
      isFirst: true,
    });
    this.#rows.event(
      runId,
      seq,
      entry,
      "INFO",
      "node_skipped",
      [node.id, scope],
      `${node.id} skipped: ${reason}`,
      { reason },
    );
    this.#rows.change(runId, [node.id, scope], "SKIPPED", entry.at, reason);
  }

  cancelled(
    runId: string,
    seq: number,
    entry: JournalEntry,
    ir: IR,
    cancelled: Step["cancelled"][number],
  ): void {
    const [index, scope, attempt, by] = cancelled;
    const { id, type, map_body } = nodeOf(ir, index);
    const buries = map_body !== undefined && by !== undefined;
    const reason = by === undefined ? "run_halted" : `withdrawn: ${nodeOf(ir, by).id}`;
    this.#rows.execution({
      ...NOTHING,
      runId,
      nodeId: id,
      scope,
      attempt,
      status: "CANCELLED",
      reason,
      endedAt: entry.at,
    });
    const message =
      by === undefined ? `${id} was cancelled before it ran` : `${id} was withdrawn by ${nodeOf(ir, by).id}`;
    this.#rows.event(runId, seq, entry, "INFO", "node_cancelled", [id, scope], message, {
      attempt,
      reason,
      ...(buries ? { buries } : {}),
    });
    this.#rows.change(runId, [id, scope], "CANCELLED", entry.at, reason);
    if (type === "subworkflow") this.#rows.below("cancel").children.push({ runId, nodeId: id, scope });
    if (buries) this.#rows.batch.burials.push({ runId, burial: [index, scope] });
    if (by !== undefined) this.#rows.batch.withdrawn.push({ runId, node: index, scope });
  }

  parked({ step, detail }: Extract<JournalEvent, { kind: "parked" }>, entry: JournalEntry, ir: IR): void {
    const { id } = nodeOf(ir, step.node);
    const { child, items, signal } = detail;
    const due = step.due === undefined ? null : new Date(step.due).toISOString();
    const waitsFor = {
      w: `${due}`,
      s: `signal ${signal}${due === null ? "" : `, until ${due}`}`,
      m: `its items${items ? ` (${items.total} more)` : ""}`,
      c: `run ${child?.run_id}`,
    }[step.park];
    this.#rows.execution({
      runId: step.id,
      nodeId: id,
      scope: step.scope,
      attempt: step.attempt,
      status: "WAITING",
      reason: waitsFor,
      workerId: detail.worker,
      startedAt: detail.started_at,
      endedAt: null,
      output: null,
      outputBlob: null,
      error: null,
      fromNodes: detail.from.map((index) => nodeOf(ir, index).id),
      ...(child ? { childRunId: child.run_id } : {}),
    });
    for (const name of items?.blobs ?? []) {
      this.#rows.batch.blobs.push({ runId: step.id, name, nodeId: id, scope: step.scope });
    }
    if (child) {
      const { run_id, ...rest } = child;
      const parent = { parentRunId: step.id, parentNodeId: id, parentScope: step.scope };
      this.#rows.batch.children.push({ runId: run_id, ...parent, ...rest });
    }
    if (detail.complete) this.#rows.batch.burials.push({ runId: step.id, burial: [step.node, step.scope] });
    const isAsked = detail.complete !== undefined;
    this.#rows.event(
      step.id,
      step.q,
      entry,
      isAsked ? "DEBUG" : "INFO",
      isAsked ? "map_asked" : "node_waiting",
      [id, step.scope],
      `${id} waits for ${waitsFor}`,
      {
        attempt: step.attempt,
        delivery: step.delivery,
        due,
        ...(items ? { items: items.total } : {}),
        ...(isAsked ? { complete: detail.complete } : {}),
        ...(detail.complete ? { buries: true } : {}),
        ...(child ? { child_run_id: child.run_id } : {}),
      },
    );
    this.#rows.change(step.id, [id, step.scope], "WAITING", detail.ended_at, waitsFor);
  }
}

/** `arrivals` is empty for a loop that goes round once more. */
export function tookNone({ arrivals }: Finished, { out }: IRNode): boolean {
  return out.length > 0 && arrivals !== "" && !arrivals.includes(ARRIVAL.taken);
}

/** Types whose executions wait without a worker, which is recorded. */
const WAITS: ReadonlySet<string> = new Set(["wait", "approval", "signal", "map", "subworkflow"]);

/** Can nothing have been recorded of this execution before: no earlier try or delivery, no note that it runs or waits? */
export function isFirstWord({ attempt, delivery }: Finished, { type }: IRNode, durationMs: number): boolean {
  return attempt === 1 && delivery === 1 && durationMs < MOMENT_MS && !WAITS.has(type);
}

export function nodeOf(ir: IR, index: number): IRNode {
  return ir.nodes[index] as IRNode;
}
