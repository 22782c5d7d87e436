/** Tokens that wait in the ready streams. */

import type { StreamPosition } from "./calls.ts";
import { isAway, LONGEST_BLOCK_MS, RedisAwayError, type RedisConnection } from "./connection.ts";
import { FenceError } from "./fence_error.ts";
import type { StreamPlace } from "./keys.ts";
import { GROUP } from "./keys.ts";
import type { Partition } from "./partition.ts";

/** A stream of tokens for workers of a queue; with a function, for those of them that offer it. */
export interface ReadyStream extends StreamPlace {
  partition: Partition;
}

/** A token as it lies in a ready stream. */
export interface ReadyEntry extends StreamPosition {
  partition: number;
  text: string;
}

/**
 * Waits for tokens on the ready streams of several partitions, on a connection of its own. Empty when none came in time.
 * With `pending`, answers instead the entries that this consumer was given before and never claimed.
 */
export async function readReady(
  connection: RedisConnection,
  streams: readonly ReadyStream[],
  consumer: string,
  options: { count: number; blockMs?: number; pending?: boolean },
): Promise<ReadyEntry[]> {
  const names = streams.map((stream) => stream.partition.keys.stream(stream));
  const position = options.pending ? "0" : ">";
  try {
    const reply = (await connection.redis.call(
      "XREADGROUP",
      "GROUP",
      GROUP,
      consumer,
      "COUNT",
      options.count,
      ...(options.pending ? [] : ["BLOCK", options.blockMs ?? LONGEST_BLOCK_MS]),
      "STREAMS",
      ...names,
      ...names.map(() => position),
    )) as [string, [string, string[] | null][]][] | null;
    const found: ReadyEntry[] = [];
    for (const [name, entries] of reply ?? []) {
      const stream = streams[names.indexOf(name)] as ReadyStream;
      for (const [entry, fields] of entries) found.push(entryOf(stream, entry, fields?.[1] ?? ""));
    }
    return found;
  } catch (error) {
    if (isAway(error)) throw new RedisAwayError(error);
    // UNBLOCKED: a stream was removed while it was read.
    if (error instanceof Error && /^(NOGROUP|UNBLOCKED)/.test(error.message)) {
      throw new FenceError(streams[0]?.partition.number ?? 0, "closed");
    }
    throw error;
  }
}

function entryOf({ partition, queue, functionName, suspects }: ReadyStream, entry: string, text: string) {
  const found: ReadyEntry = { partition: partition.number, queue, entry, text };
  if (functionName !== undefined) found.functionName = functionName;
  if (suspects !== undefined) found.suspects = suspects;
  return found;
}
