/**
 * A supervisor: takes the lease of each partition when it is free, opens the partition, and has it read. Several may run; each partition has
 * one reader at a time.
 *
 * Owns: the lease of its partitions. A crash lets the lease run out; a stopped process finds its term gone and starts over.
 */

import { hostname } from "node:os";
import { HitzeroError } from "../../base/errors.ts";
import { createLog, type Log } from "../../base/log.ts";
import { pause } from "../../base/wait.ts";
import { Database } from "../../postgres/database.ts";
import {
  listPartitions,
  type PartitionRow,
  READER_SETTINGS,
  readInstallation,
  releaseLease,
  takeLease,
} from "../../postgres/partitions.ts";
import { PERIOD_MS } from "../../postgres/periods.ts";
import { RedisConnection } from "../../redis/connection.ts";
import { newNonce } from "../../redis/nonce.ts";
import { Partition } from "../../redis/partition.ts";
import { refuseMissingRights } from "../../redis/rights.ts";
import { ensureQueues } from "../../redis/scripts/ensure_queues.ts";
import { Heart, Lifecycle } from "../lifecycle.ts";
import {
  LAST_ANSWERS_MS,
  LIMITS,
  type Limits,
  READER_LEASE_MS,
  STUCK_MS,
  UNCLAIMED_MS,
  UNOFFERED_TIMEOUT_MS,
} from "../limits.ts";
import { checkOptions } from "../settings.ts";
import { openPartition } from "./opening.ts";
import { type Pace, startingPace } from "./pace.ts";
import { type Opened, PartitionReader } from "./partition_reader.ts";
import { PeriodMaker } from "./periods.ts";
import { ReaderLease } from "./reader_lease.ts";

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
  /** Runs of so long a time have tables of their own in Postgres, milliseconds (whole minutes). Default 604,800,000, a week. */
  periodMs?: number;
  log?: Log;
}

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

export class Supervisor {
  readonly id = `supervisor-${hostname()}-${process.pid}-${newNonce()}`;
  readonly #options: Required<Omit<SupervisorOptions, "log">>;
  readonly #log: Log;
  readonly #limits: Limits;
  readonly #life = new Lifecycle({ id: this.id, start: () => this.#start(), stop: () => this.#stop() });
  #database: Database | undefined;
  #heart: Heart | undefined;
  #installation = "";
  #readers: Promise<void>[] = [];
  #periods: Promise<void> | undefined;
  /** Of those that read. */
  readonly #leases = new Set<ReaderLease>();

