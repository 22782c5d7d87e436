/**
 * A supervisor: reads the partitions whose lease it holds, opens them, records what happens, and starts accepted runs that never
 * started. Several may run; each partition has one reader at a time.
 *
 * Owns: the lease of its partitions. A crash lets the lease run out; a stopped process finds its term gone and starts over.
 */
import { hostname } from "node:os";
import { HitzeroError } from "../../base/errors.ts";
import { createLog, type Log } from "../../base/log.ts";
import { storable } from "../../base/text.ts";
import { pause } from "../../base/wait.ts";
import { Database } from "../../postgres/database.ts";
import {
  beginEpoch,
  countStartedRuns,
  listPartitions,
  noteOpening,
  type PartitionRow,
  READER_SETTINGS,
  readInstallation,
  releaseLease,
  renewLease,
  takeLease,
} from "../../postgres/partitions.ts";
import { heartbeat, readServices, signOff } from "../../postgres/registry.ts";
import { listUnstarted } from "../../postgres/runs.ts";
import { isShortOfMemory, RedisConnection } from "../../redis/connection.ts";
import { listReadyStreams, tidyStreams } from "../../redis/function_streams.ts";
import { FenceError, LAYOUT, type Meta, newNonce, Partition } from "../../redis/partition.ts";
import { refuseMissingRights } from "../../redis/rights.ts";
import { fireTimers, type OnRefused, reclaimExpired, requeueUnclaimed } from "../../redis/upkeep.ts";
import { grantLeases } from "../../redis/workers.ts";
import { alreadyStopped } from "../already_stopped.ts";
import { IRCache } from "../ir_cache.ts";
import {
  GONE_UNCLAIMED,
  HEARTBEAT_MS,
  LAST_ANSWERS_MS,
  LIMITS,
  type Limits,
  READER_LEASE_MS,
  RECORD_GAP_MS,
  START_GRACE_MS,
  STUCK_MS,
  UNCLAIMED_MS,
  UNOFFERED_TIMEOUT_MS,
} from "../limits.ts";
import { faultText } from "../own_fault.ts";
import { checkOptions } from "../settings.ts";
import { type StartWord, startRun } from "../start_run.ts";
import { VERSION } from "../version.ts";
import { CommandApplier, type Unapplied } from "./command_applier.ts";
import { HistoryLostError, type Pace, Recorder, startingPace } from "./recorder.ts";
import { UnofferedClock } from "./unoffered.ts";

export interface SupervisorOptions {
  redisUrl: string;
  databaseUrl: string;
  /** Default `hitzero`. */
  namespace?: string;
  /** Entries that a worker was given and did not claim within this time are put back, milliseconds. Default 10,000. */
  unclaimedMs?: number;
  /** A run without any event for this long is looked at, milliseconds. Default 300,000. */
  stuckMs?: number;
  /** A node fails whose function no live worker of its queue has offered for this long, milliseconds. Default 900,000. */
  unofferedTimeoutMs?: number;
  log?: Log;
}

/** How often an idle reader looks for accepted runs that never started, and renews its lease. */
const SWEEP_MS = 1_000;
/** A supervisor that is told to stop waits for the servers for so long. */
const STOP_LIMIT_MS = 5_000;
/** Between tries to get the lease of a partition and to open it. */
const LEASE_TRIES_MS = 500;
/** A reader's call that is lost is made so often, in all, before its round is given up (within 0.6 s: a new socket takes 0.1 s). */
const READER_TRIES = 6;
/** A reader that is interrupted, by a call that was lost for instance, is soon back; when nothing comes of it, twice as late each time. */
const INTERRUPTED_MS = 50;

/** How the reading of a partition fares. */
interface Health {
  /** What was logged of its last interruption; empty: it went well since. */
  said: string;
  /** In a row, without anything recorded between them. */
  interruptions: number;
  /** How much is recorded at a time. */
  pace: Pace;
}

/** A partition that is fit to be read. */
interface Opened {
  row: PartitionRow;
  partition: Partition;
  /** Of the server that answered. */
  identity: string;
}

