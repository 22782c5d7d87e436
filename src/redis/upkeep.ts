/**
 * Leases, timers and entries that nobody claimed: what a worker renews and a reader looks after. Each change is a script that
 * compares before it writes, so it matters neither who calls nor how often.
 */
import { decodeKept } from "../token/token.ts";
import type { IR } from "../workflow/ir.ts";
import { KeyList } from "./key_list.ts";
import { controlChannel } from "./keys.ts";
import { GROUP, type Partition, TOMBSTONE_MS } from "./partition.ts";
import {
  commandReply,
  fireReply,
  okReply,
  reclaimReply,
  renewReply,
  reviveReply,
  sweepReply,
} from "./replies.ts";

/** Members of one upkeep call at most. */
const AT_ONCE = 500;

/** Renews the leases of these kept tokens; answers those that are held no more. */
export async function renewLeases(
  partition: Partition,
  held: readonly string[],
  leaseMs: number,
): Promise<string[]> {
  const lost: string[] = [];
  for (let first = 0; first < held.length; first += AT_ONCE) {
    const part = held.slice(first, first + AT_ONCE);
    const json = {
      ...(await partition.fence(partition.epoch)),
      lease_until: partition.connection.now() + leaseMs,
      held: part,
    };
    const keys = [partition.keys.meta, partition.keys.leases];
    const reply = await partition.call("renew", keys, [JSON.stringify(json)], renewReply);
    lost.push(...reply.lost.map((position) => part[position] as string));
  }
  return lost;
}

/** Hands tokens out again whose lease ran out; answers how many. */
export async function reclaimExpired(partition: Partition): Promise<number> {
  const { redis } = partition.connection;
  const now = partition.connection.now();
  const expired = await partition.orAway(
    redis.zrangebyscore(partition.keys.leases, "-inf", now, "LIMIT", 0, AT_ONCE),
  );
  if (expired.length === 0) return 0;
  const list = new KeyList([
    partition.keys.meta,
    partition.keys.journal(partition.epoch),
    partition.keys.leases,
  ]);
  const items = expired.flatMap((kept) => {
    const known = decodeKept(kept);
    if (known?.token.kind !== "execution") return [];
    const { runId, generation, node, scope, attempt, delivery, nonce } = known.token;
    return {
      kept,
      run: list.position(partition.keys.run(runId)),
      stream: list.position(partition.keys.ready(known.queue)),
      id: runId,
      g: generation,
      node,
      scope,
      attempt,
      delivery,
      nonce,
    };
  });
  const json = { ...(await partition.fence(partition.epoch)), now, expired: items };
  return (await partition.call("reclaim", list.keys, [JSON.stringify(json)], reclaimReply)).reclaimed;
}

/** Puts entries back that were delivered at least `idleMs` ago and never claimed; answers how many. */
export async function requeueUnclaimed(
  partition: Partition,
  queue: string,
  idleMs: number,
  me: string,
): Promise<number> {
  const key = partition.keys.ready(queue);
  const [, entries] = (await partition.orAway(
    partition.connection.redis.xautoclaim(key, GROUP, me, idleMs, "0", "COUNT", AT_ONCE, "JUSTID"),
  )) as [string, string[]];
  if (entries.length === 0) return 0;
  const json = { ...(await partition.fence(partition.epoch)), entries };
  await partition.call("requeue", [partition.keys.meta, key], [JSON.stringify(json)], okReply);
  return entries.length;
}

export type CommandKind = "cancel" | "pause" | "resume" | "time_out" | "stuck";

/** Applies one command to a run, once. `seq` orders a run's commands; 0 for its own time limit. */
export async function applyCommand(partition: Partition, runId: string, kind: CommandKind, seq: number) {
  const { keys } = partition;
  const json = {
    ...(await partition.fence(partition.epoch)),
    tombstone_ms: TOMBSTONE_MS,
    id: runId,
    seq,
    kind,
  };
  const names = [keys.meta, keys.journal(partition.epoch), keys.run(runId), keys.tombstone(runId)];
  return (await partition.call("command", names, [JSON.stringify(json)], commandReply)).word;
}

/** A run's nodes in parts of bounded size, with the queues that they name. */
function* partsOf(ir: IR, partition: Partition, list: KeyList) {
  for (let first = 0; first < ir.nodes.length; first += AT_ONCE) {
    const part = ir.nodes.slice(first, first + AT_ONCE);
    yield {
      queues: Object.fromEntries(
        part.map(({ queue }) => [queue, list.position(partition.keys.ready(queue))]),
      ),
      nodes: part.map(({ queue }, index) => ({ node: first + index, queue })),
    };
  }
}

