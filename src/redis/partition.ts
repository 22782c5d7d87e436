/**
 * One partition as hitzero speaks to it: every call carries the fence (layout, epoch, timeline) and is answered in words.
 *
 * Owns nothing: position is the scripts'. A call that meets a closed partition, another epoch or another server throws
 * `FenceError`; one whose connection goes away throws `RedisAwayError` and may be repeated.
 */
import { randomBytes } from "node:crypto";
import { assert } from "../base/assert.ts";
import { HitzeroError } from "../base/errors.ts";
import { pause } from "../base/wait.ts";
import { OUTPUT } from "../token/letters.ts";
import type { IR } from "../workflow/ir/ir.ts";
import { CALL_LIMITS, type CallLimits } from "./call_limits.ts";
import type { AdvanceCall, ClaimItem, FinishedItem, RunningNote, SettleItem, StartCall } from "./calls.ts";
import { isAway, isLost, RedisAwayError, type RedisConnection } from "./connection.ts";
import { KeyList } from "./key_list.ts";
import { functionField, PartitionKeys, SETTLE_QUEUE } from "./keys.ts";
import { packIR } from "./pack.ts";
import {
  type AdvanceReply,
  advanceReply,
  okReply,
  openReply,
  refusedReply,
  type StartWord,
  startReply,
} from "./replies.ts";
import { runScript, type ScriptName } from "./scripts.ts";
import { stepCall, suspectStreamsOf } from "./step_call.ts";

/** Layout of keys and fields. A release with another layout is refused by the fence. */
export const LAYOUT = "4";

/** Consumer group of the ready streams (created by `open`). */
export const GROUP = "workers";

/** Before a lost call is made again; twice as long each time. */
const AGAIN_MS = 20;

/** Longer than any start may be under way. Whoever asks for more after that knows the run's end from the record. */
const TOMBSTONE_MS = 300_000;

/** The partition does not take this call: it is closed, or belongs to another epoch, server, release or database. */
export class FenceError extends HitzeroError {
  readonly why: "closed" | "layout" | "epoch" | "timeline" | "installation";

  constructor(partition: number, why: FenceError["why"], refused = fencedBy(partition, why)) {
    super(refused.code, refused.message, { hint: refused.hint, exitCode: 3 });
    this.why = why;
  }

  /** It does not pass by itself: another database or release uses the namespace. */
  get lasts(): boolean {
    return this.why === "installation" || this.why === "layout";
  }
}

function fencedBy(partition: number, why: FenceError["why"]) {
  return {
    code: "PARTITION_FENCED",
    message: `partition ${partition} refused the call (${why})`,
    hint:
      why === "layout"
        ? "Two releases of hitzero use this namespace: run one release, or give the other its own namespace."
        : "A running supervisor opens the partition after it compared Redis with the record.",
  };
}

/** The keys of this namespace belong to another database: nothing of them is touched. */
class ForeignRedisError extends FenceError {
  constructor(keys: PartitionKeys, installation: string, found: string | null) {
    const owner = found === null ? "another installation" : `installation ${found}`;
    super(keys.partition, "installation", {
      code: "REDIS_FOREIGN",
      message: `the keys of namespace ${keys.namespace} in this Redis belong to ${owner}, this database is installation ${installation}`,
      hint:
        "Set HITZERO_REDIS_URL and HITZERO_DATABASE_URL to servers of one installation, or HITZERO_NAMESPACE to another name. " +
        `If that other database is gone for good: npx hitzero clear-redis --namespace ${keys.namespace}`,
    });
  }
}

/** Of this process; a number tells its nonces apart. */
const NONCE_BASE = randomBytes(8).toString("base64url");
let nonces = 0;

/** A nonce that tells this call from every other, of any process. */
export function newNonce(): string {
  nonces += 1;
  return NONCE_BASE + nonces.toString(36);
}

export interface Meta {
  layout: string | null;
  /** The database that the keys belong to. */
  installation: string | null;
  epoch: string | null;
  timeline: string | null;
  seq: number;
}

/** The execution of a map node whose items are stored. */
export interface ItemsHolder {
  runId: string;
  node: number;
  scope: string;
  nonce: string;
  delivery: number;
}

