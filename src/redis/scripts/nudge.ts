/** Wakes the partition's reader, as other scripts do (lua/nudge.lua). */
import { FenceError } from "../fence_error.ts";
import type { Partition } from "../partition.ts";
import { okReply } from "../replies.ts";

/**
 * Tells the reader that there is a command. Losing it costs at most the reader's own look around. Whoever makes no other calls learns the
 * epoch here.
 * @throws FenceError when the partition is closed, or another database's
 */
export async function nudgeReader(partition: Partition): Promise<void> {
  try {
    await nudge(partition);
  } catch (error) {
    if (!(error instanceof FenceError) || error.lasts) throw error;
    await partition.refresh();
    await nudge(partition);
  }
}

async function nudge(partition: Partition): Promise<void> {
  const { keys } = partition;
  const json = JSON.stringify(await partition.fence(keys));
  await partition.call("nudge", [keys.meta, keys.nudge], [json], okReply);
}
