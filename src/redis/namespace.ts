/** A namespace as a whole: which database its keys belong to, and their removal. */
import { isAway, RedisAwayError, type RedisConnection } from "./connection.ts";
import { redisFault } from "./connection_errors.ts";

/** Keys that one SCAN looks at, and one UNLINK removes. */
const KEYS_AT_ONCE = 1_000;

/** @throws RedisAwayError; HitzeroError of `redisFault`: processes need no right to SCAN, so the user may lack it */
export async function* keysOf({ redis, url }: RedisConnection, pattern: string): AsyncGenerator<string[]> {
  let cursor = "0";
  do {
    const scan = redis.scan(cursor, "MATCH", pattern, "COUNT", KEYS_AT_ONCE);
    const [next, keys] = await scan.catch((error: unknown) => {
      throw isAway(error) ? new RedisAwayError(error) : redisFault(error, url);
    });
    cursor = next;
    if (keys.length > 0) yield keys;
  } while (cursor !== "0");
}

// Namespaces have no character that means something in a pattern.
const allOf = (namespace: string) => `{${namespace}:*}:*`;

/** Ids of the databases that the partitions belong to; null: of a release that kept none. */
export async function ownersOf(connection: RedisConnection, namespace: string): Promise<Set<string | null>> {
  const owners = new Set<string | null>();
  for await (const metas of keysOf(connection, `{${namespace}:*}:meta`)) {
    for (const key of metas) owners.add(await connection.redis.hget(key, "installation"));
  }
  return owners;
}

/** Makes sure that keys may be looked for. @throws HitzeroError of `redisFault` */
export async function checkScan({ redis, url }: RedisConnection): Promise<void> {
  await redis.scan("0", "COUNT", 1).catch((error: unknown) => {
    throw isAway(error) ? new RedisAwayError(error) : redisFault(error, url);
  });
}

/** How many keys the namespace has. */
export async function countKeys(connection: RedisConnection, namespace: string): Promise<number> {
  let count = 0;
  for await (const keys of keysOf(connection, allOf(namespace))) count += keys.length;
  return count;
}

/** Removes every key of the namespace; returns how many. */
export async function clearNamespace(connection: RedisConnection, namespace: string): Promise<number> {
  let count = 0;
  for await (const keys of keysOf(connection, allOf(namespace)))
    count += await connection.redis.unlink(...keys);
  return count;
}