export class Partition {
  readonly number: number;
  readonly keys: PartitionKeys;
  readonly connection: RedisConnection;
  /** Id of the database whose runs these are. */
  readonly installation: string;
  readonly limits: CallLimits;
  /** The epoch that calls carry; `refresh` reads it from the partition. */
  epoch = "";
  /** A script call that is lost is made so often, in all. Scripts answer repeats rightly. */
  readonly tries: number;

  constructor(
    connection: RedisConnection,
    namespace: string,
    number: number,
    installation: string,
    limits: CallLimits = CALL_LIMITS,
    tries = 1,
  ) {
    this.connection = connection;
    this.number = number;
    this.installation = installation;
    this.limits = limits;
    this.tries = tries;
    this.keys = new PartitionKeys(namespace, number);
  }

  async readMeta(): Promise<Meta> {
    const [layout, installation, epoch, timeline, seq] = await this.orAway(
      this.connection.redis.hmget(this.keys.meta, "layout", "installation", "epoch", "timeline", "seq"),
    );
    return {
      layout: layout ?? null,
      installation: installation ?? null,
      epoch: epoch ?? null,
      timeline: timeline ?? null,
      seq: Number(seq ?? 0),
    };
  }

  /** @throws ForeignRedisError when another database fills this namespace */
  async checkOwner(): Promise<Meta> {
    const meta = await this.readMeta();
    const { installation } = meta;
    if (installation !== null && installation !== this.installation)
      throw new ForeignRedisError(this.keys, this.installation, installation);
    return meta;
  }

  /** Learns the epoch of the open partition. @throws FenceError when it is closed, or another database's */
  async refresh(): Promise<void> {
    const meta = await this.checkOwner();
    if (meta.epoch === null) throw new FenceError(this.number, "closed");
    this.epoch = meta.epoch;
  }

  /** Creates or reopens the partition for the server that this connection sees. Only its reader may. */
  async open(call: { epoch: string; create: boolean; expected?: string }) {
    const timeline = await this.connection.identity();
    const json = {
      layout: LAYOUT,
      installation: this.installation,
      epoch: call.epoch,
      timeline,
      create: call.create,
      expected: call.expected,
    };
    const { word } = await this.call("open", [this.keys.meta], [JSON.stringify(json)], openReply);
    if (word === "opened") this.epoch = call.epoch;
    return word;
  }

  /** Makes sure that the ready streams of these queues, and of settle tokens, can be read. */
  async ensureQueues(names: readonly string[]): Promise<void> {
    const queues = [SETTLE_QUEUE, ...names];
    await this.orAway(this.connection.redis.sadd(this.keys.queues, ...queues));
    const { keys } = this;
    for (const stream of [
      ...queues.map((queue) => keys.ready(queue)),
      ...names.map((queue) => keys.suspects(queue)),
    ]) {
      await this.orAway(
        this.connection.redis.xgroup("CREATE", stream, GROUP, "0", "MKSTREAM").catch((error: Error) => {
          if (!error.message.startsWith("BUSYGROUP")) throw error;
        }),
      );
    }
  }

  /** Redis's clock, milliseconds since 1970. */
  async readTime(): Promise<number> {
    const [seconds, micros] = await this.orAway(this.connection.redis.time());
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  }

  /** Queues that have had a worker, and that of settle tokens. */
  queues(): Promise<string[]> {
    return this.orAway(this.connection.redis.smembers(this.keys.queues));
  }

  /** Starts accepted runs in one call; answers a word for each, in the same order. */
  async start({ epoch, deadline, runs }: StartCall): Promise<readonly StartWord[]> {
    const list = new KeyList([this.keys.meta, this.keys.journal(epoch), this.keys.timers]);
    const inputs = new Map<string, number>();
    const position = (input: string) => {
      const known = inputs.get(input) ?? inputs.size + 2;
      inputs.set(input, known);
      return known;
    };
    const json = {
      deadline,
      runs: runs.map(({ runId, digest, generation, ir, input, paused }) => ({
        run: list.position(this.keys.run(runId)),
        tombstone: list.position(this.keys.tombstone(runId)),
        ir: list.position(this.keys.ir(digest)),
        input: position(input),
        id: runId,
        generation,
        digest,
        permits: ir.max_parallel_nodes,
        timeout_ms: ir.timeout_ms > 0 ? ir.timeout_ms : undefined,
        paused: paused || undefined,
      })),
      ...stepCall(list, this, new Set(runs.map(({ ir }) => ir))),
      ...(await this.fence(epoch)),
    };
    const args = [JSON.stringify(json), ...[...inputs.keys()].map((input) => OUTPUT.json + input)];
    const reply = await this.call("start", list.keys, args, startReply);
    assert(reply.runs.length === runs.length, "start answers each of its runs");
    return reply.runs;
  }

