import { stateChannel } from "../../redis/keys.ts";
import type { Partition } from "../../redis/partition.ts";
import type { StateChange } from "./record_types.ts";

/** Announces what is committed. Nobody listening costs two calls, not one for each change. */
export async function announceChanges(partition: Partition, changes: readonly StateChange[]): Promise<void> {
  if (changes.length === 0) return;
  const { redis } = partition.connection;
  const [channels, patterns] = await Promise.all([
    redis.pubsub("CHANNELS", "workflow:*:state") as unknown as Promise<string[]>,
    redis.pubsub("NUMPAT") as unknown as Promise<number>,
  ]);
  const heard = new Set(channels);
  const pipeline = redis.pipeline();
  for (const change of changes) {
    const channel = stateChannel(change.instance_id);
    if (patterns > 0 || heard.has(channel)) pipeline.publish(channel, JSON.stringify(change));
  }
  if (pipeline.length > 0) await pipeline.exec();
}
