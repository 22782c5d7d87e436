/**
 * One connection to Redis that knows which server it speaks to, and that notices when nobody speaks any more.
 *
 * Owns: the socket, the server's identity (`run_id` + `master_replid`) as this very socket saw it, and what is known of its clock. When the
 * socket closes the identity goes with it, and commands in flight are rejected, never sent again by the library: a call carries the
 * identity under which it was decided, or fails. Whoever calls decides whether to repeat (scripts answer repeats rightly).
 * A pulse asks for a reply again and again; a socket that stays silent is destroyed, so that a late reply is nobody's, and made anew. So is
 * one that turns out to lead to a replica. Both go for calls, blocked reads and subscriptions alike.
 */
import { Redis } from "ioredis";
import { HitzeroError } from "../base/errors.ts";
import { Patience } from "../base/patience.ts";
import { RedisClock } from "./clock.ts";
import { checkRedisUrl, connectFault, redisAddress } from "./connection_errors.ts";
import { meaningOf } from "./server_states.ts";

/** The connection is away; the call may or may not have taken effect. */
export class RedisAwayError extends HitzeroError {
  constructor(cause: unknown) {
    super(
      "REDIS_AWAY",
      `the connection to Redis was lost: ${cause instanceof Error ? cause.message : cause}`,
      {
        hint: "Calls are repeated when Redis is back.",
        exitCode: 3,
        cause,
      },
    );
  }
}

function isReplica(address: string): HitzeroError {
  return new HitzeroError("REDIS_IS_REPLICA", `Redis at ${address} is a replica: it takes no writes`, {
    hint: "Set HITZERO_REDIS_URL to the primary, or to a name that leads to whichever server is the primary.",
    exitCode: 3,
  });
}

/** A socket stays open, and nothing comes. */
class SilenceError extends Error {
  readonly code = "ESILENT";

  constructor(ms: number) {
    super(`nothing was heard for ${ms} ms`);
  }
}

const CLOCK_READINGS = 3;
/** One that is wrong by no more is good enough at connect. */
const QUICK_MS = 2;

/** A connection asks for a reply this often. */
const PULSE_MS = 1_000;
/** No read blocks for longer, so that a connection that blocks is heard of as often as any other. */
export const LONGEST_BLOCK_MS = 2_000;
/** A socket that is silent for so long is given up: well within a lease, which the next one can still renew. */
const SILENCE_MS = 5_000;
const CONNECT_LIMIT_MS = 5_000;
/** A socket that is closed in order has this long to send what is left. */
const FAREWELL_MS = 200;
const KEEP_ALIVE_MS = 10_000;

const AWAY =
  /Connection is closed|max retries per request|Stream isn't writeable|ECONNRESET|EPIPE|ECONNREFUSED|ETIMEDOUT/;

/** Is this error one of the connection or of the server's state, so that the call may be repeated? */
export function isAway(error: unknown): boolean {
  if (error instanceof RedisAwayError) return true;
  if (!(error instanceof Error)) return false;
  return (
    meaningOf(error.message) !== undefined ||
    AWAY.test(error.message) ||
    AWAY.test(String((error as { code?: string }).code))
  );
}

/** Did the call, or its reply, get lost on the way? Otherwise the server answered, of its state. */
export function isLost(error: unknown): boolean {
  if (!(error instanceof RedisAwayError)) return false;
  return !(error.cause instanceof Error) || meaningOf(error.cause.message) === undefined;
}

/** It has no memory left: what begins anew is refused, what goes on is not. */
export function isShortOfMemory(error: unknown): boolean {
  return (
    error instanceof RedisAwayError && /^OOM\b/.test(String((error.cause as Error | undefined)?.message))
  );
}

export interface ConnectionOptions {
  /** Told of errors after the first connect. */
  onError?: (error: Error) => void;
  /** A socket that is silent for so long is given up, milliseconds. Default 5,000. */
  silenceMs?: number;
  /** Aborted: it closes, with its duplicates, also while it is being opened. */
  signal?: AbortSignal;
}

export class RedisConnection {
  readonly redis: Redis;
  readonly url: string;
  readonly #options: ConnectionOptions;
  readonly #clock = new RedisClock();
  readonly #silence: Patience;
  readonly #duplicates = new Set<RedisConnection>();
  readonly #over = () => this.close();
  #original: RedisConnection | undefined;
  #pulse: NodeJS.Timeout | undefined;
  #identity: Promise<string> | undefined;
  #lastError: Error | undefined;
  #closed = false;
  /** Why this socket was given up; what follows from it is no news. */
  #dropped: Error | undefined;

