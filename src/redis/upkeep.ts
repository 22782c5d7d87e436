/**
 * Leases, timers and entries that nobody claimed: what a worker renews and a reader looks after. Each change is a script that
 * compares before it writes, so it matters neither who calls nor how often.
 */
import { decodeKept } from "../token/token.ts";
import { GROUP, KeyList, type Partition } from "./partition.ts";
import { fireReply, okReply, reclaimReply, renewReply } from "./replies.ts";

/** Members of one upkeep call at most. */
const AT_ONCE = 500;

/** Renews the leases of these kept tokens; answers those that are held no more. */
export async function renewLeases(
  partition: Partition,
  held: readonly string[],
  leaseMs: number,
): Promise<string[]> {
  const lost: string[] = [];
  for (let first = 0; first < held.length; first += AT_ONCE) {
    const part = held.slice(first, first + AT_ONCE);
    const json = {
      ...(await partition.fence(partition.epoch)),
      lease_until: partition.connection.now() + leaseMs,
      held: part,
    };
    const keys = [partition.keys.meta, partition.keys.leases];
    const reply = await partition.call("renew", keys, [JSON.stringify(json)], renewReply);
    lost.push(...reply.lost.map((position) => part[position] as string));
  }
  return lost;
}

/** Hands tokens out again whose lease ran out; answers how many. */
export async function reclaimExpired(partition: Partition): Promise<number> {
  const { redis } = partition.connection;
  const now = partition.connection.now();
  const expired = await partition.orAway(
    redis.zrangebyscore(partition.keys.leases, "-inf", now, "LIMIT", 0, AT_ONCE),
  );
  if (expired.length === 0) return 0;
  const list = new KeyList([
    partition.keys.meta,
    partition.keys.journal(partition.epoch),
    partition.keys.leases,
  ]);
  const items = expired.flatMap((kept) => {
    const known = decodeKept(kept);
    if (known?.token.kind !== "execution") return [];
    const { runId, generation, node, scope, attempt, delivery, nonce } = known.token;
    return {
      kept,
      run: list.position(partition.keys.run(runId)),
      stream: list.position(partition.keys.ready(known.queue)),
      id: runId,
      g: generation,
      node,
      scope,
      attempt,
      delivery,
      nonce,
    };
  });
  const json = { ...(await partition.fence(partition.epoch)), now, expired: items };
  return (await partition.call("reclaim", list.keys, [JSON.stringify(json)], reclaimReply)).reclaimed;
}

/** Puts entries back that were delivered at least `idleMs` ago and never claimed; answers how many. */
export async function requeueUnclaimed(
  partition: Partition,
  queue: string,
  idleMs: number,
  me: string,
): Promise<number> {
  const key = partition.keys.ready(queue);
  const [, entries] = (await partition.orAway(
    partition.connection.redis.xautoclaim(key, GROUP, me, idleMs, "0", "COUNT", AT_ONCE, "JUSTID"),
  )) as [string, string[]];
  if (entries.length === 0) return 0;
  const json = { ...(await partition.fence(partition.epoch)), entries };
  await partition.call("requeue", [partition.keys.meta, key], [JSON.stringify(json)], okReply);
  return entries.length;
}

/** Fires the timers that are due; answers when the next one is (Redis's clock, ms), if any. */
export async function fireTimers(partition: Partition): Promise<number | undefined> {
  const { redis } = partition.connection;
  for (;;) {
    const first = await partition.orAway(
      redis.zrange(partition.keys.timers, "-inf", "+inf", "BYSCORE", "LIMIT", 0, AT_ONCE, "WITHSCORES"),
    );
    const now = partition.connection.now();
    const due: string[] = [];
    for (let index = 0; index < first.length; index += 2) {
      if (Number(first[index + 1]) > now) break;
      due.push(first[index] as string);
    }
    if (due.length === 0) return first.length === 0 ? undefined : Number(first[1]);
    const list = new KeyList([partition.keys.meta, partition.keys.timers]);
    const items = due.map((kept) => ({
      kept,
      stream: list.position(partition.keys.ready(decodeKept(kept)?.queue ?? "default")),
    }));
    const json = { ...(await partition.fence(partition.epoch)), due: items };
    await partition.call("fire", list.keys, [JSON.stringify(json)], fireReply);
  }
}
