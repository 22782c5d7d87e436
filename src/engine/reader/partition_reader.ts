/**
 * Reads one partition, opened and leased: records what happened, and calls the services that look after the rest, in rounds.
 *
 * Owns nothing that outlives it: what it leaves undone is found by the next reader, on record or in Redis.
 */
import type { Log } from "../../base/log.ts";
import { pause } from "../../base/wait.ts";
import type { Database } from "../../postgres/database.ts";
import { type PartitionRow, renewLease } from "../../postgres/partitions.ts";
import type { RedisConnection } from "../../redis/connection.ts";
import type { Partition } from "../../redis/partition.ts";
import type { OnRefused } from "../../redis/upkeep.ts";
import { IRCache } from "../ir_cache.ts";
import { type Limits, READER_LEASE_MS, RECORD_GAP_MS } from "../limits.ts";
import { faultText } from "../own_fault.ts";
import { Commands } from "./commands.ts";
import { type Consequences, NO_CONSEQUENCES } from "./consequences.ts";
import { JournalBell } from "./journal_bell.ts";
import { KnownRuns } from "./known_runs.ts";
import { Ledger } from "./ledger.ts";
import { checkedMeta } from "./opening.ts";
import type { Pace } from "./pace.ts";
import { Reclaimer } from "./reclaimer.ts";
import { Recorder } from "./recorder.ts";
import { RunEnds } from "./run_ends.ts";
import { AT_ONCE, Rhythm, type Round, type Service, WHEN_IT_COMES } from "./service.ts";
import { Starter } from "./starter.ts";
import { StuckRuns } from "./stuck.ts";
import { Sweeper } from "./sweeper.ts";
import { openSweeps, repeatEnds } from "./take_over.ts";
import { UnofferedClock } from "./unoffered.ts";
import { Waker } from "./waker.ts";

/** How often what comes about by itself is looked for. */
const SWEEP_MS = 1_000;

/** A partition that is fit to be read. */
export interface Opened {
  row: PartitionRow;
  partition: Partition;
  /** Of the server that answered. */
  identity: string;
}

export interface ReaderOptions {
  readerId: string;
  unclaimedMs: number;
  stuckMs: number;
  unofferedTimeoutMs: number;
  limits: Limits;
  pace: Pace;
  log: Log;
  stopping: AbortSignal;
  /** Told when something was recorded. */
  onRecorded: () => void;
  /** Told when all of a round went well. */
  onRound: () => void;
}

/** What an earlier reader may have left undone. */
type Inherited = Pick<Consequences, "sweeps" | "burials">;

export class PartitionReader {
  readonly #opened: Opened;
  readonly #database: Database;
  readonly #options: ReaderOptions;
  readonly #ledger: Ledger;
  readonly #runs: KnownRuns;
  readonly #ends: RunEnds;
  readonly #recorder: Recorder;
  readonly #bell: JournalBell;
  readonly #before: readonly Service[];
  readonly #after: readonly Service[];
  readonly #sweeping = new Rhythm(SWEEP_MS);
  #recordedAt = 0;

  constructor(opened: Opened, blocking: RedisConnection, database: Database, options: ReaderOptions) {
    const { partition, row } = opened;
    const { log, limits, stopping, readerId } = options;
    this.#opened = opened;
    this.#database = database;
    this.#options = options;
    const irs = new IRCache(database);
    const ledger = new Ledger(row, database);
    const runs = new KnownRuns(row.partition, database, irs, log);
    const ends = new RunEnds(ledger, partition, database, runs, log);
    this.#ledger = ledger;
    this.#runs = runs;
    this.#ends = ends;
    this.#recorder = new Recorder(ledger, partition, database, runs, log, options.pace);
    this.#bell = new JournalBell(blocking, partition);
    const onRefused: OnRefused = async (runId, call, error) => {
      if (runId !== undefined) await ends.endRun(runId, call, faultText(error));
    };
    const clock = { readerId, timeoutMs: options.unofferedTimeoutMs, limits, log, stopping };
    const starting = { irs, limit: limits.unstarted, log };
    const stuck = { quietMs: options.stuckMs, limit: limits.quiet, log };
    // The order of a round. First what is not to wait for a transaction that may take longer.
    this.#before = [new Waker(partition, ends, onRefused)];
    this.#after = [
      { look: (round) => this.#keep(round) },
      new Reclaimer(partition, database, { unclaimedMs: options.unclaimedMs, onRefused, log }),
      new UnofferedClock(partition, database, irs, clock),
      new StuckRuns(partition, database, runs, ends, stuck),
      new Sweeper(partition, runs, ends),
      new Starter(partition, database, ends, starting),
      new Commands(partition, database, runs, ends, { limit: limits.commands, log }),
    ];
  }

  /** Until it is stopped, or another server answers: then the partition is to be opened again. @throws what interrupts it */
  async read(): Promise<void> {
    const { stopping, onRound } = this.#options;
    const { partition, identity, row } = this.#opened;
    const estate = {
      ledger: this.#ledger,
      partition,
      database: this.#database,
      runs: this.#runs,
      ends: this.#ends,
    };
    await repeatEnds(estate);
    let inherited: Inherited = await openSweeps(estate);
    while (!stopping.aborted) {
      const next = await this.#round(inherited);
      inherited = NO_CONSEQUENCES;
      onRound();
      if (next <= performance.now()) {
        await this.#bell.hear();
        continue;
      }
      if ((await partition.connection.identity()) !== identity) return;
      const waitMs = next - performance.now();
      if (waitMs > 0) await this.#bell.wait(row.recorded_seq, waitMs, stopping);
    }
  }

  /** Answers when the next is to be. */
  async #round(inherited: Inherited): Promise<number> {
    const { stopping, onRecorded } = this.#options;
    const gapMs = this.#recordedAt + RECORD_GAP_MS - performance.now();
    if (this.#recordedAt > 0 && gapMs > 0) await pause(gapMs, stopping);
    const idle: Round = { due: false, rung: false, entries: 0, upToDate: false, after: NO_CONSEQUENCES };
    const before = await lookOf(this.#before, idle);
    const recorded = await this.#recorder.recordNext();
    await this.#ends.follow(recorded.after);
    if (recorded.entries > 0) onRecorded();
    this.#recordedAt = recorded.entries > 0 ? performance.now() : 0;
    const sweeps = [...inherited.sweeps, ...recorded.after.sweeps];
    const burials = [...inherited.burials, ...recorded.after.burials];
    const after = { ...recorded.after, sweeps, burials };
    const round = { ...recorded, after, due: this.#sweeping.comes(), rung: this.#bell.takeRing() };
    const next = Math.min(before, await lookOf(this.#after, round), performance.now() + SWEEP_MS);
    // What came meanwhile, and is not to wait, has rung.
    return recorded.upToDate ? next : AT_ONCE;
  }

  /** Whose lease is over reads no further; and a partition at rest makes no call that would be refused. */
  async #keep({ due }: Round): Promise<number> {
    if (!due) return WHEN_IT_COMES;
    const { row, partition } = this.#opened;
    await renewLease(this.#database, row, READER_LEASE_MS);
    await checkedMeta(this.#database, row, partition);
    return WHEN_IT_COMES;
  }
}

/** Has the services look one after another; answers when the first of them wants to look again. */
async function lookOf(services: readonly Service[], round: Round): Promise<number> {
  let next = WHEN_IT_COMES;
  for (const service of services) next = Math.min(next, await service.look(round));
  return next;
}
