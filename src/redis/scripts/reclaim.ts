/** Hands out again what is held by nobody any more (lua/reclaim.lua): its lease ran out, or its worker died. */
import { assert } from "../../base/assert.ts";
import { decodeLease } from "../../token/token.ts";
import { callInHalves, isNobodys, type OnRefused } from "../call_fault.ts";
import { KeyList } from "../key_list.ts";
import type { Partition } from "../partition.ts";
import { reclaimReply } from "../replies.ts";
import { RUN } from "../run_state.ts";
import { streamsOf, suspectStreamsOf } from "../step_call.ts";
import { forgetDeadWorkers, forgetWorker } from "../workers.ts";

/** Hands tokens out again whose lease ran out; answers how many. */
export async function reclaimExpired(
  partition: Partition,
  onRefused: OnRefused = isNobodys,
): Promise<number> {
  let reclaimed = 0;
  for (let calls = 0; calls < RECLAIM_CALLS; calls += 1) {
    const part = await reclaimSome(partition, onRefused);
    reclaimed += part.reclaimed;
    if (part.expired < partition.limits.executions) {
      await forgetDeadWorkers(partition);
      break;
    }
  }
  return reclaimed;
}

const RECLAIM_CALLS = 20;

async function reclaimSome(
  partition: Partition,
  onRefused: OnRefused,
): Promise<{ expired: number; reclaimed: number }> {
  const { redis } = partition.connection;
  const now = partition.connection.now();
  const expired = await partition.orAway(
    redis.zrangebyscore(partition.keys.leases, "-inf", now, "LIMIT", 0, partition.limits.executions),
  );
  let reclaimed = 0;
  const reclaimThese = async (part: readonly string[]) => {
    reclaimed += await reclaim(partition, part);
  };
  if (expired.length > 0) {
    await callInHalves(expired, reclaimThese, async (lease, error) => {
      await onRefused(decodeLease(lease)?.runId, `reclaim ${lease}`, error);
      await partition.orAway(redis.zrem(partition.keys.leases, lease));
    });
  }
  return { expired: expired.length, reclaimed };
}

/** How the process of a worker ended. */
export interface Death {
  worker: string;
  words: string;
}

/**
 * A worker's process ended, as its parent saw: the suspect that it performed by itself, if it did, is handed out again, and the loss is
 * charged to it.
 */
export async function reportDeath(partition: Partition, died: Death): Promise<void> {
  const { redis } = partition.connection;
  const { listings, lastWords } = partition.keys;
  const [listing, said] = await partition.orAway(
    Promise.all([redis.hget(listings, died.worker), redis.hget(lastWords, died.worker)]),
  );
  const alone = listing?.split("|").slice(3).join("|");
  const { text } = JSON.parse(said ?? "{}") as { text?: string };
  const words = text === undefined ? died.words : `${text} (${died.words})`;
  if (alone) await reclaim(partition, [alone], { ...died, words });
  await forgetWorker(partition, died.worker);
}

/** Hands these out again; returns how many there were. */
async function reclaim(partition: Partition, leases: readonly string[], died?: Death): Promise<number> {
  const { keys } = partition;
  const list = new KeyList([
    keys.meta,
    keys.journal,
    keys.leases,
    keys.workers,
    keys.listings,
    keys.lastWords,
  ]);
  const items = await Promise.all(
    leases.map(async (lease) => {
      const leased = decodeLease(lease);
      assert(leased !== undefined, `${lease} is the lease of an execution`);
      const { runId, generation, ...execution } = leased;
      // Of a run that is gone nothing is read.
      const [digest] = await partition.readFields(runId, [RUN.digest]);
      return {
        lease,
        run: list.position(keys.run(runId)),
        ir: list.position(keys.ir(digest ?? "")),
        parked: list.position(keys.parked(runId)),
        id: runId,
        g: generation,
        ...execution,
      };
    }),
  );
  const names = items.map(({ queue }) => queue);
  const queues = {
    ...streamsOf(list, keys, names),
    ...suspectStreamsOf(list, keys, names),
  };
  const json = { ...(await partition.fence(keys)), queues, expired: items, died };
  return (await partition.call("reclaim", list.keys, [JSON.stringify(json)], reclaimReply)).reclaimed;
}
