/**
 * How a worker comes to tokens: reads the ready streams while it has room, and has them claimed.
 *
 * Owns: the connection that blocks. After a lost reply the entries of that reply are pending for this consumer, and are read again.
 */

import type { HitzeroError } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Bell } from "../../base/wait.ts";
import { pause } from "../../base/wait.ts";
import { RedisAwayError, type RedisConnection } from "../../redis/connection.ts";
import { FenceError } from "../../redis/fence_error.ts";
import type { Partition } from "../../redis/partition.ts";
import { type ReadyEntry, readReady } from "../../redis/ready.ts";
import { ensureQueues } from "../../redis/scripts/ensure_queues.ts";
import { decodeToken, type Token } from "../../token/token.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { IRCache } from "../ir_cache.ts";
import { whileAway } from "../while_away.ts";
import type { Executions } from "./executions.ts";
import type { FencedOut } from "./fenced_out.ts";
import type { Lane } from "./lane.ts";
import { claimOf, traitsOf } from "./node_facts.ts";
import type { Offers } from "./offers.ts";
import type { ReadyStreams } from "./ready_streams.ts";
import type { SuspectTurns } from "./suspects.ts";

export interface IntakeOptions {
  workerId: string;
  queues: readonly string[];
  concurrency: number;
  log: Log;
  /** The connection that blocks, and one that does not. */
  blocking: RedisConnection;
  connection: RedisConnection;
  streams: ReadyStreams;
  offers: Offers;
  suspects: SuspectTurns;
  fencedOut: FencedOut;
  irs: IRCache;
  /** Rung when there may be room. */
  freed: Bell;
  /** The worker is told to stop. */
  stopping: AbortSignal;
  /** Lists what is held of a partition. */
  list: (lane: Lane) => Promise<unknown>;
  /** A call to a partition failed. */
  onFailed: (partition: Partition, error: unknown) => void;
}

export class Intake {
  readonly #options: IntakeOptions;
  readonly #lanes: ReadonlyMap<number, Lane>;
  readonly #executions: Executions;
  #blockingId: number | undefined;
  #pending = false;
  /** The partitions are to be looked at again before the next read. */
  #unprepared = true;

  constructor(lanes: ReadonlyMap<number, Lane>, executions: Executions, options: IntakeOptions) {
    this.#lanes = lanes;
    this.#executions = executions;
    this.#options = options;
  }

  /** Reads until the worker is told to stop. */
  async run(): Promise<void> {
    const { suspects, concurrency, freed, stopping, log } = this.#options;
    while (!stopping.aborted) {
      const free = suspects.room(concurrency, this.#executions.taken);
      if (free <= 0) {
        await freed.rung();
        continue;
      }
      try {
        await this.#read(free);
      } catch (error) {
        if (stopping.aborted) return;
        if (!(error instanceof RedisAwayError || error instanceof FenceError))
          log.error({ error: String(error) }, "reading tokens failed; it is tried again");
        this.#pending = true;
        this.#unprepared = true;
        await pause(200, stopping);
      }
    }
  }

  /** Ends a blocked read without losing what it may be about to return. */
  async unblock(): Promise<void> {
    const id = this.#blockingId;
    if (id !== undefined) await this.#options.connection.redis.client("UNBLOCK", id).catch(() => {});
  }

  /** A partition was opened in a new epoch: there are other streams to be read. */
  readAnew(): void {
    this.#unprepared = true;
    void this.unblock();
  }

  async #read(free: number): Promise<void> {
    const { suspects, streams, blocking, fencedOut, workerId } = this.#options;
    if (this.#unprepared || fencedOut.isOut) await this.#prepare();
    const { alone } = suspects;
    // Others wait for their turn behind suspects that may be gone.
    const wait = alone && !suspects.always ? { blockMs: 1 } : {};
    const from = await (alone ? streams.ofSuspects() : streams.list());
    const pending = this.#pending;
    const entries = await readReady(blocking, from, workerId, { count: free, pending, ...wait });
    if (alone && entries.length === 0) suspects.none();
    this.#pending = false;
    for (const entry of entries) {
      const taken = this.#take(entry);
      if (taken !== undefined) await taken;
    }
  }

  /** Makes sure of the connection, the partitions, and this worker's own record. */
  async #prepare(): Promise<void> {
    const { blocking, queues, streams, list } = this.#options;
    this.#unprepared = false;
    await blocking.identity();
    this.#blockingId = await blocking.redis.client("ID");
    for (const { partition } of this.#lanes.values()) {
      await this.#telling(partition, () => partition.refresh());
      await ensureQueues(partition, queues);
    }
    // Before the first token comes: a worker without a record is taken for dead when its loop is blocked.
    for (const lane of this.#lanes.values()) await list(lane);
    streams.forget();
  }

  /** Takes up the token of an entry; returns what is still to be waited for, which most often is nothing. */
  #take(entry: ReadyEntry): Promise<void> | undefined {
    const lane = this.#lanes.get(entry.partition) as Lane;
    const lie = `${lane.partition.keys.stream(entry)} ${entry.entry}`;
    const token = decodeToken(entry.text);
    if (!token || this.#executions.isTakingUp(lie)) return undefined;
    const ir = this.#options.irs.find(token.digest);
    if (ir === undefined) return this.#takeLater(entry, lane, lie, token);
    this.#takeUp(entry, lane, lie, token, ir);
    return undefined;
  }

  async #takeLater(entry: ReadyEntry, lane: Lane, lie: string, token: Token): Promise<void> {
    const ir = await this.#loadIR(token.digest);
    if (ir) this.#takeUp(entry, lane, lie, token, ir);
    // Another database's tokens, perhaps: those are not to be read on.
    else await this.#telling(lane.partition, () => lane.partition.checkOwner());
  }

  #takeUp(entry: ReadyEntry, lane: Lane, lie: string, token: Token, ir: IR): void {
    if (token.kind === "settle") {
      const { partition: _number, text: _text, ...position } = entry;
      this.#executions.settle(lane, ir, lie, { ...token, ...position, ...traitsOf(ir) });
      return;
    }
    const unoffered = this.#options.offers.unoffered(ir, token.node);
    this.#executions.claim(lane, ir, lie, token, claimOf(ir, token, entry, unoffered));
  }

  /** Waits for Postgres while it is away. Undefined: there is no such IR. */
  async #loadIR(digest: string): Promise<IR | undefined> {
    const { log, irs, stopping } = this.#options;
    const onAway = (error: HitzeroError) =>
      log.warn({ digest, error: error.message }, "an IR cannot be read now; it is tried again");
    try {
      return await whileAway({ signal: stopping, onAway }, () => irs.get(digest));
    } catch (error) {
      if ((error as { code?: string }).code !== "IR_NOT_FOUND") throw error;
      log.error({ digest, error: String(error) }, "an IR cannot be read");
      return undefined;
    }
  }

  async #telling<T>(partition: Partition, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      this.#options.onFailed(partition, error);
      throw error;
    }
  }
}
