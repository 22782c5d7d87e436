/** Counts how long function streams wait for a worker that offers their function (lua/count_unoffered.lua). */
import { KeyList } from "../key_list.ts";
import { type FunctionStream, functionField } from "../keys.ts";
import type { Partition } from "../partition.ts";
import { countReply } from "../replies.ts";

/** An empty function stream is kept for this long, ms. */
const EMPTY_KEPT_MS = 60_000;

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
  const { keys } = partition;
  const atOnce = partition.limits.members;
  for (let first = 0; first < counts.length; first += atOnce) {
    const list = new KeyList([keys.meta, keys.functions]);
    const streams = counts.slice(first, first + atOnce).map(({ waits, offered, ...place }) => ({
      function: functionField(place),
      stream: list.position(keys.stream(place)),
      waits,
      offered,
    }));
    const json = { ...(await partition.fence(keys)), keep_ms: keptMs, streams };
    const reply = await partition.call("count_unoffered", list.keys, [JSON.stringify(json)], countReply);
    answers.push(...reply.waited.map(([waited, offered]) => ({ waited, offered })));
  }
  return answers;
}
