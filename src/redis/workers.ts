/** Workers as the others of their partition know them: what they list, and what is left of those that are gone. */
import { LISTED } from "../token/letters.ts";
import type { StreamPlace } from "./keys.ts";
import type { Partition } from "./partition.ts";
import { renewReply } from "./replies.ts";

/** What a worker says of itself when it lists the tokens that it holds. */
export interface Listing {
  worker: string;
  leaseMs: number;
  /** Kept tokens. */
  held: readonly string[];
  /** Streams of suspects that it reads. */
  suspects: readonly StreamPlace[];
  /** Since when it may have been handed tokens that it does not know of, by `performance.now()`. */
  since: number;
  /** It is told to stop: what it does not finish is nobody's fault. */
  leaves: boolean;
  /** The kept token of the suspect that it performs, and nothing else. */
  alone: string;
}

/** Lists what a worker holds: its leases are renewed. Returns the tokens that are held no more, and how many suspects wait for it. */
export async function renewLeases(
  partition: Partition,
  listing: Listing,
): Promise<{ lost: string[]; suspects: number }> {
  const { worker, leaseMs, held, since, leaves, alone } = listing;
  const streams = listing.suspects.map((place) => partition.keys.stream(place));
  let suspects = 0;
  const { meta, leases, workers, listings, lastWords } = partition.keys;
  const atOnce = partition.limits.members;
  const lost: string[] = [];
  for (let first = 0; first === 0 || first < held.length; first += atOnce) {
    const part = held.slice(first, first + atOnce);
    const isLast = first + atOnce >= held.length;
    const fence = await partition.fence(partition.epoch);
    const said = { age_ms: Math.ceil(performance.now() - since), flags: leaves ? LISTED.leaves : "", alone };
    const json = { ...fence, worker, lease_ms: leaseMs, held: part, ...(isLast ? { listing: said } : {}) };
    const keys = [meta, leases, workers, listings, lastWords, ...streams];
    const reply = await partition.call("renew", keys, [JSON.stringify(json)], renewReply);
    lost.push(...reply.lost.map((position) => part[position] as string));
    suspects = reply.suspects;
  }
  return { lost, suspects };
}

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
