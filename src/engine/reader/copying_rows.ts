/**
 * The rows of a batch where executions of which nothing can be on record are copied. Those that completed as most do, in their first attempt and
 * without more ado, become bytes and event at once, by what their nodes have in common; all others are records first.
 */
import {
  CopiedExecutions,
  canBeCopied,
  completedBytes,
  fromBytes,
  isPlainMoment,
  workerBytes,
} from "../../postgres/copied_executions.ts";
import { noTotals } from "../../postgres/finals.ts";
import type { ExecutionRecord } from "../../postgres/record_executions.ts";
import type { JournalEntry, Step } from "../../token/journal.ts";
import { OUTCOME, OUTPUT } from "../../token/letters.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { BatchRows, type FinishedEvent } from "./batch_rows.ts";
import { BatchRun } from "./batch_run.ts";
import { isFirstWord, nodeOf, tookNone } from "./node_events.ts";
import type { RecordBatch } from "./record_types.ts";

/** Texts that stand in JSON as they are. */
const PLAIN_SCOPE = /^[\w:/-]*$/;
const PLAIN_ARRIVALS = /^[=\w]*$/;

export class CopyingRows extends BatchRows {
  readonly #runs: ReadonlyMap<string, BatchRun>;
  readonly #copied = new CopiedExecutions();

  /** `runs`: those of the batch. */
  constructor(runs: ReadonlyMap<string, BatchRun>) {
    super();
    this.#runs = runs;
  }

  override start(runId: string, at: number): void {
    super.start(runId, at);
    const run = this.#runs.get(runId);
    if (run?.isNew) run.totals = noTotals();
  }

  override completed(event: FinishedEvent, entry: JournalEntry, run: { readonly ir: IR }): boolean {
    if (!(run instanceof BatchRun) || !isPlain(event, entry)) return false;
    const { step, detail, output } = event;
    const { ir } = run;
    const node = nodeOf(ir, step.node);
    const durationMs = detail.ended_at - detail.started_at;
    if (!isFirstWord(step, node, durationMs) || tookNone(step, node)) return false;
    const json = output.slice(1);
    const place = step.scope === "" ? placeOf(ir, step.node) : completedBytes(node.id, step.scope);
    this.#copied.addCompleted(
      run.bytes,
      place,
      workerOf(detail.worker),
      detail.started_at,
      detail.ended_at,
      json,
      sourcesOf(ir, detail.from),
    );
    run.pack ??= this.packs.of(run.runId);
    const activated = activatedJson(step.activated);
    const { q, scope, arrivals } = step;
    run.pack.addCompleted(q, entry.at, entry.seq, node.id, scope, durationMs, arrivals, activated);
    if (run.totals !== undefined) {
      run.totals.completed += 1;
      run.totals.handlerMs += durationMs;
    }
    if (node.terminal && isItsOutput(ir, step.node)) run.output = json;
    return true;
  }

  /** Nobody asks while they are gathered; `announce.ts` asks for those that are heard. */
  override change(): void {}

  override finish(): RecordBatch {
    const batch = super.finish();
    batch.executions = batch.executions.filter((record) => !this.#copy(record));
    batch.copied = this.#copied;
    for (const hit of batch.zeroHits) {
      const run = this.#runs.get(hit.runId);
      const isPlain = hit.status === "COMPLETED" && hit.unhandled === undefined;
      if (run?.output !== undefined && isPlain) hit.output = run.output;
      // Of a run that was halted, executions that never came about are on record, too.
      if (run?.totals !== undefined && hit.halted === undefined) hit.totals = run.totals;
    }
    return batch;
  }

  #copy(record: ExecutionRecord): boolean {
    const run = this.#runs.get(record.runId);
    const isCopied = canBeCopied(record);
    if (isCopied) this.#copied.add(record);
    if (run?.totals === undefined) return isCopied;
    if (!isCopied) run.totals = undefined;
    else {
      const { startedAt, endedAt, status } = record;
      if (status === "COMPLETED") run.totals.completed += 1;
      else if (status === "FAILED") run.totals.failed += 1;
      else if (status === "SKIPPED") run.totals.skipped += 1;
      else run.totals = undefined;
      if (run.totals && startedAt !== null && endedAt !== null) run.totals.handlerMs += endedAt - startedAt;
    }
    return isCopied;
  }
}

/** Is what this node returns the run's output? */
function isItsOutput(ir: IR, node: number): boolean {
  return (
    ir.output === undefined && ir.terminals.length === 1 && ir.ends.length === 0 && nodeOf(ir, node).body < 0
  );
}

/** Can all that there is to say of it be said in the short form? */
function isPlain({ step, detail, output }: FinishedEvent, entry: JournalEntry): boolean {
  return (
    step.outcome === OUTCOME.completed &&
    output.startsWith(OUTPUT.json) &&
    setsOffNothing(step) &&
    detail.error === undefined &&
    detail.faults === undefined &&
    isPlainMoment(entry.at) &&
    isPlainMoment(detail.started_at) &&
    isPlainMoment(detail.ended_at) &&
    (step.scope === "" || PLAIN_SCOPE.test(step.scope)) &&
    PLAIN_ARRIVALS.test(step.arrivals) &&
    detail.worker.isWellFormed()
  );
}

/** But for what it activates, and the end of its run. */
function setsOffNothing(step: Step): boolean {
  return (
    step.skipped.length === 0 &&
    step.cancelled.length === 0 &&
    !step.compensating &&
    step.halted === undefined &&
    step.unhandled === undefined
  );
}

/** The shortest and most frequent lists are put together here, as JSON.stringify would. */
function activatedJson(activated: Step["activated"]): string {
  const [only] = activated;
  if (only === undefined) return "[]";
  if (activated.length > 1 || only[1] !== "") return JSON.stringify(activated);
  return only[2] === undefined ? `[[${only[0]},""]]` : `[[${only[0]},"",[${only[2].join(",")}]]]`;
}

/** Bytes that rows have in common, by what they say; as many as there can be different ones within reason. */
const MOST_KEPT = 10_000;
const ofWorkers = new Map<string, Uint8Array>();
const ofNodes = new WeakMap<IR, { places: Uint8Array[]; sources: Map<string, Uint8Array> }>();

function kept(all: Map<string, Uint8Array>, key: string, make: () => Uint8Array): Uint8Array {
  let bytes = all.get(key);
  if (bytes === undefined) {
    bytes = make();
    if (all.size >= MOST_KEPT) all.clear();
    all.set(key, bytes);
  }
  return bytes;
}

const workerOf = (worker: string) => kept(ofWorkers, worker, () => workerBytes(worker));

function keptOf(ir: IR) {
  let known = ofNodes.get(ir);
  if (known === undefined) {
    known = { places: [], sources: new Map() };
    ofNodes.set(ir, known);
  }
  return known;
}

/** Outside of bodies. */
function placeOf(ir: IR, node: number): Uint8Array {
  const { places } = keptOf(ir);
  places[node] ??= completedBytes(nodeOf(ir, node).id, "");
  return places[node];
}

function sourcesOf(ir: IR, from: readonly number[]): Uint8Array {
  return kept(keptOf(ir).sources, from.join(), () => fromBytes(from.map((index) => nodeOf(ir, index).id)));
}
