/** What older epochs of a partition left behind in Redis: nobody reads it any more, and it is removed beside all else. */
import type { Log } from "../../base/log.ts";
import { pause } from "../../base/wait.ts";
import { FenceError } from "../../redis/fence_error.ts";
import type { Partition } from "../../redis/partition.ts";
import { clearOlderEpochs } from "../../redis/scripts/clear_older.ts";

/** After a search that failed. */
const AGAIN_MS = 1_000;

/** Removes it while `signal` allows. What is left then is found by the next reader of the partition. Never rejects. */
export async function removeLeftovers(partition: Partition, log: Log, signal: AbortSignal): Promise<void> {
  const place = { partition: partition.number };
  while (!signal.aborted) {
    try {
      const keys = await clearOlderEpochs(partition, signal);
      if (keys > 0) log.info({ ...place, keys }, "keys of older epochs are removed from Redis");
      return;
    } catch (error) {
      // Another reader goes on.
      if (error instanceof FenceError) return;
      const { code, hint } = error as { code?: string; hint?: string };
      if (code === "PERMISSION_DENIED") {
        log.warn(
          { ...place, error: String(error), hint },
          "keys of older epochs stay in Redis: they take memory only",
        );
        return;
      }
      log.debug({ ...place, error: String(error) }, "removing keys of older epochs is tried again");
    }
    await pause(AGAIN_MS, signal);
  }
}
