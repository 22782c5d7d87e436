import { stateChannel } from "../../redis/keys.ts";
import type { Partition } from "../../redis/partition.ts";
import { type ChangesOf, NO_CHANGES } from "./state_changes.ts";

/** Announces what is committed. Nobody listening costs two calls, not one for each change. */
export async function announceChanges(partition: Partition, changesOf: ChangesOf): Promise<void> {
  if (changesOf === NO_CHANGES) return;
  const { redis } = partition.connection;
  const [channels, patterns] = await Promise.all([
    redis.pubsub("CHANNELS", "workflow:*:state") as unknown as Promise<string[]>,
    redis.pubsub("NUMPAT") as unknown as Promise<number>,
  ]);
  if (channels.length === 0 && patterns === 0) return;
  const heard = new Set(channels);
  const pipeline = redis.pipeline();
  for (const change of changesOf((runId) => patterns > 0 || heard.has(stateChannel(runId))))
    pipeline.publish(stateChannel(change.instance_id), JSON.stringify(change));
  if (pipeline.length > 0) await pipeline.exec();
}
