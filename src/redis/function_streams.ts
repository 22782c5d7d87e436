/**
 * Function streams: tokens that came to a worker which does not offer their function, and wait for one that does (lua/lib/offers.lua).
 * Suspects wait in streams of their own, so that they are performed alone here, too.
 * A partition without such tokens has none.
 */
import { DEFAULTS } from "../workflow/file/defaults.ts";
import type { RedisConnection } from "./connection.ts";
import { KeyList } from "./key_list.ts";
import {
  controlChannel,
  type FunctionStream,
  functionField,
  parseFunctionField,
  SETTLE_QUEUE,
  type StreamPlace,
} from "./keys.ts";
import type { Partition } from "./partition.ts";
import type { ReadyEntry } from "./ready.ts";
import { countReply, tidyReply } from "./replies.ts";

/** Message on the control channel: a function stream was opened. */
export const STREAM_OPENED = "function stream";

/** An empty function stream is kept for this long, ms. */
const EMPTY_KEPT_MS = 60_000;
/** Queues that are kept without a worker. */
const KEPT_QUEUES: ReadonlySet<string> = new Set([DEFAULTS.queue, SETTLE_QUEUE]);

export async function announceOpened(connection: RedisConnection, namespace: string): Promise<void> {
  await connection.redis.publish(controlChannel(namespace), STREAM_OPENED);
}

/** The function streams of a partition. */
export async function listFunctionStreams(partition: Partition): Promise<FunctionStream[]> {
  const fields = await partition.orAway(partition.connection.redis.hkeys(partition.keys.functions));
  return fields.map(parseFunctionField);
}

/** What happened to a function stream since it was counted last. */
export interface Count extends FunctionStream {
  /** For so long workers of the queue lived and none offered the function, ms. */
  waits: number;
  /** A live worker offers it. */
  offered: boolean;
}

/** Counts the waiting of function streams; returns for each how long it waited in all, and how long when somebody last offered it, ms. */
export async function countUnoffered(
  partition: Partition,
  counts: readonly Count[],
  keptMs = EMPTY_KEPT_MS,
): Promise<{ waited: number; offered: number }[]> {
  const answers: { waited: number; offered: number }[] = [];
  const atOnce = partition.limits.members;
  for (let first = 0; first < counts.length; first += atOnce) {
    const list = new KeyList([partition.keys.meta, partition.keys.functions]);
    const streams = counts.slice(first, first + atOnce).map(({ waits, offered, ...place }) => ({
      function: functionField(place),
      stream: list.position(partition.keys.stream(place)),
      waits,
      offered,
    }));
    const json = { ...(await partition.fence(partition.epoch)), keep_ms: keptMs, streams };
    const reply = await partition.call("count_unoffered", list.keys, [JSON.stringify(json)], countReply);
    answers.push(...reply.waited.map(([waited, offered]) => ({ waited, offered })));
  }
  return answers;
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

/**
 * Removes consumers that have not read for `goneMs` and hold nothing, and those of the queues that nobody reads that are empty; returns how many
 * consumers.
 */
export async function tidyStreams(
  partition: Partition,
  goneMs: number,
  unread: readonly string[],
): Promise<number> {
  const list = new KeyList([partition.keys.meta, partition.keys.queues]);
  const streams = (await listReadyStreams(partition)).map((place) => {
    const { queue, functionName, suspects } = place;
    const isQueue =
      functionName === undefined && !suspects && unread.includes(queue) && !KEPT_QUEUES.has(queue);
    return {
      stream: list.position(partition.keys.stream(place)),
      ...(isQueue ? { queue, suspects: list.position(partition.keys.suspects(queue)) } : {}),
    };
  });
  const json = {
    ...(await partition.fence(partition.epoch)),
    gone_ms: goneMs,
    most: partition.limits.members,
    streams,
  };
  return (await partition.call("tidy", list.keys, [JSON.stringify(json)], tidyReply)).removed;
}
