/**
 * A worker: consumes tokens, performs executions, applies what they come to. Stateless: any number may run.
 *
 * Owns: its connections and its parts, from start to stop: the intake of tokens, the executions that it holds, in memory only, and their
 * leases. A crash leaves its tokens leased; so does a drain that gives up: when its time is over, or, with no handler at work, one lease
 * after Redis's last answer, as its tokens may be others' by then anyway.
 */

import { hostname } from "node:os";
import type { Log } from "../../base/log.ts";
import { createLog } from "../../base/log.ts";
import { Bell } from "../../base/wait.ts";
import { handlersOf } from "../../handlers/load.ts";
import type { Handler, Handlers } from "../../handlers/types.ts";
import { askToFail } from "../../postgres/commands.ts";
import { Database } from "../../postgres/database.ts";
import { listPartitions, readInstallation } from "../../postgres/partitions.ts";
import type { Withdrawn } from "../../redis/announcements.ts";
import { RedisConnection } from "../../redis/connection.ts";
import { FenceError } from "../../redis/fence_error.ts";
import { announceOpened, STREAM_OPENED } from "../../redis/function_streams.ts";
import { controlChannel } from "../../redis/keys.ts";
import { newNonce } from "../../redis/nonce.ts";
import { Partition } from "../../redis/partition.ts";
import { refuseMissingRights } from "../../redis/rights.ts";
import { nudgeReader } from "../../redis/scripts/nudge.ts";
import { type Death, reportDeath } from "../../redis/scripts/reclaim.ts";
import { forgetWorker } from "../../redis/workers.ts";
import { alreadyStopped } from "../already_stopped.ts";
import { checkQueues } from "../checked_texts.ts";
import { Heart, Lifecycle } from "../lifecycle.ts";
import {
  BLOCKED_GRACE_MS,
  DEFAULT_CONCURRENCY,
  DRAIN_TIMEOUT_MS,
  LAST_ANSWERS_MS,
  LEASE_MS,
  LIMITS,
  type Limits,
  MOMENT_MS,
} from "../limits.ts";
import { faultText } from "../own_fault.ts";
import { checkOptions } from "../settings.ts";
import { whileAway } from "../while_away.ts";
import { watchEscapes } from "./escapes.ts";
import type { Executions } from "./executions.ts";
import { FencedOut } from "./fenced_out.ts";
import { callOff, halt, withdraw } from "./interruptions.ts";
import { Lane } from "./lane.ts";
import { Offers } from "./offers.ts";
import { makeParts, type Parts } from "./parts.ts";
import type { Rest, Slot } from "./slot.ts";
import { type SuspectsPolicy, SuspectTurns } from "./suspects.ts";

export interface WorkerOptions {
  redisUrl: string;
  databaseUrl: string;
  /** Default `hitzero`. */
  namespace?: string;
  /** Functions by name: what `loadHandlers` or `defineHandlers` answer, or a plain object. */
  handlers: Handlers | Readonly<Record<string, Handler>>;
  /** Executions at once, 1 to 1,000. Default 32. */
  concurrency?: number;
  /** Queues to read, by names of up to 128 letters, digits, `_`, `.` and `-`. Default `["default"]`. */
  queues?: readonly string[];
  /** A worker that is lost keeps its tokens for this long, milliseconds. Default 10,000. */
  leaseMs?: number;
  /** `stop` lets handlers run on for this long, milliseconds; then their signals are aborted. Default 25,000. */
  drainTimeoutMs?: number;
  /** For hitzero's own processes: who performs what workers were lost with. Default `here`: this worker, with nothing else under way. */
  suspects?: SuspectsPolicy;
  /** For tests: a process whose loop has not turned for so long beyond a node's `timeout_ms` is ended, milliseconds. Default 30,000. */
  blockedGraceMs?: number;
  log?: Log;
}

export class Worker {
  readonly id = `worker-${hostname()}-${process.pid}-${newNonce()}`;
  readonly #options: Required<Omit<WorkerOptions, "log">> & { handlers: Handlers };
  readonly #log: Log;
  readonly #limits: Limits;
  readonly #lanes = new Map<number, Lane>();
  readonly #suspects: SuspectTurns;
  readonly #offers: Offers;
  readonly #fencedOut: FencedOut;
  readonly #freed = new Bell();
  readonly #abandoned = new AbortController();
  readonly #life = new Lifecycle({ id: this.id, start: () => this.#start(), stop: () => this.#drain() });
  /** The time of the drain is over. */
  #late = false;
  #connection: RedisConnection | undefined;
  #blocking: RedisConnection | undefined;
  #listener: RedisConnection | undefined;
  #database: Database | undefined;
  #parts: Parts | undefined;
  #fetching: Promise<void> | undefined;
  #timers: NodeJS.Timeout[] = [];
  #heart: Heart | undefined;
  #unwatch = () => {};

