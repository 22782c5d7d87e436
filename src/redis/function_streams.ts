/**
 * Function streams: tokens that came to a worker which does not offer their function, and wait for one that does (lua/lib/offers.lua).
 * Suspects wait in streams of their own, so that they are performed alone here, too.
 * A partition without such tokens has none.
 */
import type { RedisConnection } from "./connection.ts";
import {
  controlChannel,
  type FunctionStream,
  parseFunctionField,
  SETTLE_QUEUE,
  type StreamPlace,
} from "./keys.ts";
import type { Partition } from "./partition.ts";
import type { ReadyEntry } from "./ready.ts";

/** Message on the control channel: a function stream was opened. */
export const STREAM_OPENED = "function stream";

export async function announceOpened(connection: RedisConnection, namespace: string): Promise<void> {
  await connection.redis.publish(controlChannel(namespace), STREAM_OPENED);
}

/** The function streams of a partition. */
export async function listFunctionStreams(partition: Partition): Promise<FunctionStream[]> {
  const fields = await partition.orAway(partition.connection.redis.hkeys(partition.keys.functions));
  return fields.map(parseFunctionField);
}

/** A token that waits in a ready stream, from its time of arrival on. */
export interface WaitingEntry extends ReadyEntry {
  /** What its function stream had waited when it came, ms. */
  waited: number;
  /** Redis's clock, ms. */
  since: number;
}

/** The first entries of a ready stream, whoever they were delivered to. */
export async function readWaiting(
  partition: Partition,
  stream: StreamPlace,
  limit: number,
): Promise<WaitingEntry[]> {
  const key = partition.keys.stream(stream);
  const entries = await partition.orAway(partition.connection.redis.xrange(key, "-", "+", "COUNT", limit));
  return entries.map(([entry, [, text = "", , waited = "0"]]) => ({
    ...stream,
    partition: partition.number,
    entry,
    text,
    waited: Number(waited),
    since: Number(entry.split("-")[0]),
  }));
}

/** All streams of tokens of a partition: of the queues that have had a worker, of their suspects, and of functions of both. */
export async function listReadyStreams(partition: Partition): Promise<StreamPlace[]> {
  const queues = await partition.queues();
  const suspects = queues.filter((queue) => queue !== SETTLE_QUEUE);
  return [
    ...queues.map((queue) => ({ queue })),
    ...suspects.map((queue) => ({ queue, suspects: true })),
    ...(await listFunctionStreams(partition)),
  ];
}