  /** The atomic step. The reply's payloads are the strings behind it, by position. */
  async advance(call: AdvanceCall): Promise<{ reply: AdvanceReply; payloads: string[] }> {
    const list = new KeyList([
      this.keys.meta,
      this.keys.journal(this.epoch),
      this.keys.leases,
      this.keys.timers,
    ]);
    const args = [""];
    const push = (value: string) => args.push(value);
    const irs = new Set<IR>();
    for (const { ir } of call.finished) irs.add(ir);
    for (const { ir } of call.claims) irs.add(ir);
    const { nudge, limit, limits, queues } = stepCall(list, this, irs);
    // What was handed out again may be suspect.
    const again = call.claims.flatMap(({ item }) => (item.delivery > 1 ? [item.queue] : []));
    const moves = call.claims.some(({ item }) => item.unoffered !== undefined);
    const json = {
      worker: call.worker,
      lease_ms: call.leaseMs,
      take: call.take,
      nudge,
      limit,
      limits,
      queues: again.length === 0 ? queues : { ...queues, ...suspectStreamsOf(list, this.keys, again) },
      reads: Object.fromEntries(call.reads.map((queue) => [queue, true])),
      finished: call.finished.map(({ item }) => this.#finished(list, push, item)),
      claims: call.claims.map(({ item }) => this.#claim(list, item)),
      functions: moves ? list.position(this.keys.functions) : undefined,
      most_functions: moves ? this.limits.functionStreams : undefined,
      ...(await this.fence(this.epoch)),
    };
    args[0] = JSON.stringify(json);
    const payloads = await this.callStep("advance", list.keys, args);
    return { reply: this.#parse(payloads, advanceReply), payloads };
  }

  /** Puts long-running executions into the journal. */
  async noteRunning(worker: string, notes: readonly RunningNote[]): Promise<void> {
    const list = new KeyList([this.keys.meta, this.keys.journal(this.epoch)]);
    const json = {
      ...(await this.fence(this.epoch)),
      worker,
      notes: notes.map((note) => ({
        run: list.position(this.keys.run(note.runId)),
        id: note.runId,
        g: note.generation,
        node: note.node,
        scope: note.scope,
        attempt: note.attempt,
        delivery: note.delivery,
        nonce: note.nonce,
        started_at: note.startedAt,
      })),
    };
    await this.call("note_running", list.keys, [JSON.stringify(json)], okReply);
  }

  /** Clears finished runs and trims the journal behind entry `recorded` (0: does not trim). */
  async forget(
    recorded: number,
    finished: readonly { runId: string; blobs: readonly string[] }[],
  ): Promise<void> {
    const keys = finished.flatMap(({ runId, blobs }) => [
      { tombstone: this.keys.tombstone(runId) },
      ...[this.keys.run(runId), this.keys.parked(runId), this.keys.scopes(runId)].map((key) => ({ key })),
      ...blobs.map((blob) => ({ key: this.keys.blob(runId, blob) })),
    ]);
    // The journal last: what is left undone is found in it.
    const atOnce = this.limits.keys;
    let first = 0;
    for (; first + atOnce < keys.length; first += atOnce)
      await this.#forget(keys.slice(first, first + atOnce), 0);
    await this.#forget(keys.slice(first), recorded);
  }

  async #forget(keys: readonly { tombstone?: string; key?: string }[], recorded: number): Promise<void> {
    const list = new KeyList([this.keys.meta, this.keys.journal(this.epoch)]);
    const positions = (of: "tombstone" | "key") =>
      keys.flatMap((one) => (one[of] === undefined ? [] : [list.position(one[of])]));
    const json = {
      ...(await this.fence(this.epoch)),
      recorded,
      tombstone_ms: TOMBSTONE_MS,
      tombstones: positions("tombstone"),
      unlink: positions("key"),
    };
    await this.call("forget", list.keys, [JSON.stringify(json)], okReply);
  }

  /** Journal entries from number `from` on, as [id, fields]. */
  async readJournal(from: number, count: number): Promise<[string, string[]][]> {
    const key = this.keys.journal(this.epoch);
    return this.orAway(this.connection.redis.xrange(key, `${from}-0`, "+", "COUNT", count));
  }

  /** Stores the packed adjacency of an IR for the scripts, in parts. Repeating it is harmless: the digest names the content. */
  async loadIR(digest: string, ir: IR): Promise<void> {
    const key = this.keys.ir(digest);
    const fields = packIR(ir, this.limits);
    for (let first = 0; first < fields.length; first += 2_000) {
      await this.orAway(this.connection.redis.hset(key, ...fields.slice(first, first + 2_000)));
    }
    await this.orAway(this.connection.redis.hset(key, "complete", "1"));
  }

  /** Stores a large output for the step that will refer to it; without that step it vanishes. */
  async storeBlob(runId: string, name: string, value: string, ttlMs: number): Promise<void> {
    await this.orAway(this.connection.redis.set(this.keys.blob(runId, name), value, "PX", ttlMs));
  }

  /** Stores items of a map, unless this execution was handed out again or goes on elsewhere: they may have been added to since. */
  async storeItems(
    { runId, node, scope, nonce, delivery }: ItemsHolder,
    name: string,
    value: string,
    ttlMs: number,
  ): Promise<void> {
    const json = { ...(await this.fence(this.epoch)), node, scope, nonce, delivery, ttl_ms: ttlMs };
    const keys = [this.keys.meta, this.keys.run(runId), this.keys.blob(runId, name)];
    await this.call("store", keys, [JSON.stringify(json), value], okReply);
  }

  /** Fields of a run's state. */
  async readFields(runId: string, fields: readonly string[]): Promise<(string | null)[]> {
    const values: (string | null)[] = [];
    for (let first = 0; first < fields.length; first += this.limits.reads) {
      const part = fields.slice(first, first + this.limits.reads);
      values.push(...(await this.orAway(this.connection.redis.hmget(this.keys.run(runId), ...part))));
    }
    return values;
  }

  async readBlob(runId: string, name: string): Promise<string | null> {
    return this.orAway(this.connection.redis.get(this.keys.blob(runId, name)));
  }

  /** Bytes of blobs; 0: it is gone. */
  async blobSizes(blobs: readonly { runId: string; name: string }[]): Promise<number[]> {
    const { redis } = this.connection;
    return this.orAway(
      Promise.all(blobs.map(({ runId, name }) => redis.strlen(this.keys.blob(runId, name)))),
    );
  }

  /** Runs a call that settles arrivals, once more after loading the IR if the scripts lack it. */
  async withIR<T extends { word: string }>(digest: string, ir: IR, call: () => Promise<T>): Promise<T> {
    const reply = await call();
    if (reply.word !== "ir_missing") return reply;
    await this.loadIR(digest, ir);
    return call();
  }

  /** What every call carries. */
  async fence(epoch: string) {
    const timeline = await this.connection.identity();
    const { installation } = this;
    return { layout: LAYOUT, installation, epoch, timeline, call: newNonce(), now: this.connection.now() };
  }

  #finished(list: KeyList, push: (value: string) => number, item: FinishedItem | SettleItem) {
    const run = list.position(this.keys.run(item.runId));
    const ir = list.position(this.keys.ir(item.digest));
    const parked = item.limited ? list.position(this.keys.parked(item.runId)) : undefined;
    const scopes = item.mapped ? list.position(this.keys.scopes(item.runId)) : undefined;
    if ("work" in item) {
      const stream = list.position(this.keys.ready(item.queue));
      const { runId: id, generation: g, work: settle, entry } = item;
      return { run, ir, parked, scopes, id, g, settle, stream, entry };
    }
    const { park } = item;
    return {
      run,
      ir,
      parked,
      scopes,
      id: item.runId,
      g: item.generation,
      queue: item.queue,
      node: item.node,
      scope: item.scope,
      attempt: item.attempt,
      delivery: item.delivery,
      nonce: item.nonce,
      due: item.due ?? park?.due,
      park: park?.kind,
      signal: park?.signal,
      total: park?.total,
      closes: park?.closes,
      stops: park?.stops,
      blobs: park?.blobs?.map((name) => list.position(this.keys.blob(item.runId, name))),
      outcome: item.outcome,
      arrivals: item.arrivals,
      unhandled: item.unhandled || undefined,
      hand: item.hand || undefined,
      hand_items: item.handItems || undefined,
      unoffered: item.unoffered?.length ? item.unoffered : undefined,
      forgets: item.forgets,
      halt: item.halt ? "fail_fast" : undefined,
      again: item.again || undefined,
      keep_at: item.keepAt,
      ends_item: item.endsItem || undefined,
      withdraws: item.withdraws || undefined,
      waits: item.waits || undefined,
      guarded: item.guarded || undefined,
      compensation: item.compensation,
      needs: Object.keys(item.needs).length > 0 ? item.needs : undefined,
      detail: push(item.detail),
      output: push(item.output),
      journal_output: item.outputInJournal || undefined,
      keep: item.keep || undefined,
      blob: item.blob === undefined ? undefined : list.position(this.keys.blob(item.runId, item.blob)),
    };
  }

  #claim(list: KeyList, item: ClaimItem) {
    const { unoffered } = item;
    const moves = unoffered === undefined ? undefined : { ...item, functionName: unoffered };
    return {
      run: list.position(this.keys.run(item.runId)),
      ir: list.position(this.keys.ir(item.digest)),
      parked: item.limited ? list.position(this.keys.parked(item.runId)) : undefined,
      scopes: item.mapped ? list.position(this.keys.scopes(item.runId)) : undefined,
      id: item.runId,
      g: item.generation,
      node: item.node,
      scope: item.scope,
      attempt: item.attempt,
      delivery: item.delivery,
      nonce: item.nonce,
      queue: item.queue,
      stream: list.position(this.keys.stream(item)),
      entry: item.entry,
      alone: item.suspects || undefined,
      // Where a token goes whose function its worker does not offer: suspects to their own.
      moves_to: moves && list.position(this.keys.stream(moves)),
      function: moves && functionField(moves),
      needs: item.needs.length > 0 ? item.needs : undefined,
      waits: item.waits || undefined,
      withdraws: item.withdraws || undefined,
      guarded: item.guarded || undefined,
      unless: item.unless,
    };
  }

