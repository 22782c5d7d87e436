/** Rids ready streams of consumers and queues that are gone (lua/tidy.lua). */
import { DEFAULTS } from "../../workflow/file/defaults.ts";
import { listReadyStreams } from "../function_streams.ts";
import { KeyList } from "../key_list.ts";
import { SETTLE_QUEUE } from "../keys.ts";
import type { Partition } from "../partition.ts";
import { tidyReply } from "../replies.ts";

/** Queues that are kept without a worker. */
const KEPT_QUEUES: ReadonlySet<string> = new Set([DEFAULTS.queue, SETTLE_QUEUE]);

/**
 * Removes consumers that have not read for `goneMs` and hold nothing, and those of the queues that nobody reads that are empty; returns how many
 * consumers.
 */
export async function tidyStreams(
  partition: Partition,
  goneMs: number,
  unread: readonly string[],
): Promise<number> {
  const { keys } = partition;
  const list = new KeyList([keys.meta, keys.queues]);
  const streams = (await listReadyStreams(partition)).map((place) => {
    const { queue, functionName, suspects } = place;
    const isQueue =
      functionName === undefined && !suspects && unread.includes(queue) && !KEPT_QUEUES.has(queue);
    return {
      stream: list.position(keys.stream(place)),
      ...(isQueue ? { queue, suspects: list.position(keys.suspects(queue)) } : {}),
    };
  });
  const json = {
    ...(await partition.fence(keys)),
    gone_ms: goneMs,
    most: partition.limits.members,
    streams,
  };
  return (await partition.call("tidy", list.keys, [JSON.stringify(json)], tidyReply)).removed;
}
