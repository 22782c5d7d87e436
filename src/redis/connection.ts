/**
 * One connection to Redis that knows which server it speaks to.
 *
 * Owns: the socket, and the server's identity (`run_id` + `master_replid`) as this very socket saw it. When the socket closes
 * the identity goes with it, and commands in flight are rejected, never sent again by the library: a call carries the
 * identity under which it was decided, or fails. Whoever calls decides whether to repeat (scripts answer repeats rightly).
 */
import { Redis } from "ioredis";
import { HitzeroError } from "../base/errors.ts";
import { checkRedisUrl, connectFault, redisAddress } from "./connection_errors.ts";

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

const CLOCK_READINGS = 3;
/** A reading that took no longer is good enough. */
const QUICK_MS = 4;

const AWAY =
  /Connection is closed|max retries per request|Stream isn't writeable|ECONNRESET|EPIPE|ECONNREFUSED|^LOADING|^MASTERDOWN|^READONLY|^BUSY |Command timed out/;

/** Is this error one of the connection (or a server that is starting), so that the call may be repeated? */
export function isAway(error: unknown): boolean {
  if (error instanceof RedisAwayError) return true;
  return (
    error instanceof Error &&
    (AWAY.test(error.message) || AWAY.test(String((error as { code?: string }).code)))
  );
}

export interface ConnectionOptions {
  /** Told of errors after the first connect. */
  onError?: (error: Error) => void;
}

export class RedisConnection {
  readonly redis: Redis;
  readonly url: string;
  #identity: Promise<string> | undefined;
  #clockOffsetMs = 0;
  #lastError: Error | undefined;

  private constructor(url: string, options: ConnectionOptions) {
    this.url = url;
    this.redis = new Redis(url, {
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: true,
      // Rejects what is in flight as soon as the socket closes; the client itself still reconnects.
      maxRetriesPerRequest: 0,
      connectTimeout: 5_000,
      retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 5), 1_000),
    });
    this.redis.on("error", (error: Error) => {
      this.#lastError = error;
      options.onError?.(error);
    });
    this.redis.on("close", () => {
      this.#identity = undefined;
    });
  }

  /**
   * Connects.
   * @throws HitzeroError REDIS_URL_INVALID; SERVER_TOO_OLD, REDIS_IS_CLUSTER, REDIS_DATABASE_MISSING and those of `redisFault`
   *   (exit code 3)
   */
  static async open(url: string, options: ConnectionOptions = {}): Promise<RedisConnection> {
    checkRedisUrl(url);
    const connection = new RedisConnection(url, options);
    try {
      await connection.redis.connect();
      await connection.identity();
    } catch (error) {
      connection.redis.disconnect();
      if (error instanceof HitzeroError && !isAway(error)) throw error;
      throw await connectFault(connection.#lastError ?? error, url);
    }
    return connection;
  }

  /** Host and port. */
  get address(): string {
    return redisAddress(this.url);
  }

  /** The server's identity as this socket sees it. @throws RedisAwayError */
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

  /** Redis's clock, milliseconds since 1970, estimated at connect. */
  now(): number {
    return Math.round(Date.now() + this.#clockOffsetMs);
  }

  /** Another connection with the same settings, for blocking reads or subscriptions. */
  duplicate(options: ConnectionOptions = {}): Promise<RedisConnection> {
    return RedisConnection.open(this.url, options);
  }

  /** Closes at once; calls in flight are rejected. */
  close(): void {
    this.redis.disconnect();
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
    await this.#refuseMissingDatabase();
    this.#clockOffsetMs = await this.#readClockOffset();
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

  /** Of a few readings the quickest: it is wrong by half of what it took at most. */
  async #readClockOffset(): Promise<number> {
    let [best, offset] = [Number.POSITIVE_INFINITY, 0];
    for (let reading = 0; reading < CLOCK_READINGS && best > QUICK_MS; reading += 1) {
      const asked = Date.now();
      const [seconds, micros] = await this.redis.time();
      const told = Date.now();
      if (told - asked >= best) continue;
      best = told - asked;
      offset = Number(seconds) * 1_000 + Number(micros) / 1_000 - (asked + told) / 2;
    }
    return offset;
  }
}
