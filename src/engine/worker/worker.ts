/**
 * A worker: consumes tokens, performs executions, applies what they come to. Stateless: any number may run.
 *
 * Owns: the executions that it holds, in memory only. Invariants: at most `concurrency` handlers run at once; a token is
 * claimed before its handler runs and given up only by `advance`; the slot of a finished execution stays taken until its step is answered,
 * because the answer may hand over the next token. A crash leaves its tokens leased; so does a drain that gives up: when its time is over, or,
 * with no handler at work, one lease after Redis's last answer, as its tokens may be others' by then anyway.
 */
import { hostname } from "node:os";
import { HitzeroError } from "../../base/errors.ts";
import { LazyAbort } from "../../base/lazy_abort.ts";
import type { Log } from "../../base/log.ts";
import { createLog } from "../../base/log.ts";
import { Patience } from "../../base/patience.ts";
import { Bell, pause } from "../../base/wait.ts";
import { keepConnections } from "../../handlers/http.ts";
import { handlersOf } from "../../handlers/load.ts";
import type { Handler, Handlers } from "../../handlers/types.ts";
import { askToFail } from "../../postgres/commands.ts";
import { Database } from "../../postgres/database.ts";
import { listPartitions, readInstallation } from "../../postgres/partitions.ts";
import { heartbeat, signOff } from "../../postgres/registry.ts";
import { runDepth } from "../../postgres/runs.ts";
import { findVersion } from "../../postgres/workflows.ts";
import type { ClaimEntry, FinishedEntry, StreamPosition } from "../../redis/calls.ts";
import { RedisAwayError, RedisConnection } from "../../redis/connection.ts";
import { announceOpened, STREAM_OPENED } from "../../redis/function_streams.ts";
import { controlChannel } from "../../redis/keys.ts";
import { FenceError, newNonce, Partition } from "../../redis/partition.ts";
import { type ReadyEntry, readReady } from "../../redis/ready.ts";
import { type HandedToken, isPostponed } from "../../redis/replies.ts";
import { refuseMissingRights } from "../../redis/rights.ts";
import { type Death, fatesOf, nudgeReader, reportDeath, type Withdrawn } from "../../redis/upkeep.ts";
import { forgetWorker, renewLeases } from "../../redis/workers.ts";
import { decodeToken, type ExecutionToken, encodeKept } from "../../token/token.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { alreadyStopped } from "../already_stopped.ts";
import { checkQueues } from "../checked_texts.ts";
import { IRCache } from "../ir_cache.ts";
import {
  BLOCKED_GRACE_MS,
  DEFAULT_CONCURRENCY,
  DRAIN_TIMEOUT_MS,
  HEARTBEAT_MS,
  ITEMS_HANDED_MS,
  LAST_ANSWERS_MS,
  LEASE_MS,
  LIMITS,
  type Limits,
  MOMENT_MS,
} from "../limits.ts";
import { ItemReader } from "../nodes/map_items.ts";
import type { WaitingServices } from "../nodes/waiting.ts";
import { faultText } from "../own_fault.ts";
import { checkOptions } from "../settings.ts";
import { VERSION } from "../version.ts";
import { whileAway } from "../while_away.ts";
import { watchEscapes } from "./escapes.ts";
import { failed, LEASE_LOST, perform, RUN_HALTED, WORKER_STOPS } from "./execute.ts";
import { FencedOut } from "./fenced_out.ts";
import { claimTraits, type HeldExecution, isCompensation, lifelines, nodeOf, traitsOf } from "./held.ts";
import { type Answer, type Batch, Lane } from "./lane.ts";
import { Liveness } from "./liveness.ts";
import { Offers } from "./offers.ts";
import { ReadyStreams } from "./ready_streams.ts";
import { type SuspectsPolicy, SuspectTurns } from "./suspects.ts";
import { executionOf, type Origin, readStoredBlob, storeOutput } from "./token_inputs.ts";

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

interface Running {
  held: HeldExecution;
  /** Its token, as `#held` has it. */
  kept: string;
  lane: Lane;
  startedAt: number;
  noted: boolean;
  /** The handler is through. */
  performed: boolean;
  lost: LazyAbort;
}

