/** What the workers of a namespace are told by Pub/Sub. Losing it costs time only. */
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
