/** Timers: tokens whose time has come are queued (lua/fire.lua); time limits of runs lie among them. */
import { decodeKept } from "../../token/token.ts";
import { callInHalves, isNobodys, type OnRefused } from "../call_fault.ts";
import { KeyList } from "../key_list.ts";
import type { Partition } from "../partition.ts";
import { fireReply } from "../replies.ts";
import { streamsOf } from "../step_call.ts";

/** Forgets a run's own time limit. */
export async function dropTimeLimits(
  partition: Partition,
  runs: readonly { runId: string; generation: number }[],
): Promise<void> {
  const members = runs.map(({ runId, generation }) => `!|time_out|${runId}|${generation}`);
  const atOnce = partition.limits.members;
  for (let first = 0; first < members.length; first += atOnce) {
    const part = members.slice(first, first + atOnce);
    await partition.orAway(partition.connection.redis.zrem(partition.keys.timers, ...part));
  }
}

/** So that timers that fall due without end leave time for the rest of the reader's round. */
const FIRE_CALLS = 20;

/**
 * Fires timers that are due, as many as some calls take; returns when the next one is (Redis's clock, ms; the past when more are due), if
 * any. `onTimeOut` hears of runs whose time is up.
 */
export async function fireTimers(
  partition: Partition,
  onTimeOut: (runId: string, generation: number) => Promise<void>,
  onRefused: OnRefused = isNobodys,
): Promise<number | undefined> {
  const { keys } = partition;
  const { redis } = partition.connection;
  for (let calls = 0; calls < FIRE_CALLS; calls += 1) {
    const first = await partition.orAway(
      redis.zrange(
        keys.timers,
        "-inf",
        "+inf",
        "BYSCORE",
        "LIMIT",
        0,
        partition.limits.members,
        "WITHSCORES",
      ),
    );
    const dueBy = (now: number) =>
      first.filter((_member, index) => index % 2 === 0 && Number(first[index + 1]) <= now);
    // What seems due by the estimate is judged by the clock itself.
    const seems = dueBy(partition.connection.now()).length > 0;
    const due = seems ? dueBy(await partition.readTime()) : [];
    if (due.length === 0) return first.length === 0 ? undefined : Number(first[1]);
    for (const kept of due.filter((member) => member.startsWith("!"))) {
      const [, , runId, generation] = kept.split("|") as [string, string, string, string];
      await onTimeOut(runId, Number(generation));
      await partition.orAway(redis.zrem(keys.timers, kept));
    }
    const fire = async (kept: readonly string[]) => {
      const list = new KeyList([keys.meta, keys.timers]);
      const queues = streamsOf(
        list,
        keys,
        kept.map((member) => member.slice(0, member.indexOf("|"))),
      );
      const json = { ...(await partition.fence(keys)), queues, due: kept };
      await partition.call("fire", list.keys, [JSON.stringify(json)], fireReply);
    };
    const tokens = due.filter((member) => !member.startsWith("!"));
    await callInHalves(tokens, fire, async (kept, error) => {
      await onRefused(decodeKept(kept)?.token.runId, `fire ${kept}`, error);
      await partition.orAway(redis.zrem(keys.timers, kept));
    });
  }
  return partition.connection.now();
}
