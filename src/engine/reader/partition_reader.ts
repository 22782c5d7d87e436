/**
 * Reads one partition, opened and leased: records what happened, and calls the services that look after the rest, in rounds.
 *
 * Owns nothing that outlives it: what it leaves undone is found by the next reader, on record or in Redis.
 */

import type { Log } from "../../base/log.ts";
import { pause } from "../../base/wait.ts";
import type { Database } from "../../postgres/database.ts";
import { type PartitionRow, renewLease } from "../../postgres/partitions.ts";
import type { OnRefused } from "../../redis/call_fault.ts";
import type { RedisConnection } from "../../redis/connection.ts";
import type { Partition } from "../../redis/partition.ts";
import { IRCache } from "../ir_cache.ts";
import { type Limits, READER_LEASE_MS, RECORD_GAP_MS } from "../limits.ts";
import { faultText } from "../own_fault.ts";
import { Commands } from "./commands.ts";
import { type Consequences, NO_CONSEQUENCES } from "./consequences.ts";
import { JournalBell } from "./journal_bell.ts";
import { KnownRuns } from "./known_runs.ts";
import { Ledger } from "./ledger.ts";
import { removeLeftovers } from "./leftovers.ts";
import { checkedMeta } from "./opening.ts";
import type { Pace } from "./pace.ts";
import { Reclaimer } from "./reclaimer.ts";
import { type Recorded, Recorder } from "./recorder.ts";
import { RunEnds } from "./run_ends.ts";
import { AT_ONCE, Rhythm, type Round, type Service, WHEN_IT_COMES } from "./service.ts";
import { Starter } from "./starter.ts";
import { StuckRuns } from "./stuck.ts";
import { Sweeper } from "./sweeper.ts";
import { type Estate, openSweeps, repeatEnds } from "./take_over.ts";
import { UnofferedClock } from "./unoffered.ts";
import { Waker } from "./waker.ts";

/** How often what comes about by itself is looked for. */
const SWEEP_MS = 1_000;
/** How often what waits for no commit is looked after while a batch is written. */
const BESIDE_MS = 50;

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

/** Of a look beside the record. */
const UNRECORDED: Round = { due: false, rung: false, entries: 0, upToDate: false, after: NO_CONSEQUENCES };

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
  readonly #waker: Service;
  readonly #beside: Services;
  readonly #after: Services;
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
    // The order of a round: the waker, the record (while a batch is written, the waker and those beside it look on), those beside it, and
    // those that go by the record.
    this.#waker = new Waker(partition, ends, onRefused);
    this.#beside = new Services([
      { look: (round) => this.#keep(round) },
      new Reclaimer(partition, database, { unclaimedMs: options.unclaimedMs, onRefused, log }),
      new UnofferedClock(partition, database, irs, clock),
      new Starter(partition, database, ends, starting),
    ]);
    this.#after = new Services([
      new StuckRuns(partition, database, runs, ends, stuck),
      new Sweeper(partition, runs, ends),
      new Commands(partition, database, runs, ends, { limit: limits.commands, log }),
    ]);
  }

  /** Until it is stopped, or another server answers: then the partition is to be opened again. @throws what interrupts it */
  async read(): Promise<void> {
    const { stopping } = this.#options;
    const { partition } = this.#opened;
    const estate = {
      ledger: this.#ledger,
      partition,
      database: this.#database,
      runs: this.#runs,
      ends: this.#ends,
    };
    const over = new AbortController();
    const removing = removeLeftovers(partition, this.#options.log, AbortSignal.any([stopping, over.signal]));
    try {
      await this.#readOn(estate);
    } finally {
      over.abort();
      await removing;
    }
  }

  async #readOn(estate: Estate): Promise<void> {
    const { stopping, onRound } = this.#options;
    const { partition, identity, row } = this.#opened;
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
    let nextTimer = await this.#waker.look(UNRECORDED);
    const recorded = await this.#whileLookedAfter(this.#record());
    if (recorded.entries > 0) onRecorded();
    this.#recordedAt = recorded.entries > 0 ? performance.now() : 0;
    const sweeps = [...inherited.sweeps, ...recorded.after.sweeps];
    const burials = [...inherited.burials, ...recorded.after.burials];
    const round = { ...recorded, rung: this.#bell.takeRing(), after: { ...recorded.after, sweeps, burials } };
    const nexts = [await this.#beside.look(round), await this.#after.look(round)];
    if (!recorded.upToDate) return AT_ONCE;
    // Of an entry that came since the waker looked, and is on record by now, nobody will look for the timer.
    if (recorded.entries > 0) nextTimer = await this.#waker.look(UNRECORDED);
    // What came since it was read, and is not to wait, has rung.
    return Math.min(...nexts, nextTimer, performance.now() + SWEEP_MS);
  }

  async #record(): Promise<Recorded> {
    const recorded = await this.#recorder.recordNext();
    await this.#ends.follow(recorded.after);
    return recorded;
  }

  /** A batch may take long: timers, starts and what is lost do not wait for its commit. @throws what either meets with */
  async #whileLookedAfter<T>(work: Promise<T>): Promise<T> {
    const over = new AbortController();
    const lookOn = async () => {
      for (;;) {
        await pause(BESIDE_MS, over.signal);
        if (over.signal.aborted) return;
        await this.#waker.look(UNRECORDED);
        await this.#beside.look(UNRECORDED);
      }
    };
    const [done, looked] = await Promise.allSettled([work.finally(() => over.abort()), lookOn()]);
    if (done.status === "rejected") throw done.reason;
    if (looked.status === "rejected") throw looked.reason;
    return done.value;
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

/** Services that look one after another, and a second or more apart for what comes about by itself. */
class Services {
  readonly #services: readonly Service[];
  readonly #rhythm = new Rhythm(SWEEP_MS);

  constructor(services: readonly Service[]) {
    this.#services = services;
  }

  /** Answers when the first of them wants to look again. */
  async look(round: Omit<Round, "due">): Promise<number> {
    const due = this.#rhythm.comes();
    let next = WHEN_IT_COMES;
    for (const service of this.#services) next = Math.min(next, await service.look({ ...round, due }));
    return next;
  }
}
