/** Puts entries back that were delivered and never claimed (lua/requeue.lua). */
import { decodeToken } from "../../token/token.ts";
import { callInHalves, isNobodys, type OnRefused } from "../call_fault.ts";
import { GROUP, type StreamPlace } from "../keys.ts";
import type { Partition } from "../partition.ts";
import { okReply } from "../replies.ts";

/** Consumer that takes over what was never claimed. One name for all readers: each name would be kept for ever. */
const REQUEUER = "reader";

/** Puts entries of a stream back that were delivered at least `idleMs` ago and never claimed; answers how many. */
export async function requeueUnclaimed(
  partition: Partition,
  place: StreamPlace,
  idleMs: number,
  onRefused: OnRefused = isNobodys,
): Promise<number> {
  const { keys } = partition;
  const key = keys.stream(place);
  const { redis } = partition.connection;
  const taking = redis
    .xautoclaim(key, GROUP, REQUEUER, idleMs, "0", "COUNT", partition.limits.members, "JUSTID")
    // Its stream is still to be made by a worker.
    .catch((error: Error) => {
      if (!error.message.startsWith("NOGROUP")) throw error;
      return ["0-0", []];
    });
  const [, entries] = (await partition.orAway(taking)) as [string, string[]];
  if (entries.length === 0) return 0;
  const requeue = async (part: readonly string[]) => {
    const json = { ...(await partition.fence(keys)), entries: part };
    await partition.call("requeue", [keys.meta, key], [JSON.stringify(json)], okReply);
  };
  await callInHalves(entries, requeue, async (entry, error) => {
    const { redis } = partition.connection;
    const [found] = await partition.orAway(redis.xrange(key, entry, entry));
    await onRefused(decodeToken(found?.[1][1] ?? "")?.runId, `requeue ${entry} of ${place.queue}`, error);
    await partition.orAway(redis.xack(key, GROUP, entry));
    await partition.orAway(redis.xdel(key, entry));
  });
  return entries.length;
}