  private constructor(url: string, options: ConnectionOptions) {
    this.url = url;
    this.#options = options;
    const silenceMs = options.silenceMs ?? SILENCE_MS;
    this.#silence = new Patience(silenceMs, () => this.#drop(new SilenceError(silenceMs)));
    this.redis = new Redis(url, {
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      // `subscribe` does it: what the library sends by itself nobody catches when it fails.
      autoResubscribe: false,
      // Rejects what is in flight as soon as the socket closes; the client itself still reconnects.
      maxRetriesPerRequest: 0,
      connectTimeout: CONNECT_LIMIT_MS,
      disconnectTimeout: FAREWELL_MS,
      keepAlive: KEEP_ALIVE_MS,
      retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 5), 1_000),
      reconnectOnError: (error) => {
        if (meaningOf(error.message) === "elsewhere") this.#drop(error);
        return false;
      },
    });
    this.redis.on("error", (error: Error) => {
      this.#lastError = this.#dropped ?? error;
      options.onError?.(error);
    });
    this.redis.on("connect", () => {
      this.#dropped = undefined;
      this.redis.stream.on("data", () => this.#silence.begin());
      this.#silence.begin();
    });
    this.redis.on("ready", () => {
      clearInterval(this.#pulse);
      this.#pulse = setInterval(() => void this.#beat().catch(() => {}), PULSE_MS).unref();
      // The address may lead elsewhere by now, and not every socket notices by itself: replicas take subscriptions.
      for (const one of this.#duplicates) one.#drop(new Error("its server may be another by now"));
    });
    options.signal?.addEventListener("abort", this.#over);
    this.redis.on("close", () => {
      this.#silence.end();
      clearInterval(this.#pulse);
      this.#identity = undefined;
    });
  }

  /**
   * Connects.
   * @throws HitzeroError REDIS_URL_INVALID; SERVER_TOO_OLD, REDIS_IS_CLUSTER, REDIS_IS_REPLICA, REDIS_DATABASE_MISSING and those of
   *   `redisFault` (exit code 3)
   */
  static async open(url: string, options: ConnectionOptions = {}): Promise<RedisConnection> {
    checkRedisUrl(url);
    if (options.signal?.aborted) throw new RedisAwayError("it was given up");
    const connection = new RedisConnection(url, options);
    try {
      await connection.redis.connect();
      await connection.identity();
    } catch (error) {
      connection.close();
      if (options.signal?.aborted) throw new RedisAwayError(error);
      if (error instanceof HitzeroError && !isAway(error)) throw error;
      throw await connectFault(connection.#lastError ?? error, url);
    }
    return connection;
  }

  /** Host and port. */
  get address(): string {
    return redisAddress(this.url);
  }

  /** The server's identity as this socket sees it. @throws RedisAwayError, HitzeroError REDIS_IS_REPLICA */
  async identity(): Promise<string> {
    if (this.redis.status !== "ready") throw new RedisAwayError(this.#lastError ?? "not connected");
    this.#identity ??= this.#readIdentity();
    try {
      return await this.#identity;
    } catch (error) {
      this.#identity = undefined;
      throw isAway(error) ? new RedisAwayError(error) : error;
    }
  }

  /** Redis's clock, milliseconds since 1970, as it was measured last. */
  now(): number {
    return this.#clock.now();
  }

  /** Another connection with the same settings, for blocking reads or subscriptions. It is made anew whenever this one is. */
  async duplicate(): Promise<RedisConnection> {
    const duplicate = await RedisConnection.open(this.url, this.#options);
    this.#duplicates.add(duplicate);
    duplicate.#original = this;
    return duplicate;
  }

  /** Hears what is published on a channel from now on; while the socket is made anew it misses some. @throws RedisAwayError */
  async subscribe(channel: string, hear: (message: string) => void): Promise<void> {
    this.redis.on("message", (_channel: string, message: string) => hear(message));
    const ask = () => this.redis.subscribe(channel);
    this.redis.on("ready", () => void ask().catch((error: Error) => this.#drop(error)));
    try {
      await ask();
    } catch (error) {
      throw isAway(error) ? new RedisAwayError(error) : error;
    }
  }

  /** It is closed for good. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Closes at once; calls in flight are rejected. */
  close(): void {
    this.#closed = true;
    this.#options.signal?.removeEventListener("abort", this.#over);
    if (this.#original) this.#original.#duplicates.delete(this);
    this.redis.disconnect();
  }

  /** Gives the socket up: what is in flight is rejected, and another is made, to where the address leads by then. */
  #drop(why: Error): void {
    this.#lastError = this.#dropped = why;
    this.redis.stream?.destroy();
  }

  async #readIdentity(): Promise<string> {
    const [server, replication, cluster] = await Promise.all([
      this.redis.info("server"),
      this.redis.info("replication"),
      this.redis.info("cluster"),
    ]);
    const field = (text: string, name: string) =>
      new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(text)?.[1] ?? "";
    const version = field(server, "redis_version");
    if (Number.parseInt(version, 10) < 7) {
      throw new HitzeroError("SERVER_TOO_OLD", `Redis ${version} is too old`, {
        hint: "Use Redis 7.0 or newer (or Valkey).",
        exitCode: 3,
      });
    }
    if (field(cluster, "cluster_enabled") === "1") {
      throw new HitzeroError("REDIS_IS_CLUSTER", `Redis at ${this.address} is a node of a Redis Cluster`, {
        hint: "Use a Redis without cluster mode (cluster-enabled no); a replica of it is welcome. Support for Cluster is to come.",
        exitCode: 3,
      });
    }
    if (field(replication, "role") === "slave") {
      const error = isReplica(this.address);
      this.#drop(error);
      throw error;
    }
    await this.#refuseMissingDatabase();
    this.#clock.forget();
    for (let reading = 0; reading < CLOCK_READINGS; reading += 1) {
      if ((await this.#readClock()) <= QUICK_MS) break;
    }
    return `${field(server, "run_id")}:${field(replication, "master_replid")}`;
  }

  /** The library selects the database at each connect, too, but stays at database 0 when that is refused. */
  async #refuseMissingDatabase(): Promise<void> {
    const database = this.redis.options.db ?? 0;
    if (database === 0) return;
    try {
      await this.redis.select(database);
    } catch (error) {
      if (!String(error).includes("out of range")) throw error;
      throw new HitzeroError(
        "REDIS_DATABASE_MISSING",
        `Redis at ${this.address} has no database ${database}`,
        {
          hint: "Correct the number at the end of HITZERO_REDIS_URL (`databases` of redis.conf says how many there are).",
          exitCode: 3,
        },
      );
    }
  }

  #readClock(): Promise<number> {
    return this.#clock.measure(() => this.redis.time() as Promise<[number, number]>);
  }

  async #beat(): Promise<void> {
    if (this.redis.mode === "subscriber") await this.redis.ping();
    else await this.#readClock();
  }
}
