/**
 * The recorder of one partition, and its completion supervisor: one reader, one transaction.
 *
 * Owns: history and final statuses of the partition's runs, and how far the journal is recorded. Invariants: a batch is written only
 * while term, epoch and offset are what this reader took (compared in the transaction itself); what happens in Redis afterwards (forget
 * the finished, trim, announce) follows the commit. A crash between the two is mended by the next reader, which repeats it.
 */

import { HitzeroError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { closeCommands } from "../postgres/commands.ts";
import { type Database, isDataFault, type Queryable } from "../postgres/database.ts";
import { moveOffset, type PartitionRow } from "../postgres/partitions.ts";
import {
  type ChildRecord,
  type CommandBelow,
  commandChildren,
  type EndedChild,
  nodesOnRecord,
  type RecordedOutput,
  readDigests,
  readEndedChildren,
  readInput,
  readOutputs,
  readPaused,
  readUnrecorded,
  recordBlobs,
  recordChildren,
  recordDeadLetters,
  recordEvents,
  recordExecutions,
  recordFinals,
  recordNeverActivated,
  recordStarts,
  recordStatuses,
} from "../postgres/record.ts";
import { stateChannel } from "../redis/keys.ts";
import type { Partition } from "../redis/partition.ts";
import { type Burial, compensateNext, dropTimeLimits, type Withdrawn, wakeParent } from "../redis/upkeep.ts";
import { decodeJournalEntry, type JournalEntry, type JournalEvent } from "../token/journal.ts";
import type { IR } from "../workflow/ir.ts";
import { finalOf, outputsWanted } from "./final_output.ts";
import type { IRCache } from "./ir_cache.ts";
import { READER_LEASE_MS, RECORD_BATCH } from "./limits.ts";
import { buildRecordBatch, runIdsOf } from "./record_batch.ts";
import type { RecordBatch, StateChange, ZeroHit } from "./record_types.ts";
import type { ChildEnd } from "./waiting.ts";

/** The journal does not continue the record: Redis lost history. */
export class HistoryLostError extends HitzeroError {
  constructor(partition: number, what: string) {
    super("HISTORY_LOST", `Redis lost history of partition ${partition}: ${what}`, {
      hint: "Was Redis flushed, restored from a copy, or run without append-only file? The record in Postgres is intact.",
      exitCode: 3,
    });
  }
}

const DIGESTS_KEPT = 50_000;

export class Recorder {
  /** The lease under which this recorder writes; its offset moves with every batch. */
  readonly row: PartitionRow;
  /** Runs that were halted (true) or resumed: their waiting executions are to be brought in line. */
  readonly sweeps = new Map<string, boolean>();
  /** Some of them came since the last sweep. */
  unswept = false;
  /** It gave commands itself, to child runs. */
  commanded = false;
  /** Executions whose workers are to be told that nobody wants them. */
  readonly withdrawn: Withdrawn[] = [];
  /** Maps that are gone, of whose items the rest is to be withdrawn. */
  readonly burials: { runId: string; burial: Burial }[] = [];
  /** Child runs to be started. */
  readonly children: (ChildRecord & { paused: boolean })[] = [];
  readonly #partition: Partition;
  readonly #database: Database;
  readonly #irs: IRCache;
  readonly #log: Log;
  readonly #digests = new Map<string, string>();
  readonly #noted = new Set<string>();

  constructor(row: PartitionRow, partition: Partition, database: Database, irs: IRCache, log: Log) {
    this.row = row;
    this.#partition = partition;
    this.#database = database;
    this.#irs = irs;
    this.#log = log;
  }

  /** Records the next entries, if any; answers how many. Each read begins at the last recorded entry, which must be the same. */
  async recordNext(): Promise<number> {
    const { recorded_seq: recorded, recorded_call: call, partition } = this.row;
    const raw = await this.#partition.readJournal(recorded, RECORD_BATCH + 1);
    const entries = raw.map(([id, fields]) => decodeJournalEntry(id, fields));
    if (recorded > 0) {
      const last = entries.shift();
      if (last?.seq !== recorded) throw new HistoryLostError(partition, `entry ${recorded} is missing`);
      if (last.call !== call)
        throw new HistoryLostError(partition, `entry ${recorded} is another than the one recorded`);
    }
    entries.forEach((entry, index) => {
      if (entry.seq !== recorded + index + 1)
        throw new HistoryLostError(partition, `entry ${recorded + index + 1} is missing`);
    });
    if (entries.length > 0) await this.#recordBisecting(entries);
    return entries.length;
  }

  /** What an earlier reader may have left undone: entries that are recorded and still there. */
  async repeatCleanUp(): Promise<void> {
    let from = 0;
    while (from < this.row.recorded_seq) {
      const raw = await this.#partition.readJournal(from, RECORD_BATCH);
      const entries = raw
        .map(([id, fields]) => decodeJournalEntry(id, fields))
        .filter((entry) => entry.seq <= this.row.recorded_seq);
      const last = entries.at(-1);
      if (!last) return;
      const batch = buildRecordBatch(entries, await this.#findIRs(entries), new Set());
      await this.#cleanUp(batch, last.seq);
      if (last.seq === from) return;
      from = last.seq;
    }
  }

  /** A batch that Postgres refuses is halved until the entry at fault stands alone; that one is recorded with a substitute. */
  async #recordBisecting(entries: readonly JournalEntry[]): Promise<void> {
    try {
      await this.#record(entries);
    } catch (error) {
      if (!isDataFault(error)) throw error;
      if (entries.length > 1) {
        const half = entries.length >> 1;
        await this.#recordBisecting(entries.slice(0, half));
        await this.#recordBisecting(entries.slice(half));
        return;
      }
      const entry = entries[0] as JournalEntry;
      this.#log.error(
        { partition: this.row.partition, seq: entry.seq, error: String(error) },
        "Postgres refuses an entry",
      );
      await this.#record([substitute(entry, (error as { code?: string }).code ?? "")]);
    }
  }

  async #record(entries: readonly JournalEntry[]): Promise<void> {
    const last = entries.at(-1) as JournalEntry;
    const batch = buildRecordBatch(entries, await this.#findIRs(entries), this.#noted);
    const blobs = await Promise.all(
      batch.blobs.map(async (blob) => {
        const content = await this.#partition.readBlob(blob.runId, blob.name);
        return {
          ...blob,
          content:
            content ?? JSON.stringify({ error: { code: "BLOB_LOST", message: "the output was lost" } }),
        };
      }),
    );
    const pausedParents = await this.#database.transaction(async (client) => {
      const written = await recordExecutions(client, batch.executions);
      if (written !== batch.executions.length) {
        this.#log.error(
          { partition: this.row.partition, seq: last.seq, refused: batch.executions.length - written },
          "illegal transitions were refused",
        );
      }
      await recordEvents(client, batch.events);
      await recordBlobs(client, blobs);
      await recordStarts(client, batch.starts);
      await recordDeadLetters(client, batch.deadLetters);
      await recordStatuses(client, batch.statuses);
      await closeCommands(client, batch.commands, "applied");
      // A child that is new begins as its parent is by now: a pause reaches those before it, a cancel it too.
      const paused = await readPaused(
        client,
        batch.children.map(({ parentRunId }) => parentRunId),
      );
      const isCancel = ({ kind }: CommandBelow) => kind === "cancel";
      await commandChildren(
        client,
        batch.below.filter((command) => !isCancel(command)),
      );
      await recordChildren(client, batch.children);
      await commandChildren(client, batch.below.filter(isCancel));
      const halted = batch.zeroHits.filter((hit) => hit.halted !== undefined);
      await recordNeverActivated(
        client,
        halted.map(({ runId, ir, at, halted: reason }) => ({
          runId,
          nodeIds: nodesOnRecord(ir),
          at,
          reason: reason as string,
        })),
      );
      const finals = await this.#finals(client, batch.zeroHits);
      await recordFinals(client, finals);
      for (const final of finals) batch.changes.push(finalChange(final));
      await moveOffset(client, this.row, { seq: last.seq, call: last.call }, READER_LEASE_MS);
      return paused;
    });
    for (const { runId, halted } of batch.sweeps) this.sweeps.set(runId, halted);
    this.unswept ||= batch.sweeps.length > 0;
    this.commanded ||= batch.below.length > 0;
    for (const child of batch.children) {
      this.children.push({ ...child, paused: pausedParents.has(child.parentRunId) });
    }
    this.withdrawn.push(...batch.withdrawn);
    this.burials.push(...batch.burials);
    for (const { runId } of batch.zeroHits) this.sweeps.delete(runId);
    this.row.recorded_seq = last.seq;
    this.row.recorded_call = last.call;
    await this.#cleanUp(batch, last.seq);
    await this.#publish(batch.changes);
  }

  async #finals(client: Queryable, hits: readonly ZeroHit[]) {
    const wanted = hits.flatMap(outputsWanted);
    const byRun = new Map<string, Map<string, RecordedOutput>>();
    for (const row of await readOutputs(client, wanted)) {
      const outputs = byRun.get(row.run_id) ?? new Map();
      byRun.set(row.run_id, outputs.set(row.node_id, row));
    }
    const finals = [];
    for (const hit of hits) {
      const input = hit.ir.output === undefined ? null : await readInput(client, hit.runId);
      const waitedFor = hit.halted === "stuck" ? await readUnrecorded(client, hit.runId, hit.ir) : [];
      finals.push(finalOf(hit, byRun.get(hit.runId) ?? new Map(), input, waitedFor));
    }
    return finals;
  }

  /** After the commit: what waits for it goes on, the finished runs go, then the journal behind the record. */
  async #cleanUp(batch: RecordBatch, recorded: number): Promise<void> {
    const finished = batch.zeroHits.map(({ runId }) => runId);
    for (const child of await readEndedChildren(this.#database, finished)) await this.#wakeParent(child);
    for (const { runId, ir } of batch.compensating) await compensateNext(this.#partition, runId, ir);
    const blobs = new Map<string, string[]>(finished.map((runId) => [runId, []]));
    if (finished.length > 0) {
      const { rows } = await this.#database.query<{ run_id: string; name: string }>(
        "select run_id, name from hitzero.blobs where run_id = any ($1::uuid[])",
        [finished],
      );
      for (const row of rows) blobs.get(row.run_id)?.push(row.name);
    }
    for (const runId of finished) this.#digests.delete(runId);
    await dropTimeLimits(
      this.#partition,
      batch.zeroHits.filter(({ ir }) => ir.timeout_ms > 0).map(({ runId }) => ({ runId, generation: 1 })),
    );
    await this.#partition.forget(
      recorded,
      [...blobs].map(([runId, names]) => ({ runId, blobs: names })),
    );
  }

  async #wakeParent(child: EndedChild): Promise<void> {
    const {
      parent_run_id: runId,
      parent_node_id: nodeId,
      parent_scope: scope,
      run_id,
      status,
      output,
      error,
    } = child;
    const known = await this.irOf(runId);
    if (!known) return;
    const node = known.ir.nodes.findIndex(({ id }) => id === nodeId);
    const end: ChildEnd = { run_id, status, output, error };
    await wakeParent(this.#partition, { runId, ...known }, { node, scope, ended: JSON.stringify(end) });
  }

  /** Announces what is committed. Nobody listening costs two calls, not one for each change. */
  async #publish(changes: readonly StateChange[]): Promise<void> {
    if (changes.length === 0) return;
    const { redis } = this.#partition.connection;
    const [channels, patterns] = await Promise.all([
      redis.pubsub("CHANNELS", "workflow:*:state") as unknown as Promise<string[]>,
      redis.pubsub("NUMPAT") as unknown as Promise<number>,
    ]);
    const heard = new Set(channels);
    const pipeline = redis.pipeline();
    for (const change of changes) {
      const channel = stateChannel(change.instance_id);
      if (patterns > 0 || heard.has(channel)) pipeline.publish(channel, JSON.stringify(change));
    }
    if (pipeline.length > 0) await pipeline.exec();
  }

  /** What a run of this partition runs. */
  async irOf(runId: string): Promise<{ digest: string; ir: IR } | undefined> {
    const digest = this.#digests.get(runId) ?? (await readDigests(this.#database, [runId])).get(runId);
    return digest === undefined ? undefined : { digest, ir: await this.#irs.get(digest) };
  }

  async #findIRs(entries: readonly JournalEntry[]): Promise<(runId: string) => IR | undefined> {
    const runIds = runIdsOf(entries);
    const unknown = runIds.filter((runId) => !this.#digests.has(runId));
    for (const [runId, digest] of await readDigests(this.#database, unknown))
      this.#digests.set(runId, digest);
    while (this.#digests.size > DIGESTS_KEPT + runIds.length)
      this.#digests.delete(this.#digests.keys().next().value as string);
    const irs = new Map<string, IR>();
    for (const runId of runIds) {
      const digest = this.#digests.get(runId);
      if (digest === undefined)
        this.#log.error({ run_id: runId }, "the journal speaks of a run that the record does not know");
      else irs.set(runId, await this.#irs.get(digest));
    }
    return (runId) => irs.get(runId);
  }
}

function finalChange(final: {
  runId: string;
  status: "COMPLETED" | "FAILED" | "CANCELLED";
  completedAt: number;
  error: { code: string } | null;
}): StateChange {
  return {
    instance_id: final.runId,
    previous_state: "RUNNING",
    new_state: final.status,
    reason: final.error?.code ?? null,
    timestamp: new Date(final.completedAt).toISOString(),
  };
}

/** The same entry without what Postgres cannot hold. */
function substitute(entry: JournalEntry, sqlState: string): JournalEntry {
  const error = {
    code: "RECORD_REFUSED",
    message: `Postgres refused the recorded output or error (SQLSTATE ${sqlState})`,
  };
  const events = entry.events.map(
    (event): JournalEvent =>
      event.kind === "finished"
        ? { ...event, output: "", detail: { ...event.detail, error, faults: undefined } }
        : event,
  );
  return { ...entry, events };
}