export class Worker {
  readonly id = `worker-${hostname()}-${process.pid}-${newNonce()}`;
  readonly #options: Required<Omit<WorkerOptions, "log">> & { handlers: Handlers };
  readonly #log: Log;
  readonly #limits: Limits;
  readonly #lanes = new Map<number, Lane>();
  readonly #origins = new Map<object, Origin>();
  readonly #runnable: { held: HeldExecution; kept: string; lane: Lane }[] = [];
  readonly #running = new Set<Running>();
  readonly #claiming = new Set<string>();
  /** Kept form of every token held, from its arrival until its step is answered. */
  readonly #held = new Map<string, Lane>();
  readonly #suspects: SuspectTurns;
  readonly #items: ItemReader;
  readonly #httpConnections = keepConnections();
  readonly #offers: Offers;
  readonly #fencedOut: FencedOut;
  readonly #slotFreed = new Bell();
  /** For how long what is held of a partition may be counted on. */
  readonly #patience = new Map<Lane, Patience>();
  readonly #abandoned = new AbortController();
  readonly #stopping = new AbortController();
  /** The time of the drain is over. */
  #late = false;
  #taken = 0;
  /** When an answer last came or a handler last ended, as `performance.now()`. */
  #progressAt = 0;
  #connection: RedisConnection | undefined;
  #blocking: RedisConnection | undefined;
  #listener: RedisConnection | undefined;
  #database: Database | undefined;
  #irs: IRCache | undefined;
  #streams: ReadyStreams | undefined;
  #fetching: Promise<void> | undefined;
  #timers: NodeJS.Timeout[] = [];
  #liveness: Liveness | undefined;
  #unwatch = () => {};
  #started: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  /** `limits`: for tests. @throws HitzeroError BAD_QUEUE, BAD_SETTING, BAD_NAMESPACE */
  constructor(options: WorkerOptions, limits: Limits = LIMITS) {
    checkOptions(options);
    this.#limits = limits;
    this.#items = new ItemReader(limits);
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
    this.#started ??= this.#stopped ? Promise.reject(alreadyStopped(this.id)) : this.#start();
    return this.#started;
  }

