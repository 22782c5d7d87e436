/** What everybody of a namespace is told by Pub/Sub, and the reader by its stream. Losing it costs time only. */
import { controlChannel } from "./keys.ts";
import type { Partition } from "./partition.ts";

/** An execution that was withdrawn. */
export interface Withdrawn {
  runId: string;
  node: number;
  scope: string;
}

/** Tells every worker that these executions were withdrawn. */
export async function announceWithdrawn(
  partition: Partition,
  namespace: string,
  withdrawn: readonly Withdrawn[],
): Promise<void> {
  const { redis } = partition.connection;
  const channel = controlChannel(namespace);
  await partition.orAway(Promise.all(withdrawn.map((one) => redis.publish(channel, JSON.stringify(one)))));
}

/** Tells every worker that these runs are halted. */
export async function announceHalt(
  partition: Partition,
  namespace: string,
  runIds: readonly string[],
): Promise<void> {
  const { redis } = partition.connection;
  await partition.orAway(Promise.all(runIds.map((runId) => redis.publish(controlChannel(namespace), runId))));
}

/** Wakes the partition's reader, as scripts do (lua/lib/writes.lua): there is a command. Losing it costs at most the reader's own look around. */
export async function nudgeReader(partition: Partition): Promise<void> {
  const { redis } = partition.connection;
  await partition.orAway(redis.xadd(partition.keys.nudge, "MAXLEN", 1, "*", "n", "1"));
}
