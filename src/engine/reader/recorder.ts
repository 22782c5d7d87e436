/**
 * The recorder of one partition, and its completion supervisor: one reader, one transaction.
 *
 * Owns: history and final statuses of the partition's runs, and how far the journal is recorded. Invariants: a batch is written only
 * while term, epoch and offset are what this reader took (compared in the transaction itself); what happens in Redis afterwards (forget
 * the finished, trim, announce) follows the commit. A crash between the two is mended by the next reader, which repeats it.
 */

import { HitzeroError } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import { presentable, storable } from "../../base/text.ts";
import { pause } from "../../base/wait.ts";
import type { Database, Queryable } from "../../postgres/database.ts";
import { moveOffset, type PartitionRow, renewLease } from "../../postgres/partitions.ts";
import { type ChildRecord, type EndedChild, readEndedChildren } from "../../postgres/record.ts";
import { countLater, listEndedRuns } from "../../postgres/refusals.ts";
import type { Partition } from "../../redis/partition.ts";
import {
  announceHalt,
  type Burial,
  compensateNext,
  dropTimeLimits,
  type Withdrawn,
  wakeParent,
} from "../../redis/upkeep.ts";
import {
  decodeRawEntry,
  type JournalEntry,
  type JournalEvent,
  type RawEntry,
  runOf,
  splitJournalEntry,
} from "../../token/journal.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { IRCache } from "../ir_cache.ts";
import { JOURNAL_PART, LIMITS, READER_LEASE_MS, RECORD_BLOB_BYTES, RECORD_ENTRY_BYTES } from "../limits.ts";
import type { ChildEnd } from "../nodes/waiting.ts";
import { faultText, isDoubtful, isOwnFault } from "../own_fault.ts";
import { announceChanges } from "./announce.ts";
import { KnownRuns } from "./known_runs.ts";
import { endRefused, writeApart } from "./last_resort.ts";
import { blobsOf, buildRecordBatch } from "./record_batch.ts";
import type { RecordBatch } from "./record_types.ts";
import { type BlobSource, type Written, writeBatch } from "./write_batch.ts";

/** The journal does not continue the record: Redis lost history. */
export class HistoryLostError extends HitzeroError {
  constructor(partition: number, what: string) {
    super("HISTORY_LOST", `Redis lost history of partition ${partition}: ${what}`, {
      hint: "Was Redis flushed, restored from a copy, or run without append-only file? The record in Postgres is intact.",
      exitCode: 3,
    });
  }
}

/** An entry that fails doubtfully so often, alone, is itself at fault. */
const DOUBTS = 10;
const DOUBT_MS = 200;

/** How much is recorded at a time. It outlives the recorder: what fails or takes long is tried with less. */
export interface Pace {
  /** Entries of a batch at most. */
  limit: number;
  /** Entries of the next batch at most. */
  most: number;
  /** Doubtful failures of the entry that is next, in a row. */
  doubts: number;
}

