/** What a reader knows of the runs of its partition: read once, the oldest used go when there are too many. */
import type { Log } from "../../base/log.ts";
import type { Database } from "../../postgres/database.ts";
import { type RunOnRecord, readRunsOnRecord } from "../../postgres/record.ts";
import { type JournalEntry, type JournalEvent, runOf } from "../../token/journal.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { IRCache } from "../ir_cache.ts";
import { type FindIR, runIdsOf } from "./record_batch.ts";

const KEPT = 50_000;
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;

/** Entries as they are to be recorded. */
export interface Recordable {
  /** Without the events of runs of which something was set aside. */
  entries: JournalEntry[];
  findIR: FindIR;
  /** Those events. */
  left: JournalEvent[];
}

export class KnownRuns {
  readonly #partition: number;
  readonly #database: Database;
  readonly #irs: IRCache;
  readonly #log: Log;
  readonly #runs = new Map<string, RunOnRecord>();

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

  /** @throws HitzeroError when the IR of a run cannot be used */
  async sort(entries: readonly JournalEntry[]): Promise<Recordable> {
    const runs = await this.#read(runIdsOf(entries));
    const irs = new Map<string, IR>();
    for (const [runId, { digest }] of runs) irs.set(runId, await this.#irs.get(digest));
    const isLeft = (event: JournalEvent) => runs.get(runOf(event))?.refused === true;
    return {
      entries: entries.map((entry) => ({
        ...entry,
        events: entry.events.filter((event) => !isLeft(event)),
      })),
      findIR: (runId) => irs.get(runId),
      left: entries.flatMap(({ events }) => events.filter(isLeft)),
    };
  }

  async #read(runIds: readonly string[]): Promise<Map<string, RunOnRecord>> {
    const unknown = runIds.filter((runId) => !this.#runs.has(runId) && UUID.test(runId));
    const read = await readRunsOnRecord(this.#database, this.#partition, unknown);
    for (const [runId, run] of read) this.#runs.set(runId, run);
    while (this.#runs.size > KEPT + runIds.length)
      this.#runs.delete(this.#runs.keys().next().value as string);
    const found = new Map<string, RunOnRecord>();
    for (const runId of runIds) {
      const run = this.#runs.get(runId);
      if (run) found.set(runId, run);
      else this.#log.error({ run_id: runId }, "the journal speaks of a run that the record does not know");
    }
    return found;
  }
}
