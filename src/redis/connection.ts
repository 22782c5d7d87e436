/**
 * One connection to Redis that knows which server it speaks to.
 *
 * Owns: the socket, and the server's identity (`run_id` + `master_replid`) as this very socket saw it. When the socket closes
 * the identity goes with it, and commands in flight are rejected, never sent again by the library: a call carries the
 * identity under which it was decided, or fails. Whoever calls decides whether to repeat (scripts answer repeats rightly).
 */
import { Redis } from "ioredis";
import { HitzeroError } from "../base/errors.ts";

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

/** Host and port of a URL, without user or password. */
export function redisAddress(url: string): string {
  try {
    const parsed = new URL(url);
    return `${parsed.hostname || "127.0.0.1"}:${parsed.port || "6379"}`;
  } catch {
    return "the given address";
  }
}

function redisFault(error: unknown, url: string): HitzeroError {
  const message = error instanceof Error ? error.message : String(error);
  if (/WRONGPASS|NOAUTH|invalid password|without any password configured/i.test(message)) {
    return new HitzeroError("WRONG_PASSWORD", `Redis at ${redisAddress(url)} refused the user or password`, {
      hint: "Correct the user and password in HITZERO_REDIS_URL (redis://user:password@host:port).",
      exitCode: 3,
    });
  }
  return new HitzeroError(
    "SERVER_UNREACHABLE",
    `Redis at ${redisAddress(url)} cannot be reached: ${message}`,
    {
      hint: "Start Redis, or set HITZERO_REDIS_URL; `npx hitzero up` starts a local one.",
      exitCode: 3,
    },
  );
}

const CLOCK_READINGS = 3;
/** A reading that took no longer is good enough. */
const QUICK_MS = 4;

const AWAY =
  /Connection is closed|max retries per request|Stream isn't writeable|ECONNRESET|EPIPE|ECONNREFUSED|^LOADING|^MASTERDOWN|^READONLY|Command timed out/;

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
  readonly #url: string;
  #identity: Promise<string> | undefined;
  #clockOffsetMs = 0;
  #lastError: Error | undefined;

  private constructor(url: string, options: ConnectionOptions) {
    this.#url = url;
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
   * @throws HitzeroError REDIS_URL_INVALID; WRONG_PASSWORD, SERVER_UNREACHABLE or SERVER_TOO_OLD (exit code 3), without the password
   */
  static async open(url: string, options: ConnectionOptions = {}): Promise<RedisConnection> {
    if (!/^rediss?:\/\//.test(url)) {
      throw new HitzeroError("REDIS_URL_INVALID", "the Redis URL does not start with redis:// or rediss://", {
        hint: "Write it as redis://user:password@host:port/db.",
      });
    }
    const connection = new RedisConnection(url, options);
    try {
      await connection.redis.connect();
      await connection.identity();
    } catch (error) {
      connection.redis.disconnect();
      if (error instanceof HitzeroError && !isAway(error)) throw error;
      throw redisFault(connection.#lastError ?? error, url);
    }
    return connection;
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
    return RedisConnection.open(this.#url, options);
  }

  /** Closes at once; calls in flight are rejected. */
  close(): void {
    this.redis.disconnect();
  }

  async #readIdentity(): Promise<string> {
    const [server, replication] = await Promise.all([
      this.redis.info("server"),
      this.redis.info("replication"),
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
    this.#clockOffsetMs = await this.#readClockOffset();
    return `${field(server, "run_id")}:${field(replication, "master_replid")}`;
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