export const startingPace = (limit: number = LIMITS.record): Pace => ({ limit, most: limit, doubts: 0 });

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
  /** Maps that are gone, by their run, of whose items the rest is to be withdrawn. */
  readonly burials = new Map<string, Burial[]>();
  /** Child runs to be started. */
  readonly children: (ChildRecord & { paused: boolean })[] = [];
  readonly #partition: Partition;
  readonly #database: Database;
  readonly #runs: KnownRuns;
  readonly #log: Log;
  readonly #pace: Pace;

  constructor(
    row: PartitionRow,
    partition: Partition,
    database: Database,
    irs: IRCache,
    log: Log,
    pace: Pace = startingPace(),
  ) {
    this.row = row;
    this.#pace = pace;
    this.#partition = partition;
    this.#database = database;
    this.#runs = new KnownRuns(row.partition, database, irs, log);
    this.#log = log;
  }

  /**
   * Records the next entries, if any. Each read begins at the last recorded entry, which must be the same. Entries that fail for another
   * reason than a server are halved until the one at fault stands alone: that one is written apart.
   */
  async recordNext(): Promise<{ recorded: number; upToDate: boolean }> {
    const pace = this.#pace;
    const { entries, upToDate } = await this.#readNext();
    if (entries.length === 0) return { recorded: 0, upToDate: true };
    const startedAt = performance.now();
    // A batch may last longer than the lease. Who lost it finds out by the batch itself.
    const renew = () => void renewLease(this.#database, this.row, READER_LEASE_MS).catch(() => {});
    const renewal = setInterval(renew, READER_LEASE_MS / 4);
    let recorded: number;
    try {
      recorded = await this.#record(entries);
    } catch (error) {
      pace.most = Math.max(1, entries.length >> 1);
      const alone = entries.length === 1 ? entries[0] : undefined;
      const isOwn = isOwnFault(error);
      if (alone === undefined && isOwn) return { recorded: 0, upToDate: false };
      if (alone === undefined || !(isOwn || isDoubtful(error))) throw error;
      if (!isOwn && ++pace.doubts < DOUBTS) {
        await pause(DOUBT_MS);
        return { recorded: 0, upToDate: false };
      }
      const facts = { partition: this.row.partition, seq: alone.seq, error: faultText(error) };
      this.#log.warn(facts, "an entry cannot be recorded as it is: it is recorded event by event");
      await this.#recordApart(alone, isOwn ? isOwnFault : (fault) => isOwnFault(fault) || isDoubtful(fault));
      recorded = 1;
    } finally {
      clearInterval(renewal);
    }
    pace.doubts = 0;
    const isSlow = performance.now() - startedAt > READER_LEASE_MS / 3;
    pace.most = isSlow ? Math.max(1, recorded >> 1) : Math.min(pace.limit, Math.max(pace.most, recorded * 2));
    return { recorded, upToDate: upToDate && recorded === entries.length };
  }

  /** The entries behind the record, a part at a time: up to as many, and about as many bytes, as a batch takes. */
  async #readNext(): Promise<{ entries: RawEntry[]; upToDate: boolean }> {
    const { recorded_seq: recorded, recorded_call: call, partition } = this.row;
    const entries: RawEntry[] = [];
    const most = this.#pace.most + (recorded > 0 ? 1 : 0);
    let bytes = 0;
    let isEnd = false;
    while (!isEnd && entries.length < most && bytes < RECORD_ENTRY_BYTES) {
      const from = entries.at(-1);
      const count = Math.min(JOURNAL_PART, most - entries.length);
      const part = await this.#partition.readJournal(from === undefined ? recorded : from.seq + 1, count);
      isEnd = part.length < count;
      for (const [id, fields] of part) {
        entries.push(splitJournalEntry(id, fields));
        for (const field of fields) bytes += field.length;
      }
    }
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
    return { entries, upToDate: isEnd };
  }

  /** What an earlier reader may have left undone: entries that are recorded and still there, and runs that were ended. */
  async repeatCleanUp(): Promise<void> {
    const ended = await listEndedRuns(this.#database, this.row.partition);
    if (ended.length > 0) {
      await this.#cleanUp(
        buildRecordBatch([], () => undefined),
        new Map(ended.map((id) => [id, []])),
        0,
      );
    }
    let from = 0;
    while (from < this.row.recorded_seq) {
      const raw = await this.#partition.readJournal(from, JOURNAL_PART);
      const entries = raw
        .map(([id, fields]) => splitJournalEntry(id, fields))
        .filter((entry) => entry.seq <= this.row.recorded_seq);
      const last = entries.at(-1);
      if (!last) return;
      if (!(await this.#cleanUpAgain(entries, last.seq))) {
        const alone = entries.flatMap((entry) =>
          entry.events.map((event) => ({ ...entry, events: [event] })),
        );
        // One that still fails was set aside.
        for (const entry of alone) await this.#cleanUpAgain([entry], 0);
      }
      if (last.seq === from) return;
      from = last.seq;
    }
  }

  /** Answers whether these entries can be read. */
  async #cleanUpAgain(raw: readonly RawEntry[], recorded: number): Promise<boolean> {
    try {
      const { entries, findIR, left } = await this.#runs.sort(raw.map(decodeRawEntry));
      await this.#cleanUp(buildRecordBatch(entries, findIR), leftOut(left), recorded);
      return true;
    } catch (error) {
      if (!isOwnFault(error)) throw error;
      return false;
    }
  }

  /** Records a beginning of these entries; answers how many: as many as the bytes of their large outputs allow. */
  async #record(raw: readonly RawEntry[]): Promise<number> {
    const decoded = raw.map(decodeRawEntry);
    const blobs = await this.#blobSource(decoded.flatMap(({ events }) => events));
    let bytes = 0;
    const tooMany = decoded.findIndex(({ events }, index) => {
      for (const { runId, name } of events.flatMap(blobsOf)) bytes += blobs.bytesOf(runId, name);
      return index > 0 && bytes > RECORD_BLOB_BYTES;
    });
    const taken = tooMany === -1 ? decoded : decoded.slice(0, tooMany);
    const last = taken.at(-1) as JournalEntry;
    const { entries, findIR, left } = await this.#runs.sort(taken);
    const batch = buildRecordBatch(entries, findIR);
    const written = await this.#database.transaction(async (client) => {
      const written = await writeBatch(client, batch, blobs);
      await countLater(client, countByRun(left));
      await moveOffset(client, this.row, last, READER_LEASE_MS);
      return written;
    });
    await this.#recorded(last, batch, written, leftOut(left));
    return taken.length;
  }

  /** Records what can be recorded of an entry; the rest is set aside, and its runs end. */
  async #recordApart(raw: RawEntry, isAtFault: (error: unknown) => boolean): Promise<void> {
    const written: Written[] = [];
    const write = async (client: Queryable, event: JournalEvent) => {
      const { entries, findIR, left } = await this.#runs.sort([{ ...raw, events: [event] }]);
      if (left.length > 0) return false;
      written.push(
        await writeBatch(client, buildRecordBatch(entries, findIR), await this.#blobSource([event])),
      );
      return true;
    };
    const { apart, changes } = await this.#database.transaction(async (client) => {
      const apart = await writeApart(client, raw, this.#runs, (event) => write(client, event), isAtFault);
      await countLater(client, countByRun(apart.later));
      const changes = await endRefused(client, this.row, apart.refusals, this.#runs);
      await moveOffset(client, this.row, raw, READER_LEASE_MS);
      return { apart, changes };
    });
    const left = leftOut([...apart.refused, ...apart.later]);
    for (const { seq, runId, reason } of apart.refusals) {
      const facts = { partition: this.row.partition, seq, run_id: runId, reason };
      this.#log.error(facts, "an event of the journal is set aside; its run ends as FAILED (RECORD_REFUSED)");
      if (runId !== null && !left.has(runId)) left.set(runId, []);
    }
    const { entries, findIR } = await this.#runs.sort([{ ...raw, events: apart.recorded }]);
    const all: Written = {
      changes: [...written.flatMap((one) => one.changes), ...changes],
      pausedParents: new Set(written.flatMap((one) => [...one.pausedParents])),
      illegal: 0,
    };
    await this.#recorded(raw, buildRecordBatch(entries, findIR), all, left);
  }

  /** Carries a run on; one that the scripts refuse to carry on ends. Answers undefined then. */
  async carryOn<T>(runId: string, call: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!isOwnFault(error)) throw error;
      await this.endRun(runId, call, faultText(error));
      return undefined;
    }
  }

  /** Ends a run that the scripts refuse to carry on with this call. Of one that is over, Redis forgets what it holds. */
  async endRun(runId: string, call: string, reason: string): Promise<void> {
    const { recorded_seq: seq, recorded_call, partition } = this.row;
    const facts = { partition, run_id: runId, call, reason };
    this.#log.error(facts, "a call is refused; its run ends as FAILED (STEP_REFUSED)");
    if (!(await this.#runs.has(runId))) return;
    const changes = await this.#database.transaction(async (client) => {
      const where = { seq: null, runId, nodeId: null, scope: null };
      const text = presentable(reason);
      const refusal = { ...where, code: "STEP_REFUSED" as const, reason: text, raw: storable(call) };
      const changes = await endRefused(client, this.row, [refusal], this.#runs);
      await moveOffset(client, this.row, { seq, call: recorded_call }, READER_LEASE_MS);
      return changes;
    });
    this.commanded = true;
    await this.#cleanUp(
      buildRecordBatch([], () => undefined),
      new Map([[runId, []]]),
      seq,
    );
    await announceChanges(this.#partition, changes);
  }

  async #blobSource(events: readonly JournalEvent[]): Promise<BlobSource> {
    const blobs = events.flatMap(blobsOf);
    const sizes = await this.#partition.blobSizes(blobs);
    const byKey = new Map(
      blobs.map(({ runId, name }, index) => [`${runId}/${name}`, sizes[index] as number]),
    );
    return {
      bytesOf: (runId, name) => byKey.get(`${runId}/${name}`) ?? 0,
      read: (runId, name) => this.#partition.readBlob(runId, name),
    };
  }

  toBury(runId: string, burial: Burial): void {
    const known = this.burials.get(runId);
    if (known) known.push(burial);
    else this.burials.set(runId, [burial]);
  }

  /** After the commit. */
  async #recorded(last: { seq: number; call: string }, batch: RecordBatch, written: Written, left: LeftOut) {
    if (written.illegal > 0) {
      const facts = { partition: this.row.partition, seq: last.seq, refused: written.illegal };
      this.#log.error(facts, "illegal transitions were refused");
    }
    for (const { runId, halted } of batch.sweeps) this.sweeps.set(runId, halted);
    this.unswept ||= batch.sweeps.length > 0;
    this.commanded ||= batch.below.length > 0 || left.size > 0;
    for (const child of batch.children) {
      this.children.push({ ...child, paused: written.pausedParents.has(child.parentRunId) });
    }
    this.withdrawn.push(...batch.withdrawn);
    for (const { runId, burial } of batch.burials) this.toBury(runId, burial);
    this.row.recorded_seq = last.seq;
    this.row.recorded_call = last.call;
    await this.#cleanUp(batch, left, last.seq);
    await announceChanges(this.#partition, written.changes);
  }

  /** What waits for the record goes on, runs that are over go, then the journal behind the record. */
  async #cleanUp(batch: RecordBatch, left: LeftOut, recorded: number): Promise<void> {
    const finished = [...new Set([...batch.zeroHits.map(({ runId }) => runId), ...left.keys()])];
    for (const child of await readEndedChildren(this.#database, finished)) {
      await this.carryOn(child.parent_run_id, `wake for ${child.run_id}`, () => this.#wakeParent(child));
    }
    for (const { runId, ir } of batch.compensating) {
      await this.carryOn(runId, "compensate", () => compensateNext(this.#partition, runId, ir));
    }
    const blobs = new Map<string, string[]>(finished.map((runId) => [runId, [...(left.get(runId) ?? [])]]));
    if (finished.length > 0) {
      const { rows } = await this.#database.query<{ run_id: string; name: string }>(
        "select run_id, name from hitzero.blobs where run_id = any ($1::uuid[])",
        [finished],
      );
      for (const row of rows) blobs.get(row.run_id)?.push(row.name);
    }
    for (const runId of finished) {
      this.#runs.forget(runId);
      this.sweeps.delete(runId);
    }
    const timed = batch.zeroHits.filter(({ ir }) => ir.timeout_ms > 0).map(({ runId }) => runId);
    await dropTimeLimits(
      this.#partition,
      [...timed, ...left.keys()].map((runId) => ({ runId, generation: 1 })),
    );
    await this.#partition.forget(
      recorded,
      [...blobs].map(([runId, names]) => ({ runId, blobs: names })),
    );
    // Handlers that still perform something of them are told to stop.
    await announceHalt(this.#partition, this.#partition.keys.namespace, [...left.keys()]);
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

  /** What a run of this partition runs. */
  irOf(runId: string): Promise<{ digest: string; ir: IR } | undefined> {
    return this.#runs.irOf(runId);
  }
}

/** Runs that ended as something of them was refused, with the large outputs of events that were left out of the record. */
type LeftOut = Map<string, string[]>;

function leftOut(events: readonly JournalEvent[]): LeftOut {
  const left: LeftOut = new Map(events.map((event) => [runOf(event), []]));
  for (const { runId, name } of events.flatMap(blobsOf)) left.get(runId)?.push(name);
  return left;
}

function countByRun(events: readonly JournalEvent[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const event of events) counts.set(runOf(event), (counts.get(runOf(event)) ?? 0) + 1);
  return counts;
}
