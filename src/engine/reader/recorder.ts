/**
 * The recorder of one partition, and its completion supervisor: one reader, one transaction.
 *
 * Owns: history and final statuses of the partition's runs. Invariants: a batch is written only while term, epoch and offset are what this
 * reader took (compared in the transaction itself, `ledger.ts`); what is to be done afterwards is returned, and done by others.
 */
import type { Log } from "../../base/log.ts";
import { pause } from "../../base/wait.ts";
import { type Connection, type Database, isDuplicate } from "../../postgres/database.ts";
import { compareOffset, renewLease } from "../../postgres/partitions.ts";
import { countLater } from "../../postgres/refusals.ts";
import type { Partition } from "../../redis/partition.ts";
import { type JournalEntry, type JournalEvent, type RawEntry, runOf } from "../../token/journal.ts";
import { READER_LEASE_MS, RECORD_BLOB_BYTES } from "../limits.ts";
import { faultText, isDoubtful, isOwnFault } from "../own_fault.ts";
import { type Consequences, consequencesOf, leftOut, NO_CONSEQUENCES } from "./consequences.ts";
import { CopyingRows } from "./copying_rows.ts";
import { JournalReader } from "./journal_reader.ts";
import type { KnownRuns } from "./known_runs.ts";
import { endRefused, writeApart } from "./last_resort.ts";
import type { Ledger } from "./ledger.ts";
import type { Pace } from "./pace.ts";
import { blobsOf, buildRecordBatch, type FindRun, namesBlobs } from "./record_batch.ts";
import type { RecordBatch } from "./record_types.ts";
import { type ChangesOf, changesOf } from "./state_changes.ts";
import { type BlobSource, type Written, writeBatch } from "./write_batch.ts";

/** An entry that fails doubtfully so often, alone, is itself at fault. */
const DOUBTS = 10;
const DOUBT_MS = 200;

/** How executions are written: those that may be are copied, or each is compared with what is on record. */
type Way = "copy" | "compare";

/** What was recorded in one go. */
export interface Recorded {
  /** Entries; 0: there are none, or it is to be tried with less. */
  entries: number;
  /** Nothing is left. */
  upToDate: boolean;
  /** What is to be done now, in the order of `partition_reader.ts`. */
  after: Consequences;
}

const NOTHING: Recorded = { entries: 0, upToDate: true, after: NO_CONSEQUENCES };
const TRY_LESS: Recorded = { ...NOTHING, upToDate: false };

export class Recorder {
  readonly #ledger: Ledger;
  readonly #partition: Partition;
  readonly #database: Database;
  readonly #runs: KnownRuns;
  readonly #log: Log;
  readonly #pace: Pace;
  readonly #journal: JournalReader;

  constructor(
    ledger: Ledger,
    partition: Partition,
    database: Database,
    runs: KnownRuns,
    log: Log,
    pace: Pace,
  ) {
    this.#ledger = ledger;
    this.#partition = partition;
    this.#database = database;
    this.#runs = runs;
    this.#log = log;
    this.#pace = pace;
    this.#journal = new JournalReader(partition);
  }