export class Supervisor {
  readonly id = `supervisor-${hostname()}-${process.pid}-${newNonce()}`;
  readonly #options: Required<Omit<SupervisorOptions, "log">>;
  readonly #log: Log;
  readonly #limits: Limits;
  readonly #stopping = new AbortController();
  #database: Database | undefined;
  #installation = "";
  #readers: Promise<void>[] = [];
  /** Ends the connections of those that read. */
  readonly #reading = new Set<AbortController>();
  /** Partitions whose Redis starts nothing for want of memory, as was logged. */
  readonly #memoryShort = new Set<number>();
  #timer: NodeJS.Timeout | undefined;
  #started: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  /** `limits`: for tests. @throws HitzeroError BAD_SETTING, BAD_NAMESPACE */
  constructor(options: SupervisorOptions, limits: Limits = LIMITS) {
    checkOptions(options);
    this.#limits = limits;
    this.#options = {
      namespace: "hitzero",
      unclaimedMs: UNCLAIMED_MS,
      stuckMs: STUCK_MS,
      unofferedTimeoutMs: UNOFFERED_TIMEOUT_MS,
      ...options,
    };
    this.#log = options.log ?? createLog("silent");
  }

  /**
   * Connects and begins to read. A second call answers as the first; one that was stopped does not start again.
   * @throws HitzeroError ALREADY_STOPPED, or when a server cannot be used
   */
  start(): Promise<void> {
    this.#started ??= this.#stopped ? Promise.reject(alreadyStopped(this.id)) : this.#start();
    return this.#started;
  }

  async #start(): Promise<void> {
    this.#database = new Database(this.#options.databaseUrl, {
      settings: READER_SETTINGS,
      size: 8,
      limitMs: READER_LEASE_MS,
    });
    try {
      const partitions = await listPartitions(this.#database);
      this.#installation = await readInstallation(this.#database);
      await this.#checkRedis(partitions);
      await this.#beat();
      this.#readers = partitions.map((partition) => this.#keepReading(partition));
    } catch (error) {
      await this.#database.close();
      this.#database = undefined;
      throw error;
    }
    this.#timer = setInterval(() => void this.#beat().catch(() => {}), HEARTBEAT_MS);
  }

  /** Ends the batch under way, gives the leases back, and closes. A second call waits for the first. */
  stop(): Promise<void> {
    this.#stopped ??= (async () => {
      this.#stopping.abort();
      // A stop may come while it still starts.
      await this.#started?.catch(() => {});
      clearInterval(this.#timer);
      // Servers that do not answer hold nobody up: the leases run out by themselves.
      const late = setTimeout(() => {
        for (const over of this.#reading) over.abort();
      }, STOP_LIMIT_MS);
      // When it is only Redis that does not answer, the lease is given back first.
      const latest = setTimeout(() => void this.#database?.close(), STOP_LIMIT_MS + LAST_ANSWERS_MS);
      await Promise.all(this.#readers);
      if (this.#database) {
        await signOff(this.#database, this.id).catch(() => {});
        await this.#database.close();
      }
      clearTimeout(late);
      clearTimeout(latest);
    })();
    return this.#stopped;
  }

  /** @throws HitzeroError when Redis cannot be used, or another database fills the namespace */
  async #checkRedis(partitions: readonly number[]): Promise<void> {
    const connection = await RedisConnection.open(this.#options.redisUrl);
    try {
      await refuseMissingRights(connection, this.#options.namespace);
      for (const number of partitions) await this.#partitionOf(connection, number).checkOwner();
    } finally {
      connection.close();
    }
  }

  #partitionOf(connection: RedisConnection, number: number): Partition {
    const { namespace } = this.#options;
    return new Partition(connection, namespace, number, this.#installation, this.#limits, READER_TRIES);
  }

  async #beat(): Promise<void> {
    await heartbeat(this.#database as Database, {
      workerId: this.id,
      kind: "supervisor",
      host: hostname(),
      pid: process.pid,
      version: VERSION,
      queues: [],
      functions: [],
      concurrency: null,
    });
  }

  /** Takes the lease whenever it is free, and reads while it holds. */
  async #keepReading(number: number): Promise<void> {
    const stopping = this.#stopping.signal;
    const database = this.#database as Database;
    const health: Health = { said: "", interruptions: 0, pace: startingPace(this.#limits.record) };
    while (!stopping.aborted) {
      let row: PartitionRow | undefined;
      let nextTryMs = LEASE_TRIES_MS;
      try {
        row = await takeLease(database, number, this.id, READER_LEASE_MS);
        if (row) {
          await this.#whileHeld(row, async (connection, blocking) => {
            const opened = await this.#open(row as PartitionRow, connection);
            nextTryMs = Math.min(INTERRUPTED_MS * 2 ** health.interruptions, LEASE_TRIES_MS);
            health.interruptions += 1;
            await this.#read(opened, blocking, health);
          });
        }
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        const isKnown = error instanceof HitzeroError;
        const hint = isKnown && error.hint !== "" ? { hint: error.hint } : {};
        if (text !== health.said && !stopping.aborted)
          this.#log[isKnown ? "warn" : "error"](
            { partition: number, error: text, ...hint },
            "reading is interrupted",
          );
        health.said = text;
      } finally {
        if (row) await releaseLease(database, number, row.term).catch(() => {});
      }
      await pause(nextTryMs, stopping);
    }
  }

  /** Lends connections to Redis for as long as the lease is renewed: whose lease is over writes nothing any more. */
  async #whileHeld(
    row: PartitionRow,
    work: (connection: RedisConnection, blocking: RedisConnection) => Promise<void>,
  ): Promise<void> {
    const over = new AbortController();
    this.#reading.add(over);
    let renewing: Promise<void> | undefined;
    const watch = setInterval(() => {
      const leftMs = row.held_until - performance.now();
      if (leftMs > 0) {
        if (leftMs > READER_LEASE_MS / 2 || renewing) return;
        // Also while the reader is at something that lasts. That the lease is another's by now it finds out by itself.
        renewing = renewLease(this.#database as Database, row, READER_LEASE_MS)
          .catch(() => {})
          .finally(() => {
            renewing = undefined;
          });
        return;
      }
      if (!over.signal.aborted)
        this.#log.warn({ partition: row.partition }, "the lease was not renewed in time: its reader lets go");
      over.abort();
    }, LEASE_TRIES_MS);
    try {
      const { signal } = over;
      const connection = await RedisConnection.open(this.#options.redisUrl, { signal });
      await work(connection, await connection.duplicate());
    } finally {
      clearInterval(watch);
      over.abort();
      this.#reading.delete(over);
    }
  }

  async #open(row: PartitionRow, connection: RedisConnection): Promise<Opened> {
    const partition = this.#partitionOf(connection, row.partition);
    const opened = await openPartition(this.#database as Database, row, partition, this.#log);
    await partition.ensureQueues(["default"]);
    return { row: opened, partition, identity: await connection.identity() };
  }

  async #read(
    { row, partition, identity }: Opened,
    blocking: RedisConnection,
    health: Health,
  ): Promise<void> {
    const database = this.#database as Database;
    const irs = new IRCache(database);
    const recorder = new Recorder(row, partition, database, irs, this.#log, health.pace);
    await recorder.repeatCleanUp();
    const commands = new CommandApplier(
      partition,
      database,
      recorder,
      this.#options.namespace,
      this.#log,
      this.#limits,
    );
    await commands.takeOver();
    const onRefused: OnRefused = async (runId, call, error) => {
      if (runId !== undefined) await recorder.endRun(runId, call, faultText(error));
    };
    const bell = new JournalBell(blocking, partition);
    const unoffered = new UnofferedClock(partition, database, irs, {
      readerId: this.id,
      timeoutMs: this.#options.unofferedTimeoutMs,
      limits: this.#limits,
      log: this.#log,
      stopping: this.#stopping.signal,
    });
    let left: Unapplied = { waiting: false, more: true };
    /** There may be more of the runs that never started than one look takes. */
    let unstarted = false;
    /** When the last batch was, if the last round had one. */
    let recordedAt = 0;
    let sweptAt = Number.NEGATIVE_INFINITY;
    let reviveAt = performance.now() + this.#options.stuckMs / 5;
    let tidiedAt = performance.now();
    const goneMs = this.#options.unclaimedMs * GONE_UNCLAIMED;
    while (!this.#stopping.signal.aborted) {
      const gapMs = recordedAt + RECORD_GAP_MS - performance.now();
      if (recordedAt > 0 && gapMs > 0) await pause(gapMs, this.#stopping.signal);
      // Before what may take longer.
      const nextDue = await fireTimers(partition, (runId) => commands.timeOut(runId), onRefused);
      // Not `recorded === 0`: while runs go on there is always something to record.
      const { recorded, upToDate } = await recorder.recordNext();
      if (recorded > 0) health.interruptions = 0;
      recordedAt = recorded > 0 ? performance.now() : 0;
      const due = performance.now() - sweptAt >= SWEEP_MS;
      if (due) {
        sweptAt = performance.now();
        await renewLease(database, row, READER_LEASE_MS);
        // A partition at rest makes no call that would be refused.
        await checkedMeta(database, row, partition);
        await this.#reclaim(partition, onRefused);
        await unoffered.look();
      }
      if (upToDate && (due || unstarted)) unstarted = await this.#startUnstarted(partition, irs, recorder);
      if (performance.now() - tidiedAt >= goneMs / 5) {
        tidiedAt = performance.now();
        await this.#tidy(partition, goneMs);
      }
      if (upToDate && performance.now() >= reviveAt) {
        const more = await commands.reviveQuiet(this.#options.stuckMs);
        reviveAt = performance.now() + (more ? SWEEP_MS : this.#options.stuckMs / 5);
      }
      await commands.bury();
      await commands.announceWithdrawn();
      await this.#startChildren(partition, irs, recorder);
      const startedSome = left.waiting && recorded > 0;
      if (due || bell.nudged || recorder.commanded || left.more || startedSome) {
        bell.nudged = recorder.commanded = false;
        left = await commands.applyCommands();
      }
      if (due || recorder.unswept) await commands.sweep();
      health.said = "";
      health.interruptions = 0;
      if (recorded > 0 || !upToDate || left.more || unstarted) continue;
      if ((await partition.connection.identity()) !== identity) return; // another server: compare and open again
      const idleMs = Math.min(SWEEP_MS, (nextDue ?? Number.POSITIVE_INFINITY) - partition.connection.now());
      if (idleMs > 0) await bell.wait(row.recorded_seq, idleMs, this.#stopping.signal);
    }
  }

  /** What workers that are gone left in Redis. */
  async #tidy(partition: Partition, goneMs: number): Promise<void> {
    const queues = (await partition.queues()).map((queue) => ({ queue }));
    const services = await readServices(this.#database as Database, queues);
    const unread = services.flatMap(({ queue, read }) => (read ? [] : [queue]));
    await tidyStreams(partition, goneMs, unread);
  }

  /** Tokens of workers that are lost are handed out again. */
  async #reclaim(partition: Partition, onRefused: OnRefused): Promise<void> {
    const reclaimed = await reclaimExpired(partition, onRefused);
    let unclaimed = 0;
    for (const stream of await listReadyStreams(partition))
      unclaimed += await requeueUnclaimed(partition, stream, this.#options.unclaimedMs, onRefused);
    if (reclaimed + unclaimed > 0) {
      this.#log.warn(
        { partition: partition.number, reclaimed, unclaimed },
        "tokens of lost workers are handed out again",
      );
    }
  }

  /** Runs that executions wait for. One that is missed here is started as an accepted run that never started. */
  async #startChildren(partition: Partition, irs: IRCache, recorder: Recorder): Promise<void> {
    const { children } = recorder;
    for (let child = children.shift(); child; child = children.shift()) {
      const { runId, digest, input, paused } = child;
      const run = { runId, generation: 1, digest, epoch: partition.epoch, input, paused };
      if ((await this.#startRun(partition, irs, recorder, run)) === "no_memory") children.length = 0;
    }
  }

  /** The reader alone starts runs whose submitter did not get to it, a bounded number. Answers whether there may be more. */
  async #startUnstarted(partition: Partition, irs: IRCache, recorder: Recorder): Promise<boolean> {
    const database = this.#database as Database;
    const { number, epoch } = partition;
    const { unstarted: limit } = this.#limits;
    const rows = await listUnstarted(database, number, START_GRACE_MS, limit);
    let moved = false;
    for (const row of rows) {
      const { run_id: runId, generation, ir_digest: digest, input, parent_paused: paused } = row;
      const run = { runId, generation, digest, epoch, input, paused };
      const word = await this.#startRun(partition, irs, recorder, run);
      if (word === "no_memory") return false;
      if (word !== "started") continue;
      moved = true;
      this.#log.info({ run_id: runId }, "an accepted run that never started is started");
    }
    return moved && rows.length === limit;
  }

  /** Undefined: the run is refused, and ended. A Redis without memory starts nothing, but goes on with what it has. */
  async #startRun(
    partition: Partition,
    irs: IRCache,
    recorder: Recorder,
    run: Parameters<typeof startRun>[2],
  ): Promise<StartWord | "no_memory" | undefined> {
    const start = async () => startRun(partition, await irs.get(run.digest), run);
    try {
      const word = await recorder.carryOn(run.runId, "start", start);
      this.#memoryShort.delete(partition.number);
      return word;
    } catch (error) {
      if (!isShortOfMemory(error)) throw error;
      if (!this.#memoryShort.has(partition.number))
        this.#log.warn({ partition: partition.number }, "Redis has no memory left: runs start when it has");
      this.#memoryShort.add(partition.number);
      return "no_memory";
    }
  }
}

/** Waits, on a connection of its own, until the journal goes on or somebody gave a command. */
class JournalBell {
  /** A command may be waiting. */
  nudged = true;
  readonly #blocking: RedisConnection;
  readonly #partition: Partition;
  #lastNudge = "0-0";
  #blockingId: number | undefined;

  constructor(blocking: RedisConnection, partition: Partition) {
    this.#blocking = blocking;
    this.#partition = partition;
  }

  /** An idle Redis looks only ten times a second whether a blocked read is over: this process counts the time by itself. */
  async wait(recorded: number, limitMs: number, stopping: AbortSignal): Promise<void> {
    this.#blockingId ??= await this.#blocking.redis.client("ID");
    if (stopping.aborted) return;
    const id = this.#blockingId;
    const { redis } = this.#partition.connection;
    const unblock = () => void redis.client("UNBLOCK", id).catch(() => {});
    const timer = setTimeout(unblock, limitMs);
    stopping.addEventListener("abort", unblock);
    try {
      await this.#read(recorded, limitMs);
    } finally {
      clearTimeout(timer);
      stopping.removeEventListener("abort", unblock);
    }
  }

  async #read(recorded: number, limitMs: number): Promise<void> {
    const { keys, epoch } = this.#partition;
    const streams = [keys.journal(epoch), keys.nudge];
    const positions = [`${recorded}-0`, this.#lastNudge];
    const reply = await this.#blocking.redis.xread(
      ...(["COUNT", 1, "BLOCK", Math.ceil(limitMs), "STREAMS", ...streams, ...positions] as [
        "COUNT",
        number,
        "BLOCK",
        number,
        "STREAMS",
        ...string[],
      ]),
    );
    for (const [key, entries] of reply ?? []) {
      if (key !== keys.nudge) continue;
      this.nudged = true;
      this.#lastNudge = entries.at(-1)?.[0] ?? this.#lastNudge;
    }
  }
}

/**
 * Compares what Redis holds with the record and opens the partition for the server that answers.
 * @throws HistoryLostError when the two do not fit and started runs would be affected
 */
async function openPartition(
  database: Database,
  row: PartitionRow,
  partition: Partition,
  log: Log,
): Promise<PartitionRow> {
  const meta = await checkedMeta(database, row, partition);
  const timeline = await partition.connection.identity();
  if (meta.epoch !== null && Number(meta.epoch) === row.epoch) {
    partition.epoch = meta.epoch;
    const loss = await findLoss(row, partition, meta.seq);
    if (loss === undefined) {
      if (meta.timeline !== timeline) {
        await grantLeases(partition);
        const word = await partition.open({
          epoch: meta.epoch,
          create: false,
          expected: meta.timeline ?? "",
        });
        if (word !== "opened") throw new FenceError(row.partition, "timeline");
        log.info(
          { partition: row.partition },
          "Redis restarted with its history; the partition is open again",
        );
      }
      await noteOpening(database, row, { timeline });
      return row;
    }
    await refuseLoss(database, row, loss);
  } else if (row.epoch > 0) await refuseLoss(database, row, "it does not hold the partition's current epoch");
  const next = await beginEpoch(database, row);
  await partition.open({ epoch: String(next.epoch), create: true });
  await noteOpening(database, next, { timeline });
  return next;
}

/**
 * What Redis says of the partition.
 * @throws ForeignRedisError when another database fills the namespace, FenceError when another release does
 */
async function checkedMeta(database: Database, row: PartitionRow, partition: Partition): Promise<Meta> {
  try {
    const meta = await partition.checkOwner();
    if (meta.layout !== null && meta.layout !== LAYOUT) throw new FenceError(row.partition, "layout");
    return meta;
  } catch (error) {
    if (error instanceof FenceError) {
      await noteOpening(database, row, { closedReason: `${error.code}: ${error.message}` });
    }
    throw error;
  }
}

/** Nothing is lost when the last recorded entry is there and is the same. */
async function findLoss(row: PartitionRow, partition: Partition, seq: number): Promise<string | undefined> {
  if (seq < row.recorded_seq) return `its journal ends at ${seq}, the record at ${row.recorded_seq}`;
  if (row.recorded_seq === 0) return undefined;
  const [last] = await partition.readJournal(row.recorded_seq, 1);
  if (last?.[0] !== `${row.recorded_seq}-0`) return `entry ${row.recorded_seq} is missing`;
  if (storable(last[1][1] ?? "") !== row.recorded_call)
    return `entry ${row.recorded_seq} is another than the one recorded`;
  return undefined;
}

/** With started runs on record a fresh epoch would lose them: the partition stays closed. */
async function refuseLoss(database: Database, row: PartitionRow, what: string): Promise<void> {
  if ((await countStartedRuns(database, row.partition)) === 0) return;
  await noteOpening(database, row, { closedReason: `HISTORY_LOST: ${what}` });
  throw new HistoryLostError(row.partition, what);
}