  /** Runs a script and parses its answer. @throws FenceError, RedisAwayError */
  async call<T>(
    name: ScriptName,
    keys: readonly string[],
    args: readonly string[],
    schema: { parse(value: unknown): T },
  ): Promise<T> {
    return this.#parse(await this.#raw(name, keys, args), schema);
  }

  /** Runs a step, the small or the general one; its answer is a list of strings. @throws RedisAwayError */
  callStep(name: "step" | "advance", keys: readonly string[], args: readonly string[]): Promise<string[]> {
    return this.#raw(name, keys, args);
  }

  /** An answer that is a word alone. @throws FenceError when it is a refusal */
  refuse(reply: readonly string[]): void {
    this.#parse(reply, okReply);
  }

  async #raw(name: ScriptName, keys: readonly string[], args: readonly string[]): Promise<string[]> {
    let lost: unknown;
    for (let tries = 1; tries <= this.tries; tries += 1) {
      if (lost !== undefined) {
        await pause(AGAIN_MS * 2 ** (tries - 2));
        const server = await this.connection.identity().catch(() => undefined);
        if (server === undefined) continue;
        // A call was decided for the server that it names, and goes to no other.
        if (server !== (JSON.parse(args[0] as string) as { timeline?: string }).timeline) break;
      }
      try {
        return await this.orAway(runScript(this.connection.redis, name, keys, args));
      } catch (error) {
        if (!isLost(error) || this.connection.closed) throw error;
        lost = error;
      }
    }
    throw lost;
  }

  #parse<T>(reply: readonly string[], schema: { parse(value: unknown): T }): T {
    const body: unknown = JSON.parse(reply[0] as string);
    const refused = refusedReply.safeParse(body);
    if (!refused.success) return schema.parse(body);
    const { why } = refused.data;
    if (why === "installation") throw new ForeignRedisError(this.keys, this.installation, null);
    assert(why !== "queue" && why !== "key", `a call names each ${why} that its script may write to`);
    throw new FenceError(this.number, why);
  }

  /** A call whose failures of the connection come out as RedisAwayError. */
  async orAway<T>(call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      throw isAway(error) ? new RedisAwayError(error) : error;
    }
  }
}
