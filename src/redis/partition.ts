/**
 * One partition as hitzero speaks to it: every call carries the fence (layout, epoch, timeline) and is answered in words.
 *
 * Owns nothing: position is the scripts'. A call that meets a closed partition, another epoch or another server throws
 * `FenceError`; one whose connection goes away throws `RedisAwayError` and may be repeated.
 */
import { assert } from "../base/assert.ts";
import { pause } from "../base/wait.ts";
import { CALL_LIMITS, type CallLimits } from "./call_limits.ts";
import { isAway, isLost, RedisAwayError, type RedisConnection } from "./connection.ts";
import { FenceError, ForeignRedisError } from "./fence_error.ts";
import { LAYOUT, PartitionKeys } from "./keys.ts";
import { runScript, type ScriptName } from "./load_scripts.ts";
import { newNonce } from "./nonce.ts";
import { okReply, refusedReply } from "./replies.ts";

/** Before a lost call is made again; twice as long each time. */
const AGAIN_MS = 20;

export interface Meta {
  layout: string | null;
  /** The database that the keys belong to. */
  installation: string | null;
  epoch: string | null;
  timeline: string | null;
  seq: number;
}

export class Partition {
  readonly number: number;
  readonly namespace: string;
  readonly connection: RedisConnection;
  /** Id of the database whose runs these are. */
  readonly installation: string;
  readonly limits: CallLimits;
  #keys: PartitionKeys;
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
    this.namespace = namespace;
    this.#keys = new PartitionKeys(namespace, number);
  }

  /** Of the epoch that was entered last. A call takes them once: its fence carries their epoch. */
  get keys(): PartitionKeys {
    return this.#keys;
  }

  /** That calls are made in. @throws FenceError when none was entered */
  get epoch(): string {
    return this.#keys.epoch;
  }

  keysOf(epoch: string): PartitionKeys {
    return new PartitionKeys(this.namespace, this.number, epoch);
  }

  /** Calls are made in this epoch from now on. */
  enter(epoch: string): void {
    this.#keys = this.keysOf(epoch);
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

  /** Enters the epoch of the open partition. @throws FenceError when it is closed, or another database's */
  async refresh(): Promise<void> {
    const { epoch } = await this.checkOwner();
    if (epoch === null) throw new FenceError(this.number, "closed");
    this.enter(epoch);
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

  /** Journal entries from number `from` on, as [id, fields]. */
  async readJournal(from: number, count: number): Promise<[string, string[]][]> {
    return this.orAway(this.connection.redis.xrange(this.keys.journal, `${from}-0`, "+", "COUNT", count));
  }

  /** Stores a large output for the step that will refer to it; without that step it vanishes. */
  async storeBlob(runId: string, name: string, value: string, ttlMs: number): Promise<void> {
    await this.orAway(this.connection.redis.set(this.keys.blob(runId, name), value, "PX", ttlMs));
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

  /** What every call on these keys carries. */
  async fence({ epoch }: PartitionKeys) {
    const timeline = await this.connection.identity();
    const { installation } = this;
    return { layout: LAYOUT, installation, epoch, timeline, call: newNonce(), now: this.connection.now() };
  }

  /** Runs a script and parses its answer. @throws FenceError, RedisAwayError */
  async call<T>(
    name: ScriptName,
    keys: readonly string[],
    args: readonly string[],
    schema: { parse(value: unknown): T },
  ): Promise<T> {
    return this.parse(await this.#raw(name, keys, args), schema);
  }

  /** Runs a step, the small or the general one; its answer is a list of strings. @throws RedisAwayError */
  callStep(name: "step" | "advance", keys: readonly string[], args: readonly string[]): Promise<string[]> {
    return this.#raw(name, keys, args);
  }

  /** An answer that is a word alone. @throws FenceError when it is a refusal */
  refuse(reply: readonly string[]): void {
    this.parse(reply, okReply);
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

  /** What a script answered. @throws FenceError when it is a refusal */
  parse<T>(reply: readonly string[], schema: { parse(value: unknown): T }): T {
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
