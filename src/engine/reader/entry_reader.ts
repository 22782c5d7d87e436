/** Turns entries into rows, in the terms of the workflow file: what they say of runs, and with `node_events.ts`, of executions. */
import type { CommandBelow } from "../../postgres/record.ts";
import type { Commanded, JournalEntry, JournalEvent, Step } from "../../token/journal.ts";
import { type Letter, STATUS } from "../../token/letters.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { BatchRows } from "./batch_rows.ts";
import { NodeEvents, nodeOf } from "./node_events.ts";

/** Why a run failed, when no node is to blame. */
const HALTS: Record<string, string | undefined> = { time_out: "it timed out", stuck: "no activity" };

type Of<Kind extends JournalEvent["kind"]> = Extract<JournalEvent, { kind: Kind }>;

export class EntryReader {
  readonly #rows: BatchRows;
  readonly #nodes: NodeEvents;

  constructor(rows: BatchRows) {
    this.#rows = rows;
    this.#nodes = new NodeEvents(rows);
  }

  add(event: JournalEvent, entry: JournalEntry, ir: IR): void {
    if (event.kind === "running") this.#nodes.running(event.running, ir);
    else if (event.kind === "retrying") this.#nodes.retrying(event, entry, ir);
    else if (event.kind === "parked") this.#parked(event, entry, ir);
    else if (event.kind === "commanded") this.#commanded(event.step, entry, ir);
    else if (event.kind === "redelivered") this.#nodes.redelivered(event.step, entry, ir);
    else this.#step(event, entry, ir);
  }

  /** What follows from an execution that completed, when that itself is written. */
  addRest(step: Step, entry: JournalEntry, ir: IR): void {
    this.#rest(step, step.q + 1, entry, ir);
  }

  #finished(event: Of<"finished">, seq: number, entry: JournalEntry, ir: IR): void {
    const { step, detail, output } = event;
    this.#nodes.finished(step, seq, entry, ir, detail, output);
    if (step.halted === "fail_fast") this.#halted(step.id, ir);
  }

  #parked(event: Of<"parked">, entry: JournalEntry, ir: IR): void {
    this.#nodes.parked(event, entry, ir);
    this.#rest(event.step, event.step.q + 1, entry, ir);
  }

  #step(
    event: Extract<JournalEvent, { kind: "started" | "finished" | "settled" }>,
    entry: JournalEntry,
    ir: IR,
  ): void {
    const { step } = event;
    let seq = step.q;
    if (event.kind === "started") {
      this.#rows.start(step.id, entry.at);
      this.#rows.event(step.id, seq++, entry, "INFO", "run_started", null, "the run started", {
        activated: step.activated,
      });
      this.#rows.change(step.id, undefined, "RUNNING", entry.at, null);
      if (event.step.paused) {
        this.#rows.event(
          step.id,
          seq++,
          entry,
          "INFO",
          "run_paused",
          null,
          "the run is paused as its parent is",
          {},
        );
        this.#paused(step.id, entry);
      }
    }
    if (event.kind === "finished") this.#finished(event, seq++, entry, ir);
    this.#rest(step, seq, entry, ir);
  }

  /** What a step set off besides: its events follow its own. */
  #rest(step: Step, from: number, entry: JournalEntry, ir: IR): void {
    let seq = from;
    for (const cancelled of step.cancelled) this.#nodes.cancelled(step.id, seq++, entry, ir, cancelled);
    for (const skipped of step.skipped) this.#nodes.skipped(step.id, seq++, entry, ir, skipped);
    if (step.compensating) this.#rows.batch.compensating.push({ runId: step.id, ir });
    if (step.zero) this.#zero(step, seq, entry, ir);
  }

  #halted(runId: string, ir: IR): void {
    this.#rows.batch.sweeps.push({ runId, halted: true });
    this.#handDown("cancel", runId, ir);
  }

  #handDown(kind: CommandBelow["kind"], runId: string, ir: IR): void {
    if (ir.nodes.some(({ type }) => type === "subworkflow")) this.#rows.below(kind).parents.push(runId);
  }

  #paused(runId: string, entry: JournalEntry): void {
    this.#rows.batch.statuses.push({ runId, status: "PAUSED" });
    this.#rows.change(runId, undefined, "PAUSED", entry.at, null);
  }

  #commanded(step: Commanded, entry: JournalEntry, ir: IR): void {
    if (step.seq > 0) this.#rows.batch.commands.push(step.seq);
    const [type, message] = (
      {
        cancel: ["run_cancelling", "the run is being cancelled"],
        time_out: ["run_timed_out", `the run timed out after ${ir.timeout_ms} ms`],
        stuck: ["run_stuck", "nothing of the run is in reach"],
        pause: ["run_paused", "the run is paused"],
        resume: ["run_resumed", "the run goes on"],
        signal: ["signal_given", signalMessage(step, ir)],
      } as const
    )[step.kind];
    this.#rows.event(
      step.id,
      step.q,
      entry,
      step.kind === "time_out" || step.kind === "stuck" ? "ERROR" : "INFO",
      type,
      null,
      message,
      {
        command: step.seq,
        ...(step.kind === "signal" ? { name: step.name, fate: step.fate } : {}),
      },
    );
    if (step.kind === "pause" || step.kind === "resume") this.#handDown(step.kind, step.id, ir);
    if (step.kind === "pause") this.#paused(step.id, entry);
    else if (step.kind !== "cancel" && step.kind !== "signal") {
      this.#rows.batch.statuses.push({ runId: step.id, status: "RUNNING" });
      if (step.kind === "resume") this.#rows.change(step.id, undefined, "RUNNING", entry.at, null);
    }
    if (step.kind === "resume" && !step.zero) this.#rows.batch.sweeps.push({ runId: step.id, halted: false });
    else if (step.kind !== "pause" && step.kind !== "signal" && !step.zero) this.#halted(step.id, ir);
    this.#rest(step, step.q + 1, entry, ir);
  }

  #zero(step: Step, seq: number, entry: JournalEntry, ir: IR): void {
    const unhandled = step.unhandled === undefined ? undefined : nodeOf(ir, step.unhandled).id;
    const why = HALTS[step.halted ?? "fail_fast"] ?? `node ${unhandled}`;
    const [status, level, type, message] = (
      {
        [STATUS.completed]: ["COMPLETED", "INFO", "run_completed", "the run completed"],
        [STATUS.failed]: ["FAILED", "ERROR", "run_failed", `the run failed: ${why}`],
        [STATUS.cancelled]: ["CANCELLED", "INFO", "run_cancelled", "the run is cancelled"],
      } as const
    )[step.zero as Letter<typeof STATUS>];
    this.#rows.batch.zeroHits.push({
      runId: step.id,
      ir,
      status,
      at: entry.at,
      ...(unhandled === undefined ? {} : { unhandled, unhandledAt: step.unhandled_at ?? "" }),
      ...(step.halted === undefined ? {} : { halted: step.halted }),
    });
    this.#rows.event(step.id, seq, entry, level, type, null, message, {});
  }
}

function signalMessage(step: Commanded, ir: IR): string {
  if (step.fate === "taken") return `signal ${step.name} was given to ${nodeOf(ir, step.node as number).id}`;
  const fate =
    step.fate === "kept" ? "is kept for the next that waits for it" : "found nobody waiting and is dropped";
  return `signal ${step.name} ${fate}`;
}
