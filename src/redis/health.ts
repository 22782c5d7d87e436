/** What Redis says of itself, for `doctor`. */
import { isAway, RedisAwayError, type RedisConnection } from "./connection.ts";
import { redisFault } from "./connection_errors.ts";

export interface RedisFacts {
  /** `Redis 7.0.15`, or another name of the server with its version. */
  server: string;
  appendOnly: boolean;
  /** Null: the server does not let this user read it. */
  appendFsync: string | null;
  maxmemoryPolicy: string;
  /** Bytes. */
  usedMemory: number;
  /** Bytes; 0: no limit of its own. */
  maxMemory: number;
}

/** @throws RedisAwayError; HitzeroError of `redisFault` */
export async function readRedisFacts(connection: RedisConnection): Promise<RedisFacts> {
  const { redis } = connection;
  try {
    const text = await redis.info();
    const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(text)?.[1] ?? "";
    const fsync = await redis.config("GET", "appendfsync").catch((error: unknown) => {
      if (isAway(error)) throw error;
      return [];
    });
    const valkey = field("valkey_version");
    return {
      server: valkey ? `Valkey ${valkey}` : `Redis ${field("redis_version")}`,
      appendOnly: field("aof_enabled") === "1",
      appendFsync: Array.isArray(fsync) && typeof fsync[1] === "string" ? fsync[1] : null,
      maxmemoryPolicy: field("maxmemory_policy"),
      usedMemory: Number(field("used_memory")),
      maxMemory: Number(field("maxmemory") || 0),
    };
  } catch (error) {
    if (isAway(error)) throw new RedisAwayError(error);
    throw redisFault(error, connection.url);
  }
}