  /** `limits`: for tests. @throws HitzeroError BAD_SETTING, BAD_NAMESPACE */
  constructor(options: SupervisorOptions, limits: Limits = LIMITS) {
    checkOptions(options);
    this.#limits = limits;
    this.#options = {
      namespace: "hitzero",
      unclaimedMs: UNCLAIMED_MS,
      stuckMs: STUCK_MS,
      unofferedTimeoutMs: UNOFFERED_TIMEOUT_MS,
      periodMs: PERIOD_MS,
      ...options,
    };
    this.#log = options.log ?? createLog("silent");
  }

  /**
   * Connects and begins to read. A second call answers as the first; one that was stopped does not start again.
   * @throws HitzeroError ALREADY_STOPPED, or when a server cannot be used
   */
  start(): Promise<void> {
    return this.#life.start();
  }

  /** Ends the batch under way, gives the leases back, and closes. A second call waits for the first. */
  stop(): Promise<void> {
    return this.#life.stop();
  }

  async #start(): Promise<void> {
    const database = new Database(this.#options.databaseUrl, {
      settings: READER_SETTINGS,
      size: 8,
      limitMs: READER_LEASE_MS,
    });
    try {
      const partitions = await listPartitions(database);
      this.#installation = await readInstallation(database);
      await this.#checkRedis(partitions);
      const offers = { queues: [], functions: [], concurrency: null };
      const heart = new Heart(database, { workerId: this.id, kind: "supervisor", ...offers });
      await heart.begin();
      this.#heart = heart;
      this.#database = database;
      this.#readers = partitions.map((partition) => this.#keepReading(partition, database));
      const periods = new PeriodMaker(database, this.#options.periodMs, this.#limits, this.#log);
      this.#periods = periods.keepMaking(this.#life.stopping);
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  async #stop(): Promise<void> {
    // Servers that do not answer hold nobody up: the leases run out by themselves.
    const late = setTimeout(() => {
      for (const lease of this.#leases) lease.letGo();
    }, STOP_LIMIT_MS);
    // When it is only Redis that does not answer, the lease is given back first.
    const latest = setTimeout(() => void this.#database?.close(), STOP_LIMIT_MS + LAST_ANSWERS_MS);
    await Promise.all([...this.#readers, this.#periods]);
    await this.#heart?.end();
    await this.#database?.close();
    clearTimeout(late);
    clearTimeout(latest);
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

  /** Takes the lease whenever it is free, and reads while it holds. */
  async #keepReading(number: number, database: Database): Promise<void> {
    const { stopping } = this.#life;
    const health: Health = { said: "", interruptions: 0, pace: startingPace(this.#limits.record) };
    while (!stopping.aborted) {
      let row: PartitionRow | undefined;
      let nextTryMs = LEASE_TRIES_MS;
      try {
        row = await takeLease(database, number, this.id, READER_LEASE_MS);
        if (row) {
          await this.#readWhileHeld(row, database, health, () => {
            nextTryMs = Math.min(INTERRUPTED_MS * 2 ** health.interruptions, LEASE_TRIES_MS);
            health.interruptions += 1;
          });
        }
      } catch (error) {
        if (!stopping.aborted) this.#report(number, error, health);
      } finally {
        if (row) await releaseLease(database, number, row.term).catch(() => {});
      }
      await pause(nextTryMs, stopping);
    }
  }

  async #readWhileHeld(
    row: PartitionRow,
    database: Database,
    health: Health,
    onOpened: () => void,
  ): Promise<void> {
    const lease = new ReaderLease(row, database, this.#options.redisUrl, this.#log);
    this.#leases.add(lease);
    try {
      await lease.whileHeld(async (connection, blocking) => {
        const opened = await this.#open(row, connection, database);
        onOpened();
        await this.#readerOf(opened, blocking, database, health).read();
      });
    } finally {
      this.#leases.delete(lease);
    }
  }

  async #open(row: PartitionRow, connection: RedisConnection, database: Database): Promise<Opened> {
    const partition = this.#partitionOf(connection, row.partition);
    const opened = await openPartition(database, row, partition, this.#log);
    await ensureQueues(partition, ["default"]);
    return { row: opened, partition, identity: await connection.identity() };
  }

  #readerOf(opened: Opened, blocking: RedisConnection, database: Database, health: Health): PartitionReader {
    const { unclaimedMs, stuckMs, unofferedTimeoutMs } = this.#options;
    return new PartitionReader(opened, blocking, database, {
      readerId: this.id,
      unclaimedMs,
      stuckMs,
      unofferedTimeoutMs,
      limits: this.#limits,
      pace: health.pace,
      log: this.#log,
      stopping: this.#life.stopping,
      onRecorded: () => {
        health.interruptions = 0;
      },
      onRound: () => {
        health.said = "";
        health.interruptions = 0;
      },
    });
  }

  /** Once, until reading goes well again. */
  #report(partition: number, error: unknown, health: Health): void {
    const text = error instanceof Error ? error.message : String(error);
    const isKnown = error instanceof HitzeroError;
    const hint = isKnown && error.hint !== "" ? { hint: error.hint } : {};
    if (text !== health.said)
      this.#log[isKnown ? "warn" : "error"]({ partition, error: text, ...hint }, "reading is interrupted");
    health.said = text;
  }
}