  /** `limits`: for tests. @throws HitzeroError BAD_QUEUE, BAD_SETTING, BAD_NAMESPACE */
  constructor(options: WorkerOptions, limits: Limits = LIMITS) {
    checkOptions(options);
    this.#limits = limits;
    this.#options = {
      namespace: "hitzero",
      concurrency: DEFAULT_CONCURRENCY,
      leaseMs: LEASE_MS,
      drainTimeoutMs: DRAIN_TIMEOUT_MS,
      suspects: "here",
      blockedGraceMs: BLOCKED_GRACE_MS,
      ...options,
      queues: checkQueues(options.queues ?? ["default"]),
      handlers: options.handlers instanceof Map ? options.handlers : handlersOf({ ...options.handlers }),
    };
    this.#log = options.log ?? createLog("silent");
    this.#fencedOut = new FencedOut(this.#log);
    this.#offers = new Offers(this.#options.handlers);
    this.#suspects = new SuspectTurns(this.#options.suspects);
  }

  /**
   * Connects and begins to consume. A second call answers as the first; one that was stopped does not start again.
   * @throws HitzeroError ALREADY_STOPPED, or when a server cannot be used
   */
  start(): Promise<void> {
    return this.#life.start();
  }

  async #start(): Promise<void> {
    this.#database = new Database(this.#options.databaseUrl);
    let parts: Parts;
    try {
      await this.#openLanes(this.#database);
      parts = this.#open(this.#connection as RedisConnection, this.#database);
      this.#parts = parts;
      this.#heart = this.#heartOf(this.#database);
      await this.#heart.begin();
      // Given up meanwhile: what was opened since is closed again.
      if (this.#abandoned.signal.aborted) throw alreadyStopped(this.id);
    } catch (error) {
      await this.#close();
      throw error;
    }
    const { leaseMs } = this.#options;
    this.#timers = [
      setInterval(() => parts.executions.noteLong(), MOMENT_MS),
      setInterval(() => void this.#renew(), leaseMs / 3),
    ];
    this.#unwatch = watchEscapes();
    for (const lane of this.#lanes.values()) parts.leases.heardFrom(lane);
    this.#fetching = parts.intake.run();
  }

  async #openLanes(database: Database): Promise<void> {
    const { redisUrl, namespace, queues, leaseMs } = this.#options;
    const numbers = await listPartitions(database);
    const installation = await readInstallation(database);
    const connection = await RedisConnection.open(redisUrl);
    this.#connection = connection;
    await refuseMissingRights(connection, namespace);
    this.#blocking = await connection.duplicate();
    this.#listener = await connection.duplicate();
    await this.#listen(this.#listener);
    for (const number of numbers) {
      const partition = new Partition(connection, namespace, number, installation, this.#limits);
      await partition.checkOwner();
      const lane = new Lane(partition, {
        workerId: this.id,
        queues,
        leaseMs,
        limits: this.#limits,
        log: this.#log,
        onAnswer: (lane, answer) => {
          if (answer.reply.opened) announceOpened(connection, namespace).catch(() => {});
          this.#parts?.executions.answered(lane, answer);
        },
        onGivenUp: (_lane, batch) => this.#parts?.executions.givenUp(batch),
        onRefused: (lane, batch, error) =>
          void this.#parts?.executions.refused(lane, batch, faultText(error)),
        onFailed: (lane, error) => this.#isFencedOut(lane.partition, error),
        stopping: this.#life.stopping,
        abandoned: this.#abandoned.signal,
      });
      this.#lanes.set(number, lane);
    }
  }

  #open(connection: RedisConnection, database: Database): Parts {
    const { queues, leaseMs, concurrency, redisUrl, blockedGraceMs, handlers } = this.#options;
    return makeParts({
      workerId: this.id,
      redisUrl,
      queues,
      leaseMs,
      concurrency,
      blockedGraceMs,
      handlers,
      limits: this.#limits,
      log: this.#log,
      lanes: this.#lanes,
      connection,
      blocking: this.#blocking as RedisConnection,
      database,
      offers: this.#offers,
      suspects: this.#suspects,
      fencedOut: this.#fencedOut,
      freed: this.#freed,
      stopping: this.#life.stopping,
      abandoned: this.#abandoned.signal,
      onFailed: (partition, error) => this.#isFencedOut(partition, error),
      giveUp: (lane, slot, call, reason) => this.#askToFail(lane, slot, call, reason),
    });
  }

  /** Takes no more tokens, lets what runs end, in its time, and closes. A second call waits for the first. */
  stop(): Promise<void> {
    return this.#life.stop();
  }

  /** Closes at once: what runs is left to its lease. */
  abandon(): Promise<void> {
    return this.#life.abandon(() => {
      this.#abandoned.abort();
      this.#freed.ring();
      return this.#close();
    });
  }

  async #drain(): Promise<void> {
    this.#freed.ring();
    void this.#parts?.intake.unblock();
    // Whatever it does not finish is nobody's fault from now on.
    void this.#renew();
    let fetching = this.#fetching !== undefined;
    void this.#fetching?.finally(() => {
      fetching = false;
    });
    const executions = this.#parts?.executions;
    if (executions) executions.progressAt = performance.now();
    const late = setTimeout(() => this.#endDrain(), this.#options.drainTimeoutMs);
    while (
      !this.#abandoned.signal.aborted &&
      (fetching || (executions?.taken ?? 0) > 0 || [...this.#lanes.values()].some((lane) => !lane.idle))
    ) {
      await this.#freed.rungWithin(50);
      if (executions && this.#isStuck(executions)) {
        this.#log.error({ taken: executions.taken }, "the drain is given up; what is left has its lease");
        this.#abandoned.abort();
      }
    }
    clearTimeout(late);
    await this.#heart?.end();
    // When it gave up, what it left has its leases, and they their worker.
    const gaveUp = this.#late || this.#abandoned.signal.aborted;
    for (const { partition } of gaveUp ? [] : this.#lanes.values())
      await forgetWorker(partition, this.id).catch(() => {});
    await this.#close();
  }

  /** Handlers are told to stop; what they do not end at once is left to its lease. */
  #endDrain(): void {
    this.#late = true;
    const performing = this.#parts?.executions.performing ?? [];
    const executions = performing.map(({ runId, node }) => ({ run_id: runId, node: node.id }));
    this.#log.warn(
      { executions, drain_timeout_ms: this.#options.drainTimeoutMs },
      "the drain takes too long: handlers are told to stop, and what they do not end is left to its lease",
    );
    this.#parts?.executions.endDrain();
    for (const slot of performing) callOff(slot, "stops");
    this.#timers.push(setTimeout(() => this.#abandoned.abort(), LAST_ANSWERS_MS));
  }

  /** No handler runs, and for one lease nothing was answered. */
  #isStuck({ performing, progressAt }: Executions): boolean {
    return performing.length === 0 && performance.now() - progressAt > this.#options.leaseMs;
  }

  async #close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#heart?.cease();
    this.#parts?.close();
    this.#unwatch();
    this.#connection?.close();
    this.#blocking?.close();
    this.#listener?.close();
    await this.#parts?.connections.close();
    await this.#database?.close();
    this.#database = undefined;
  }

  #heartOf(database: Database): Heart {
    const { queues, handlers, concurrency } = this.#options;
    const functions = [...handlers.keys()].sort();
    return new Heart(database, { workerId: this.id, kind: "worker", queues, functions, concurrency });
  }

  async #renew(): Promise<void> {
    for (const lane of this.#lanes.values()) await this.#parts?.leases.renew(lane);
  }

  /** Hears of halted runs and withdrawn executions at once; what is missed here is found with the next renewal. */
  async #listen(listener: RedisConnection): Promise<void> {
    await listener.subscribe(controlChannel(this.#options.namespace), (message) => {
      if (this.#parts === undefined) return;
      const { streams, intake, executions } = this.#parts;
      if (message === STREAM_OPENED) {
        streams.forget();
        void intake.unblock();
      } else if (message.startsWith("{")) withdraw(executions.running, JSON.parse(message) as Withdrawn);
      else halt(executions.running, message);
    });
  }

  /** Nobody here can end this execution, or rest of a step: its run is to end. */
  async #askToFail(
    { partition }: Lane,
    { runId }: Slot | Rest,
    call: "finish" | "claim",
    reason: string,
  ): Promise<void> {
    const run = { runId, partition: partition.number, by: this.id, fault: { call, reason } };
    try {
      await askToFail(this.#database as Database, run);
      await nudgeReader(partition);
    } catch (error) {
      // Its token is handed out again.
      const place = { partition: partition.number, run_id: runId };
      this.#log.warn({ ...place, error: String(error) }, "nobody could be asked to end a run");
    }
  }

  /** The process that performs the suspects ended: what it performed is charged with that. */
  async reportDeath(death: Death): Promise<void> {
    const { signal } = this.#abandoned;
    for (const { partition } of this.#lanes.values())
      await whileAway({ signal }, () => reportDeath(partition, death)).catch(() => {});
  }

  /** Names what the process is about to end by; waits, while nothing else runs, until that is written down. */
  sayLastWords(text: string): void {
    this.#parts?.liveness.say(text);
  }

  /**
   * A call to a partition failed. Was it refused for good? Then nothing more is read until that is over. Another epoch has other streams.
   */
  #isFencedOut(partition: Partition, error: unknown): boolean {
    const isOut = this.#fencedOut.heard(partition.number, error);
    if (isOut) void this.#parts?.intake.unblock();
    else if (error instanceof FenceError && error.why === "epoch") this.#parts?.intake.readAnew();
    return isOut;
  }
}