/** Brings a run's waiting executions in line with its state (halted, resumed), a part of its nodes at a time. */
export async function sweepRun(partition: Partition, runId: string, ir: IR): Promise<void> {
  const { keys } = partition;
  const list = new KeyList([keys.meta, keys.journal(partition.epoch), keys.timers, keys.run(runId)]);
  for (const part of partsOf(ir, partition, list)) {
    const json = { ...(await partition.fence(partition.epoch)), id: runId, ...part };
    await partition.call("sweep", list.keys, [JSON.stringify(json)], sweepReply);
  }
}

/** Hands executions of a run out again that lie nowhere; answers how many there were, and how many are in reach. */
export async function reviveRun(partition: Partition, runId: string, ir: IR) {
  const { keys } = partition;
  const list = new KeyList([
    keys.meta,
    keys.journal(partition.epoch),
    keys.leases,
    keys.timers,
    keys.run(runId),
  ]);
  const total = { revived: 0, alive: 0 };
  for (const part of partsOf(ir, partition, list)) {
    const json = { ...(await partition.fence(partition.epoch)), id: runId, ...part };
    const reply = await partition.call("revive", list.keys, [JSON.stringify(json)], reviveReply);
    total.revived += reply.revived;
    total.alive += reply.alive;
  }
  return total;
}

/** Tokens that lie in the partition's ready streams. */
export async function countQueued(partition: Partition): Promise<number> {
  const { redis } = partition.connection;
  const queues = await partition.queues();
  const lengths = await partition.orAway(
    Promise.all(queues.map((queue) => redis.xlen(partition.keys.ready(queue)))),
  );
  return lengths.reduce((total, length) => total + length, 0);
}

/** Forgets a run's own time limit. */
export async function dropTimeLimits(
  partition: Partition,
  runs: readonly { runId: string; generation: number }[],
): Promise<void> {
  const members = runs.map(({ runId, generation }) => `!|time_out|${runId}|${generation}`);
  if (members.length > 0)
    await partition.orAway(partition.connection.redis.zrem(partition.keys.timers, ...members));
}

/**
 * Fires the timers that are due; answers when the next one is (Redis's clock, ms), if any. `onTimeOut` hears of runs whose time is up.
 */
export async function fireTimers(
  partition: Partition,
  onTimeOut: (runId: string) => Promise<void>,
): Promise<number | undefined> {
  const { redis } = partition.connection;
  for (;;) {
    const first = await partition.orAway(
      redis.zrange(partition.keys.timers, "-inf", "+inf", "BYSCORE", "LIMIT", 0, AT_ONCE, "WITHSCORES"),
    );
    const now = partition.connection.now();
    const due: string[] = [];
    for (let index = 0; index < first.length; index += 2) {
      if (Number(first[index + 1]) > now) break;
      due.push(first[index] as string);
    }
    if (due.length === 0) return first.length === 0 ? undefined : Number(first[1]);
    for (const kept of due.filter((member) => member.startsWith("!"))) {
      await onTimeOut(kept.split("|")[2] as string);
      await partition.orAway(redis.zrem(partition.keys.timers, kept));
    }
    const list = new KeyList([partition.keys.meta, partition.keys.timers]);
    const items = due
      .filter((member) => !member.startsWith("!"))
      .map((kept) => ({
        kept,
        stream: list.position(partition.keys.ready(decodeKept(kept)?.queue ?? "default")),
      }));
    const json = { ...(await partition.fence(partition.epoch)), due: items };
    await partition.call("fire", list.keys, [JSON.stringify(json)], fireReply);
  }
}

/** Which of these runs of the partition are halted? */
export async function haltedRuns(partition: Partition, runIds: readonly string[]): Promise<string[]> {
  const { redis } = partition.connection;
  const reasons = await partition.orAway(
    Promise.all(runIds.map((runId) => redis.hget(partition.keys.run(runId), "x"))),
  );
  return runIds.filter((_runId, index) => reasons[index] !== null);
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

/** Wakes the partition's reader: there is a command. Losing it costs at most the reader's own look around. */
export async function nudgeReader(partition: Partition): Promise<void> {
  const { redis } = partition.connection;
  await partition.orAway(redis.xadd(partition.keys.nudge, "MAXLEN", 1, "*", "n", "1"));
}
