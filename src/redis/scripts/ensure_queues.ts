/** Makes queues (lua/ensure_queues.lua). */
import { SETTLE_QUEUE } from "../keys.ts";
import type { Partition } from "../partition.ts";
import { okReply } from "../replies.ts";

/** Makes sure that the ready streams of these queues, and of settle tokens, can be read. */
export async function ensureQueues(partition: Partition, names: readonly string[]): Promise<void> {
  const { keys } = partition;
  const queues = [SETTLE_QUEUE, ...names];
  const streams = [
    ...queues.map((queue) => keys.ready(queue)),
    ...names.map((queue) => keys.suspects(queue)),
  ];
  const json = JSON.stringify({ ...(await partition.fence(keys)), queues });
  await partition.call("ensure_queues", [keys.meta, keys.queues, ...streams], [json], okReply);
}
