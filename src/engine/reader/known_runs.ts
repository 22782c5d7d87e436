/** What a reader knows of the runs of its partition: read once, the oldest used go when there are too many. */
import type { Log } from "../../base/log.ts";
import type { Database } from "../../postgres/database.ts";
import { type RunOnRecord, readRunsOnRecord } from "../../postgres/record.ts";
import { type JournalEntry, type JournalEvent, runOf } from "../../token/journal.ts";
import { isFinalRunStatus, type RunStatus } from "../../token/lifecycle.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { IRCache } from "../ir_cache.ts";
import { BatchRun, KnownRun } from "./batch_run.ts";
import type { RecordBatch } from "./record_types.ts";

const KEPT = 50_000;
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;

/** Entries as they are to be recorded. */
export interface Recordable {
  /** Without the events of runs of which something was set aside. */
  entries: readonly JournalEntry[];
  /** The runs that they speak of. */
  runs: ReadonlyMap<string, BatchRun>;
  /** Those events. */
  left: JournalEvent[];
}

export class KnownRuns {
  readonly #partition: number;
  readonly #database: Database;
  readonly #irs: IRCache;
  readonly #log: Log;
  readonly #runs = new Map<string, KnownRun>();

  constructor(partition: number, database: Database, irs: IRCache, log: Log) {
    this.#partition = partition;
    this.#database = database;
    this.#irs = irs;
    this.#log = log;
  }

  /** What a run of this partition runs. */
  async irOf(runId: string): Promise<{ digest: string; ir: IR } | undefined> {
    const digest = (await this.#read([runId])).get(runId)?.digest;
    return digest === undefined ? undefined : { digest, ir: await this.#irs.get(digest) };
  }

  /** Is it a run of this partition? */
  async has(runId: string): Promise<boolean> {
    return (await this.#read([runId])).has(runId);
  }

  /** Was something of it set aside? Then what comes of it is only counted. */
  async isCutOff(runId: string): Promise<boolean> {
    return (await this.#read([runId])).get(runId)?.refused === true;
  }

  /** A run that is over, or of which something was set aside. */
  forget(runId: string): void {
    this.#runs.delete(runId);
  }

  /** Undefined: nobody asked yet, or it was forgotten. */
  get(runId: string): KnownRun | undefined {
    return this.#runs.get(runId);
  }

  /** @throws HitzeroError when the IR of a run cannot be used */
  async sort(entries: readonly JournalEntry[]): Promise<Recordable> {
    const known = await this.#read(runIdsOf(entries));
    const irs = new Map<string, IR>();
    const runs = new Map<string, BatchRun>();
    let isSomeRefused = false;
    for (const run of known.values()) {
      const ir = irs.get(run.digest) ?? (await this.#irs.get(run.digest));
      irs.set(run.digest, ir);
      runs.set(run.runId, new BatchRun(run, ir));
      isSomeRefused ||= run.refused;
    }
    if (!isSomeRefused) return { entries, runs, left: [] };
    const isLeft = (event: JournalEvent) => known.get(runOf(event))?.refused === true;
    return {
      entries: entries.map((entry) => ({
        ...entry,
        events: entry.events.filter((event) => !isLeft(event)),
      })),
      runs,
      left: entries.flatMap(({ events }) => events.filter(isLeft)),
    };
  }

  /** A batch is on record, which was written as it was expected to be. */
  note(batch: RecordBatch, runs: ReadonlyMap<string, BatchRun>): void {
    for (const { runId } of batch.starts) this.#moved(runs, runId, "RUNNING");
    for (const { runId, status } of batch.statuses) this.#moved(runs, runId, status);
    for (const { runId } of batch.blobs) (runs.get(runId) as BatchRun).known.hasBlobs = true;
    for (const { runId, lastSeq } of batch.events) (runs.get(runId) as BatchRun).known.lastSeq = lastSeq;
    for (const { known, totals } of runs.values()) known.totals = totals;
  }

  #moved(runs: ReadonlyMap<string, BatchRun>, runId: string, status: RunStatus): void {
    const known = (runs.get(runId) as BatchRun).known;
    if (!isFinalRunStatus(known.status)) known.status = status;
  }

  async #read(runIds: Iterable<string>): Promise<Map<string, KnownRun>> {
    const found = new Map<string, KnownRun>();
    const unknown: string[] = [];
    for (const runId of runIds) {
      const run = this.#runs.get(runId);
      if (run !== undefined) found.set(runId, run);
      else if (UUID.test(runId)) unknown.push(runId);
      else this.#missed(runId);
    }
    if (unknown.length === 0) return found;
    const read = await readRunsOnRecord(this.#database, this.#partition, unknown);
    for (const runId of unknown) {
      // What was asked meanwhile for somebody else is at least as new: a batch may have moved it on.
      const earlier = this.#runs.get(runId);
      const onRecord = read.get(runId);
      if (earlier === undefined && onRecord === undefined) this.#missed(runId);
      else found.set(runId, earlier ?? new KnownRun(runId, onRecord as RunOnRecord));
    }
    for (const [runId, run] of found) this.#runs.set(runId, run);
    while (this.#runs.size > KEPT + found.size) this.#runs.delete(this.#runs.keys().next().value as string);
    return found;
  }

  #missed(runId: string): void {
    this.#log.error({ run_id: runId }, "the journal speaks of a run that the record does not know");
  }
}

function runIdsOf(entries: readonly JournalEntry[]): Set<string> {
  const runIds = new Set<string>();
  for (const { events } of entries) for (const event of events) runIds.add(runOf(event));
  return runIds;
}
