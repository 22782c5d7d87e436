/** Removes what older epochs left behind (lua/clear_older.lua). */
import { pause } from "../../base/wait.ts";
import { keysOf } from "../namespace.ts";
import type { Partition } from "../partition.ts";
import { okReply } from "../replies.ts";

/** Between two steps of the search, of a thousand keys each: it leaves Redis to others. */
const STEP_PAUSE_MS = 10;

/** None came before it. */
const FIRST_EPOCH = "1";

/**
 * Looks through the keys of the server, a step at a time, and removes those of this partition that carry another epoch than its own; answers
 * how many. They are read no more, by anybody: they only take memory. Once done, it is noted in the partition, and does nothing.
 * @throws FenceError, RedisAwayError; HitzeroError PERMISSION_DENIED when the user may not SCAN
 */
export async function clearOlderEpochs(partition: Partition, signal?: AbortSignal): Promise<number> {
  const { keys, connection } = partition;
  if (keys.epoch === FIRST_EPOCH) return 0;
  const cleared = await partition.orAway(connection.redis.hget(keys.meta, "cleared"));
  if (cleared === keys.epoch) return 0;
  let removed = 0;
  for await (const found of keysOf(connection, keys.pattern)) {
    const others = found.filter((key) => keys.isOfAnother(key));
    for (let first = 0; first < others.length; first += partition.limits.keys)
      removed += await remove(partition, others.slice(first, first + partition.limits.keys), false);
    await pause(STEP_PAUSE_MS, signal);
    if (signal?.aborted) return removed;
  }
  await remove(partition, [], true);
  return removed;
}

async function remove(partition: Partition, others: readonly string[], done: boolean): Promise<number> {
  const { keys } = partition;
  const json = JSON.stringify({ ...(await partition.fence(keys)), done });
  await partition.call("clear_older", [keys.meta, ...others], [json], okReply);
  return others.length;
}