  /**
   * Records the next entries, if any. Entries that fail for another reason than a server are halved until the one at fault stands alone:
   * that one is written apart.
   */
  async recordNext(): Promise<Recorded> {
    const pace = this.#pace;
    const { row } = this.#ledger;
    const reached = { seq: row.recorded_seq, call: row.recorded_call };
    const { entries, upToDate } = await this.#journal.next(reached, pace.most);
    if (entries.length === 0) return NOTHING;
    const startedAt = performance.now();
    // A batch may last longer than the lease. Who lost it finds out by the batch itself.
    const renew = () => void renewLease(this.#database, row, READER_LEASE_MS).catch(() => {});
    const renewal = setInterval(renew, READER_LEASE_MS / 4);
    let recorded: Omit<Recorded, "upToDate">;
    try {
      recorded = await this.#record(entries, upToDate);
    } catch (error) {
      this.#journal.drop();
      pace.most = Math.max(1, entries.length >> 1);
      const alone = await this.#atFault(entries, error);
      if (alone === undefined) return TRY_LESS;
      recorded = { entries: 1, after: await this.#recordApart(alone, error) };
    } finally {
      clearInterval(renewal);
    }
    pace.doubts = 0;
    const isSlow = performance.now() - startedAt > READER_LEASE_MS / 3;
    const most = Math.max(pace.most, recorded.entries * 2);
    pace.most = isSlow ? Math.max(1, recorded.entries >> 1) : Math.min(pace.limit, most);
    return { ...recorded, upToDate: upToDate && recorded.entries === entries.length };
  }

  /** The entry whose own fault it is that a batch failed; undefined: it is to be tried again. @throws what is the fault of no entry */
  async #atFault(entries: readonly RawEntry[], error: unknown): Promise<RawEntry | undefined> {
    const alone = entries.length === 1 ? entries[0] : undefined;
    const isOwn = isOwnFault(error);
    if (alone === undefined && isOwn) return undefined;
    if (alone === undefined || !(isOwn || isDoubtful(error))) throw error;
    if (isOwn) return alone;
    this.#pace.doubts += 1;
    if (this.#pace.doubts >= DOUBTS) return alone;
    await pause(DOUBT_MS);
    return undefined;
  }

  /** Records a beginning of these entries: as many as the bytes of their large outputs allow. */
  async #record(raw: readonly RawEntry[], upToDate: boolean): Promise<Omit<Recorded, "upToDate">> {
    const decoded = raw.map((entry) => this.#journal.decode(entry));
    const blobs = await this.#blobSource(decoded.map(({ events }) => events));
    const taken = decoded.slice(0, blobs.fitting);
    const last = taken.at(-1) as JournalEntry;
    // A reader that lags has the next batch at hand when this one is written.
    if (!upToDate || taken.length < raw.length) this.#journal.readAhead(last, this.#pace.most);
    const after = await this.#ledger.inTurn(async (commit) => {
      const { entries, runs, left } = await this.#runs.sort(taken);
      const find: FindRun = (runId) => runs.get(runId);
      const write = (way: Way, batch: RecordBatch) =>
        commit(async (client) => {
          if (way === "compare") await compareOffset(client, this.#ledger.row);
          const lastSeqOf = way === "copy" ? (runId: string) => runs.get(runId)?.known.lastSeq : undefined;
          const written = await writeBatch(client, batch, blobs, lastSeqOf);
          await countLater(client, countByRun(left));
          return written;
        }, last);
      let batch = buildRecordBatch(entries, find, new CopyingRows(runs));
      let written: Written;
      try {
        written = await write("copy", batch);
        this.#runs.note(batch, runs);
      } catch (error) {
        if (!isDuplicate(error)) throw error;
        // Something of an execution is on record against expectation; or all of it, and the offset tells that.
        const facts = { partition: this.#partition.number, seq: last.seq, error: faultText(error) };
        this.#log.debug(facts, "something of a batch is on record already: it is compared with that");
        batch = buildRecordBatch(entries, find);
        written = await write("compare", batch);
        for (const runId of runs.keys()) this.#runs.forget(runId);
      }
      this.#report(last.seq, written);
      const changes = changesOf(entries, find, (runId) => runs.get(runId)?.status, written);
      return consequencesOf(last.seq, batch, leftOut(left), written.pausedParents, changes);
    });
    return { entries: taken.length, after };
  }

  /** Records what can be recorded of an entry; the rest is set aside, and its runs end. */
  async #recordApart(raw: RawEntry, error: unknown): Promise<Consequences> {
    const { row } = this.#ledger;
    const facts = { partition: row.partition, seq: raw.seq, error: faultText(error) };
    this.#log.warn(facts, "an entry cannot be recorded as it is: it is recorded event by event");
    const isAtFault = isOwnFault(error)
      ? isOwnFault
      : (fault: unknown) => isOwnFault(fault) || isDoubtful(fault);
    return this.#ledger.inTurn(async (commit) => {
      const written: Written[] = [];
      const write = async (client: Connection, event: JournalEvent) => {
        const { entries, runs, left } = await this.#runs.sort([{ ...raw, events: [event] }]);
        if (left.length > 0) return false;
        const blobs = await this.#blobSource([[event]]);
        const batch = buildRecordBatch(entries, (runId) => runs.get(runId));
        written.push(await writeBatch(client, batch, blobs));
        return true;
      };
      const { apart, changes } = await commit(async (client) => {
        const apart = await writeApart(client, raw, this.#runs, (event) => write(client, event), isAtFault);
        await countLater(client, countByRun(apart.later));
        return { apart, changes: await endRefused(client, row, apart.refusals, this.#runs) };
      }, raw);
      const left = leftOut([...apart.refused, ...apart.later]);
      for (const { seq, runId, reason } of apart.refusals) {
        const facts = { partition: row.partition, seq, run_id: runId, reason };
        this.#log.error(
          facts,
          "an event of the journal is set aside; its run ends as FAILED (RECORD_REFUSED)",
        );
        if (runId !== null && !left.has(runId)) left.set(runId, []);
      }
      const { entries, runs } = await this.#runs.sort([{ ...raw, events: apart.recorded }]);
      // What is known of them is another thing on record now.
      for (const runId of [...left.keys(), ...runs.keys()]) this.#runs.forget(runId);
      const find: FindRun = (runId) => runs.get(runId);
      const all = togetherOf(written);
      const recorded = changesOf(entries, find, (runId) => runs.get(runId)?.status, all);
      const heard: ChangesOf = (isHeard) => [...recorded(isHeard), ...changes];
      return consequencesOf(raw.seq, buildRecordBatch(entries, find), left, all.pausedParents, heard);
    });
  }

  #report(seq: number, { illegal }: Written): void {
    if (illegal.size === 0) return;
    const facts = { partition: this.#partition.number, seq, refused: illegal.size };
    this.#log.error(facts, "illegal transitions were refused");
  }

  /** The large outputs that events name, by entry. `fitting`: how many of the entries may be recorded together. */
  async #blobSource(
    entries: readonly (readonly JournalEvent[])[],
  ): Promise<BlobSource & { fitting: number }> {
    const named = entries.map((events) => (events.some(namesBlobs) ? events.flatMap(blobsOf) : []));
    const blobs = named.flat();
    const sizes = blobs.length === 0 ? [] : await this.#partition.blobSizes(blobs);
    const byKey = new Map(
      blobs.map(({ runId, name }, index) => [`${runId}/${name}`, sizes[index] as number]),
    );
    const bytesOf = (runId: string, name: string) => byKey.get(`${runId}/${name}`) ?? 0;
    let bytes = 0;
    const tooMany = named.findIndex((ofEntry, index) => {
      for (const { runId, name } of ofEntry) bytes += bytesOf(runId, name);
      return index > 0 && bytes > RECORD_BLOB_BYTES;
    });
    const fitting = tooMany === -1 ? entries.length : tooMany;
    return { bytesOf, read: (runId, name) => this.#partition.readBlob(runId, name), fitting };
  }
}

/** Of several writes in a row. */
function togetherOf(written: readonly Written[]): Written {
  return {
    // Of several words on an execution, the first one knows what was on record before.
    before: new Map(written.flatMap(({ before }) => [...before]).reverse()),
    illegal: new Set(written.flatMap(({ illegal }) => [...illegal])),
    finals: written.flatMap(({ finals }) => finals),
    pausedParents: new Set(written.flatMap(({ pausedParents }) => [...pausedParents])),
  };
}

function countByRun(events: readonly JournalEvent[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const event of events) counts.set(runOf(event), (counts.get(runOf(event)) ?? 0) + 1);
  return counts;
}