  async #start(): Promise<void> {
    const { redisUrl, databaseUrl, namespace, queues, leaseMs } = this.#options;
    this.#database = new Database(databaseUrl);
    try {
      const numbers = await listPartitions(this.#database);
      const installation = await readInstallation(this.#database);
      this.#irs = new IRCache(this.#database);
      this.#connection = await RedisConnection.open(redisUrl);
      await refuseMissingRights(this.#connection, namespace);
      this.#blocking = await this.#connection.duplicate();
      await this.#listen();
      for (const number of numbers) {
        const partition = new Partition(this.#connection, namespace, number, installation, this.#limits);
        await partition.checkOwner();
        this.#lanes.set(
          number,
          new Lane(partition, {
            workerId: this.id,
            queues,
            leaseMs,
            limits: this.#limits,
            log: this.#log,
            onAnswer: (lane, answer) => this.#answered(lane, answer),
            onGivenUp: (lane, { finished, claims }) => this.#letGo(lane, finished, claims),
            onRefused: (lane, batch, error) => void this.#refused(lane, batch, faultText(error)),
            onFailed: (lane, error) => this.#isFencedOut(lane.partition, error),
            stopping: this.#stopping.signal,
            abandoned: this.#abandoned.signal,
          }),
        );
      }
      this.#liveness = new Liveness({
        redisUrl,
        workerId: this.id,
        keys: [...this.#lanes.values()].map(({ partition: { keys } }) => ({
          workers: keys.workers,
          lastWords: keys.lastWords,
        })),
        leaseMs,
        concurrency: this.#options.concurrency,
        graceMs: this.#options.blockedGraceMs,
        log: this.#log,
      });
      const partitions = [...this.#lanes.values()].map(({ partition }) => partition);
      this.#streams = new ReadyStreams(partitions, queues, this.#offers);
      await this.#beat();
      // Given up meanwhile: what was opened since is closed again.
      if (this.#abandoned.signal.aborted) throw alreadyStopped(this.id);
    } catch (error) {
      await this.#close();
      throw error;
    }
    this.#timers = [
      setInterval(() => void this.#beat().catch(() => {}), HEARTBEAT_MS),
      setInterval(() => this.#noteLong(), MOMENT_MS),
      setInterval(() => void this.#renew(), leaseMs / 3),
    ];
    this.#unwatch = watchEscapes();
    for (const lane of this.#lanes.values()) this.#heardFrom(lane);
    this.#fetching = this.#fetch();
  }

  /** Takes no more tokens, lets what runs end, in its time, and closes. A second call waits for the first. */
  stop(): Promise<void> {
    this.#stopped ??= this.#drain();
    return this.#stopped;
  }

  /** Closes at once: what runs is left to its lease. */
  abandon(): Promise<void> {
    this.#stopping.abort();
    this.#abandoned.abort();
    this.#slotFreed.ring();
    this.#stopped = this.#close();
    return this.#stopped;
  }

  async #drain(): Promise<void> {
    this.#stopping.abort();
    this.#slotFreed.ring();
    // A stop may come while it still starts.
    await this.#started?.catch(() => {});
    void this.#unblock();
    // Whatever it does not finish is nobody's fault from now on.
    void this.#renew();
    let fetching = this.#fetching !== undefined;
    void this.#fetching?.finally(() => {
      fetching = false;
    });
    this.#progressAt = performance.now();
    const late = setTimeout(() => this.#endDrain(), this.#options.drainTimeoutMs);
    while (
      !this.#abandoned.signal.aborted &&
      (fetching || this.#taken > 0 || [...this.#lanes.values()].some((lane) => !lane.idle))
    ) {
      await this.#slotFreed.rungWithin(50);
      if (this.#isStuck()) {
        this.#log.error({ taken: this.#taken }, "the drain is given up; what is left has its lease");
        this.#abandoned.abort();
      }
    }
    clearTimeout(late);
    if (this.#database) await signOff(this.#database, this.id).catch(() => {});
    // When it gave up, what it left has its leases, and they their worker.
    const gaveUp = this.#late || this.#abandoned.signal.aborted;
    for (const { partition } of gaveUp ? [] : this.#lanes.values())
      await forgetWorker(partition, this.id).catch(() => {});
    await this.#close();
  }

  /** Handlers are told to stop; what they do not end at once is left to its lease. */
  #endDrain(): void {
    this.#late = true;
    const performing = [...this.#running].filter(({ performed }) => !performed);
    const executions = performing.map(({ held }) => ({ run_id: held.runId, node: nodeOf(held).id }));
    this.#log.warn(
      { executions, drain_timeout_ms: this.#options.drainTimeoutMs },
      "the drain takes too long: handlers are told to stop, and what they do not end is left to its lease",
    );
    for (const { kept } of this.#runnable.splice(0)) this.#leave(kept);
    for (const { lost } of performing) lost.abort(stopping());
    this.#timers.push(setTimeout(() => this.#abandoned.abort(), LAST_ANSWERS_MS));
  }

  /** This token is left to its lease. */
  #leave(kept: string): void {
    this.#held.delete(kept);
    this.#taken -= 1;
    this.#slotFreed.ring();
  }

  /** No handler runs, and for one lease nothing was answered. */
  #isStuck(): boolean {
    const performing = [...this.#running].some(({ performed }) => !performed);
    return !performing && performance.now() - this.#progressAt > this.#options.leaseMs;
  }

  /** Ends a blocked read without losing what it may be about to answer. */
  async #unblock(): Promise<void> {
    const id = this.#blockingId;
    if (id !== undefined) await this.#connection?.redis.client("UNBLOCK", id).catch(() => {});
  }

  #blockingId: number | undefined;

  async #close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    for (const patience of this.#patience.values()) patience.end();
    this.#unwatch();
    this.#liveness?.close();
    this.#connection?.close();
    this.#blocking?.close();
    this.#listener?.close();
    await this.#httpConnections.close();
    await this.#database?.close();
    this.#database = undefined;
  }

  async #beat(): Promise<void> {
    if (!this.#database) return;
    await heartbeat(this.#database, {
      workerId: this.id,
      kind: "worker",
      host: hostname(),
      pid: process.pid,
      version: VERSION,
      queues: this.#options.queues,
      functions: [...this.#options.handlers.keys()].sort(),
      concurrency: this.#options.concurrency,
    });
  }

  async #fetch(): Promise<void> {
    const streams = this.#streams as ReadyStreams;
    const stopping = this.#stopping.signal;
    // After a lost reply the entries of that reply are still pending for this consumer.
    let pending = false;
    while (!stopping.aborted) {
      const free = this.#suspects.room(this.#options.concurrency, this.#taken);
      if (free <= 0) {
        await this.#slotFreed.rung();
        continue;
      }
      try {
        const blocking = this.#blocking as RedisConnection;
        if (pending || this.#blockingId === undefined || this.#fencedOut.isOut) {
          await blocking.identity();
          this.#blockingId = await blocking.redis.client("ID");
          for (const { partition } of this.#lanes.values()) {
            await this.#telling(partition, () => partition.refresh());
            await partition.ensureQueues(this.#options.queues);
          }
          // Before the first token comes: a worker without a record is taken for dead when its loop is blocked.
          for (const lane of this.#lanes.values()) await this.#list(lane);
          streams.forget();
        }
        const { alone } = this.#suspects;
        // Others wait for their turn behind suspects that may be gone.
        const wait = alone && !this.#suspects.always ? { blockMs: 1 } : {};
        const from = await (alone ? streams.ofSuspects() : streams.list());
        const entries = await readReady(blocking, from, this.id, { count: free, pending, ...wait });
        if (alone && entries.length === 0) this.#suspects.none();
        pending = false;
        for (const entry of entries) await this.#take(entry);
      } catch (error) {
        if (stopping.aborted) return;
        if (!(error instanceof RedisAwayError || error instanceof FenceError)) {
          this.#log.error({ error: String(error) }, "reading tokens failed; it is tried again");
        }
        pending = true;
        await pause(200, stopping);
      }
    }
  }

  async #take(entry: ReadyEntry): Promise<void> {
    const lane = this.#lanes.get(entry.partition) as Lane;
    const key = lieOf(lane, entry);
    const token = decodeToken(entry.text);
    if (!token || this.#claiming.has(key)) return;
    const ir = await this.#loadIR(token.digest);
    // Another database's tokens, perhaps: those are not to be read on.
    if (!ir) return this.#telling(lane.partition, async () => void (await lane.partition.checkOwner()));
    const { partition: _number, text: _text, ...position } = entry;
    const common = { ...token, ...position };
    const unoffered = token.kind === "settle" ? undefined : this.#offers.unoffered(ir, token.node);
    this.#taken += 1;
    this.#claiming.add(key);
    if (token.kind === "settle") {
      lane.finish({ ir, item: { ...common, ...traitsOf(ir), work: token.work } });
    } else {
      const item = { ...common, ...token, ...claimTraits(ir, token.node, token.scope) };
      lane.claim({ ir, item: unoffered === undefined ? item : { ...item, unoffered } });
    }
  }

  /** Waits for Postgres while it is away, for so long at most. Undefined: there is no such IR. */
  async #loadIR(digest: string, limitMs = Number.POSITIVE_INFINITY): Promise<IR | undefined> {
    const onAway = (error: HitzeroError) =>
      this.#log.warn({ digest, error: error.message }, "an IR cannot be read now; it is tried again");
    try {
      const waiting = { signal: this.#stopping.signal, limitMs, onAway };
      return await whileAway(waiting, () => (this.#irs as IRCache).get(digest));
    } catch (error) {
      if ((error as { code?: string }).code !== "IR_NOT_FOUND") throw error;
      this.#log.error({ digest, error: String(error) }, "an IR cannot be read");
      return undefined;
    }
  }

  #answered(lane: Lane, { finished, claims, reply, payloads }: Answer): void {
    this.#progressAt = performance.now();
    const origins = finished.map(({ item }) => this.#origins.get(item));
    // Every answered item gives its slot back; every token that came takes one.
    this.#taken += reply.tokens.length;
    // What lacked its IR will be finished, or claimed, again.
    const done = finished.filter((_entry, index) => !isPostponed(reply.finished[index]?.word));
    const claimed = claims.filter((_entry, index) => !isPostponed(reply.claims[index]?.word));
    this.#letGo(lane, done, claimed);
    if (reply.opened) announceOpened(lane.partition.connection, this.#options.namespace).catch(() => {});
    for (const token of reply.tokens) {
      const origin = token.after === undefined ? undefined : origins[token.after];
      void this.#hold(lane, token, payloads, origin);
    }
  }

  /** An execution whose step is refused fails; if that is refused too, or there is no execution, its run is to end. */
  async #refused(lane: Lane, { finished, claims }: Batch, reason: string): Promise<void> {
    const { item } = (finished[0] ?? claims[0]) as FinishedEntry | ClaimEntry;
    const origin = this.#origins.get(item);
    const place = { partition: lane.partition.number, run_id: item.runId };
    this.#log.error({ ...place, reason }, "the scripts refuse a step");
    if (origin && !origin.refused && "detail" in item) {
      const { held } = origin;
      const fault = new HitzeroError("STEP_REFUSED", `its step is refused: ${reason}`);
      const lost = new LazyAbort();
      if (this.#abandoned.signal.aborted) lost.abort();
      const failure = failed(held, fault, {
        workerId: this.id,
        now: () => this.#now(),
        log: this.#log,
        lost,
        services: { limits: this.#limits },
        mayHandOver: () => ({ next: false, items: false, unoffered: new Set() }),
      });
      this.#origins.delete(item);
      this.#origins.set(failure.item, {
        held,
        kept: origin.kept,
        output: failure.item.output,
        refused: true,
      });
      lane.finish({ ir: held.ir, item: failure.item });
      return;
    }
    const call = finished[0] ? "finish" : "claim";
    const run = { runId: item.runId, partition: place.partition, by: this.id, fault: { call, reason } };
    try {
      await askToFail(this.#database as Database, run);
      await nudgeReader(lane.partition);
    } catch (error) {
      // Its token is handed out again.
      this.#log.warn({ ...place, error: String(error) }, "nobody could be asked to end a run");
    }
    this.#letGo(lane, finished, claims);
  }

  /** These are no longer this worker's. */
  #letGo(lane: Lane, finished: readonly FinishedEntry[], claims: readonly ClaimEntry[]): void {
    this.#taken -= finished.length + claims.length;
    for (const { item } of [...finished, ...claims]) {
      const origin = this.#origins.get(item);
      if (origin) this.#held.delete(origin.kept);
      this.#origins.delete(item);
      if ("entry" in item) this.#claiming.delete(lieOf(lane, item));
    }
    this.#slotFreed.ring();
  }

  async #hold(
    lane: Lane,
    token: HandedToken,
    payloads: readonly string[],
    origin: Origin | undefined,
  ): Promise<void> {
    let kept: string | undefined;
    try {
      const ir = origin?.held.ir ?? (await this.#loadIR(token.digest, this.#options.leaseMs));
      if (!ir) throw new HitzeroError("IR_NOT_FOUND", "nobody registered its workflow");
      kept = keptForm(ir, { ...token, runId: token.id, generation: token.g });
      this.#held.set(kept, lane);
      const { partition } = lane;
      const { signal } = this.#abandoned;
      const held = await executionOf(token, payloads, ir, origin, partition, this.#items, signal);
      if (this.#suspects.alone) {
        this.#suspects.performed = kept;
        await whileAway({ signal }, () => this.#list(lane));
      }
      if (this.#late) throw new RedisAwayError("the worker stops");
      this.#runnable.push({ held, kept, lane });
      this.#runNext();
    } catch (error) {
      this.#log.warn({ run_id: token.id, error: String(error) }, "a token is left to its lease");
      if (kept !== undefined) this.#held.delete(kept);
      this.#taken -= 1;
      this.#slotFreed.ring();
    }
  }

  #runNext(): void {
    while (this.#running.size < this.#options.concurrency) {
      const next = this.#runnable.shift();
      if (!next) return;
      const running: Running = {
        held: next.held,
        kept: next.kept,
        lane: next.lane,
        startedAt: this.#now(),
        noted: false,
        performed: false,
        lost: new LazyAbort(),
      };
      this.#running.add(running);
      void this.#perform(running);
    }
  }

  #now(): number {
    return (this.#connection as RedisConnection).now();
  }

  async #perform(running: Running): Promise<void> {
    const { held, lane } = running;
    const liveness = this.#liveness as Liveness;
    const alive = liveness.begin(held, running.kept);
    const over = new LazyAbort();
    const performed = await perform(held, {
      call: (work) => liveness.call(alive, work),
      workerId: this.id,
      handlers: this.#options.handlers,
      connections: this.#httpConnections,
      now: () => this.#now(),
      log: this.#log,
      lost: running.lost,
      services: this.#servicesOf(lane, over),
      mayHandOver: () => {
        const next =
          !this.#stopping.signal.aborted && !this.#suspects.alone && held.hops < this.#limits.handOvers;
        const items = next && performance.now() - held.since < ITEMS_HANDED_MS;
        return { next, items, unoffered: this.#offers.unofferedOf(held.ir) };
      },
    });
    // Its time is up, perhaps, or nobody wants it any more: what still waits for a server waits for nothing.
    over.abort();
    liveness.end(alive);
    running.performed = true;
    this.#progressAt = performance.now();
    if (!performed) {
      this.#running.delete(running);
      this.#leave(running.kept);
      return;
    }
    for (let first = 0; first < performed.blobs.length; first += BLOBS_AT_ONCE) {
      const signal = AbortSignal.any([this.#abandoned.signal, running.lost.signal]);
      const stored = performed.blobs
        .slice(first, first + BLOBS_AT_ONCE)
        .map((blob) => storeOutput(lane.partition, performed, blob, this.#log, signal));
      if (!(await Promise.all(stored)).includes(false)) continue;
      this.#running.delete(running);
      this.#leave(running.kept);
      return;
    }
    this.#running.delete(running);
    this.#origins.set(performed.item, { held, kept: running.kept, output: performed.item.output });
    lane.finish({ ir: held.ir, item: performed.item });
    this.#runNext();
  }

  /** `over` is aborted when the execution is. */
  #servicesOf({ partition }: Lane, over: LazyAbort): WaitingServices {
    const end = () => AbortSignal.any([over.signal, this.#stopping.signal, this.#abandoned.signal]);
    const database = this.#database as Database;
    const patiently = <T>(call: () => Promise<T>) => whileAway({ signal: end() }, call);
    return {
      limits: this.#limits,
      now: () => this.#now(),
      readFields: (runId, fields) => patiently(() => partition.readFields(runId, fields)),
      readBlob: (runId, name) => readStoredBlob(partition, runId, name, end()),
      findWorkflow: (name, version) => patiently(() => findVersion(database, name, version)),
      depthOf: (runId) => patiently(() => runDepth(database, runId)),
    };
  }

  /** Tells the handlers of a halted run to stop, but for what undoes its work. */
  #halt(runId: string): void {
    for (const { held, lost } of this.#running) {
      if (held.runId === runId && !isCompensation(held)) lost.abort(halted());
    }
  }

  /** The announcement of a halt or a withdrawal may have been missed. */
  async #lookAround(lane: Lane): Promise<void> {
    const running = [...this.#running].filter((one) => one.lane === lane);
    const fates = await fatesOf(
      lane.partition,
      running.map(({ held }) => ({ ...held, ...lifelines(held) })),
    );
    running.forEach(({ lost }, index) => {
      if (fates[index] === "halted") lost.abort(halted());
      else if (fates[index] === "withdrawn" && this.#running.has(running[index] as Running))
        lost.abort(withdrawn());
    });
  }

  #withdraw({ runId, node, scope }: Withdrawn): void {
    for (const { held, lost } of this.#running) {
      if (held.runId === runId && held.nodeIndex === node && held.scope === scope) lost.abort(withdrawn());
    }
  }

  /** Hears of halted runs and withdrawn executions at once; what is missed here is found with the next renewal. */
  async #listen(): Promise<void> {
    const listener = await (this.#connection as RedisConnection).duplicate();
    this.#listener = listener;
    await listener.subscribe(controlChannel(this.#options.namespace), (message) => {
      if (message === STREAM_OPENED) {
        this.#streams?.forget();
        void this.#unblock();
      } else if (message.startsWith("{")) this.#withdraw(JSON.parse(message) as Withdrawn);
      else this.#halt(message);
    });
  }

  /** The process that performs the suspects ended: what it performed is charged with that. */
  async reportDeath(death: Death): Promise<void> {
    const { signal } = this.#abandoned;
    for (const { partition } of this.#lanes.values())
      await whileAway({ signal }, () => reportDeath(partition, death)).catch(() => {});
  }

  /** Names what the process is about to end by; waits, while nothing else runs, until that is written down. */
  sayLastWords(text: string): void {
    this.#liveness?.say(text);
  }

  /** A call to a partition failed. Was it refused for good? Then nothing more is read until that is over. */
  #isFencedOut(partition: Partition, error: unknown): boolean {
    const isOut = this.#fencedOut.heard(partition.number, error);
    if (isOut) void this.#unblock();
    return isOut;
  }

  async #telling<T>(partition: Partition, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      this.#isFencedOut(partition, error);
      throw error;
    }
  }

  /** Lists what is held of a partition; returns what is held no more. */
  async #list(lane: Lane): Promise<string[]> {
    const { partition } = lane;
    const streams = (await this.#streams?.ofSuspects()) ?? [];
    const { since } = lane;
    const held = [...this.#held].flatMap(([kept, other]) => (other === lane ? [kept] : []));
    const listing = {
      worker: this.id,
      leaseMs: this.#options.leaseMs,
      held,
      suspects: streams.filter((stream) => stream.partition === partition),
      since,
      leaves: this.#stopping.signal.aborted,
      alone: this.#suspects.performed,
    };
    const { lost, suspects } = await this.#telling(partition, () => renewLeases(partition, listing));
    this.#fencedOut.taken(partition.number);
    this.#suspects.listed(partition.number, suspects);
    return lost;
  }

  /** Renews the leases of all tokens held. An execution whose lease is gone was given to another: its handler is told to stop. */
  async #renew(): Promise<void> {
    for (const lane of this.#lanes.values()) {
      const answer = await this.#list(lane).catch(() => undefined);
      if (answer) this.#heardFrom(lane);
      const lost = answer ?? [];
      for (const running of this.#running) {
        if (!lost.includes(running.kept)) continue;
        this.#log.warn(
          { run_id: running.held.runId, node: running.held.nodeIndex },
          "the lease of an execution is lost",
        );
        running.lost.abort(leaseLost());
      }
      await this.#lookAround(lane).catch(() => {});
    }
  }

  /** The leases are good for a while. */
  #heardFrom(lane: Lane): void {
    const patience =
      this.#patience.get(lane) ?? new Patience(this.#options.leaseMs, () => this.#letGoOf(lane));
    this.#patience.set(lane, patience);
    patience.begin();
  }

  /** For a whole lease Redis was not reached: what is held may be another's by now. Only time in which this loop turned counts. */
  #letGoOf(lane: Lane): void {
    const waiting = this.#runnable.filter((one) => one.lane === lane);
    const performing = [...this.#running].filter((one) => one.lane === lane && !one.performed);
    if (waiting.length + performing.length === 0) return;
    this.#log.warn(
      { partition: lane.partition.number, executions: waiting.length + performing.length },
      "Redis was out of reach for a lease: handlers are told to stop, and what they held is left to others",
    );
    for (const one of waiting) this.#runnable.splice(this.#runnable.indexOf(one), 1);
    for (const { kept } of waiting) this.#leave(kept);
    for (const { lost } of performing) lost.abort(leaseLost());
  }

  /** Executions that last longer than a moment are put on record as RUNNING. */
  #noteLong(): void {
    const before = this.#now() - MOMENT_MS;
    const byLane = new Map<Lane, Running[]>();
    for (const running of this.#running) {
      if (running.noted || running.startedAt > before) continue;
      running.noted = true;
      byLane.set(running.lane, [...(byLane.get(running.lane) ?? []), running]);
    }
    for (const [lane, list] of byLane) {
      const notes = list.map(({ held, startedAt }) => ({ ...held, node: held.nodeIndex, startedAt }));
      // Only a note: when it is lost, the outcome is recorded all the same.
      lane.partition.noteRunning(this.id, notes).catch(() => {});
    }
  }
}

/** Items of a map are stored as many blobs. */
const BLOBS_AT_ONCE = 16;

const halted = () => new HitzeroError(RUN_HALTED, "the run was halted");
const stopping = () => new HitzeroError(WORKER_STOPS, "the worker stops; this execution is handed out again");
const leaseLost = () => new HitzeroError(LEASE_LOST, "this execution may be another worker's by now");
const withdrawn = () => new HitzeroError("WITHDRAWN", "this execution is no longer wanted");

/** Where an entry lies. */
function lieOf({ partition }: Lane, position: StreamPosition): string {
  return `${partition.keys.stream(position)} ${position.entry}`;
}

function keptForm(ir: IR, token: Omit<ExecutionToken, "kind">): string {
  return encodeKept(ir.nodes[token.node]?.queue ?? "default", token);
}
