/** Workers as the others of their partition know them, and what is left of those that are gone. */
import type { Partition } from "./partition.ts";

/** Workers whose processes are known to live, as this partition knows it. */
export async function workersInReach(partition: Partition): Promise<string[]> {
  const { redis } = partition.connection;
  const now = await partition.readTime();
  return partition.orAway(redis.zrangebyscore(partition.keys.workers, now, "+inf"));
}

/** A worker that stops is known no more. */
export async function forgetWorker(partition: Partition, worker: string): Promise<void> {
  const { workers, listings, lastWords } = partition.keys;
  const { redis } = partition.connection;
  await partition.orAway(
    Promise.all([redis.zrem(workers, worker), redis.hdel(listings, worker), redis.hdel(lastWords, worker)]),
  );
}

/** Workers whose processes are gone, and all of whose tokens were handed out again, are known no more. */
export async function forgetDeadWorkers(partition: Partition): Promise<void> {
  const { redis } = partition.connection;
  const until = partition.connection.now() - DEAD_MS;
  const dead = await partition.orAway(
    redis.zrangebyscore(partition.keys.workers, "-inf", until, "LIMIT", 0, partition.limits.members),
  );
  for (const worker of dead) await forgetWorker(partition, worker);
}

/** Longer than it takes to hand out the last token of a dead worker again. */
const DEAD_MS = 60_000;

/**
 * The partition was closed for a while: what ran out meanwhile is nobody's loss. Workers and tokens have a full term from now, of
 * the longest lease among them.
 */
export async function grantLeases(partition: Partition): Promise<void> {
  const { redis } = partition.connection;
  const { workers, listings, leases } = partition.keys;
  const known = await partition.orAway(redis.zrange(workers, 0, -1));
  if (known.length === 0) return;
  const listed = await partition.orAway(redis.hmget(listings, ...known));
  const term = Math.max(...listed.map((listing) => Number(listing?.split("|")[2] ?? 0)));
  const until = (await partition.readTime()) + term;
  const extend = (key: string, members: readonly string[]) =>
    partition.orAway(redis.zadd(key, "XX", ...members.flatMap((member) => [until, member])));
  await extend(workers, known);
  for (;;) {
    const some = await partition.orAway(
      redis.zrangebyscore(leases, "-inf", `(${until}`, "LIMIT", 0, partition.limits.members),
    );
    if (some.length === 0) return;
    await extend(leases, some);
  }
}
