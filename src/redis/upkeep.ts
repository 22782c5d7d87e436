/**
 * Leases, timers and entries that nobody claimed: what a worker renews and a reader looks after. Each change is a script that
 * compares before it writes, so it matters neither who calls nor how often.
 */
import { assert } from "../base/assert.ts";
import { EXECUTION } from "../token/letters.ts";
import { decodeKept, decodeToken } from "../token/token.ts";
import { functionOf } from "../workflow/ir/function_of.ts";
import type { IR, IRNode } from "../workflow/ir/ir.ts";
import { callInHalves } from "./call_fault.ts";
import { readWaiting } from "./function_streams.ts";
import { KeyList } from "./key_list.ts";
import { controlChannel, SETTLE_QUEUE, type StreamPlace } from "./keys.ts";
import { queuesOf } from "./pack.ts";
import { GROUP, type Partition } from "./partition.ts";
import {
  commandReply,
  compensateReply,
  fireReply,
  okReply,
  reclaimReply,
  reviveReply,
  sweepReply,
  wakeReply,
} from "./replies.ts";
import { stepCall, streamsOf, suspectStreamsOf } from "./step_call.ts";
import { forgetDeadWorkers, forgetWorker } from "./workers.ts";

/** Told of a run that a script refuses to carry on, and by which call; undefined: it is not known which run it was. */
export type OnRefused = (runId: string | undefined, call: string, error: unknown) => Promise<void>;

const isNobodys: OnRefused = (_runId, _call, error) => Promise.reject(error);

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
    await callInHalves(expired, reclaimThese, async (kept, error) => {
      await onRefused(decodeKept(kept)?.token.runId, `reclaim ${kept}`, error);
      await partition.orAway(redis.zrem(partition.keys.leases, kept));
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
async function reclaim(partition: Partition, held: readonly string[], died?: Death): Promise<number> {
  const list = new KeyList([
    partition.keys.meta,
    partition.keys.journal(partition.epoch),
    partition.keys.leases,
    partition.keys.workers,
    partition.keys.listings,
    partition.keys.lastWords,
  ]);
  const items = held.map((kept) => {
    const known = decodeKept(kept);
    assert(known?.token.kind === "execution", `${kept} is the lease of an execution`);
    const { runId, digest, generation, node, scope, attempt, delivery, nonce } = known.token;
    return {
      kept,
      run: list.position(partition.keys.run(runId)),
      ir: list.position(partition.keys.ir(digest)),
      parked: list.position(partition.keys.parked(runId)),
      queue: known.queue,
      id: runId,
      g: generation,
      node,
      scope,
      attempt,
      delivery,
      nonce,
    };
  });
  const names = items.map(({ queue }) => queue);
  const queues = {
    ...streamsOf(list, partition.keys, names),
    ...suspectStreamsOf(list, partition.keys, names),
  };
  const json = { ...(await partition.fence(partition.epoch)), queues, expired: items, died };
  return (await partition.call("reclaim", list.keys, [JSON.stringify(json)], reclaimReply)).reclaimed;
}

/** Consumer that takes over what was never claimed. One name for all readers: each name would be kept for ever. */
const REQUEUER = "reader";

/** Puts entries of a stream back that were delivered at least `idleMs` ago and never claimed; answers how many. */
export async function requeueUnclaimed(
  partition: Partition,
  place: StreamPlace,
  idleMs: number,
  onRefused: OnRefused = isNobodys,
): Promise<number> {
  const key = partition.keys.stream(place);
  const { redis } = partition.connection;
  const taking = redis
    .xautoclaim(key, GROUP, REQUEUER, idleMs, "0", "COUNT", partition.limits.members, "JUSTID")
    // Its stream is still to be made by a worker.
    .catch((error: Error) => {
      if (!error.message.startsWith("NOGROUP")) throw error;
      return ["0-0", []];
    });
  const [, entries] = (await partition.orAway(taking)) as [string, string[]];
  if (entries.length === 0) return 0;
  const requeue = async (part: readonly string[]) => {
    const json = { ...(await partition.fence(partition.epoch)), entries: part };
    await partition.call("requeue", [partition.keys.meta, key], [JSON.stringify(json)], okReply);
  };
  await callInHalves(entries, requeue, async (entry, error) => {
    const { redis } = partition.connection;
    const [found] = await partition.orAway(redis.xrange(key, entry, entry));
    await onRefused(decodeToken(found?.[1][1] ?? "")?.runId, `requeue ${entry} of ${place.queue}`, error);
    await partition.orAway(redis.xack(key, GROUP, entry));
    await partition.orAway(redis.xdel(key, entry));
  });
  return entries.length;
}

export type CommandKind = "cancel" | "pause" | "resume" | "time_out" | "stuck";

/** Applies one command to a run, once. `seq` orders a run's commands; 0 for its own time limit. */
export async function applyCommand(partition: Partition, runId: string, kind: CommandKind, seq: number) {
  const { keys } = partition;
  const list = new KeyList([
    keys.meta,
    keys.journal(partition.epoch),
    keys.run(runId),
    keys.tombstone(runId),
  ]);
  const nudge = list.position(keys.nudge);
  const json = { ...(await partition.fence(partition.epoch)), nudge, id: runId, seq, kind };
  return (await partition.call("command", list.keys, [JSON.stringify(json)], commandReply)).word;
}

/** A run with what it runs. */
export interface KnownRun {
  runId: string;
  digest: string;
  ir: IR;
}

/** Nodes that share their innermost map, with the loops around each of them inside of it; of body -1: those outside of maps. */
function nodesByMap(ir: IR): Map<number, { node: number; queue: string; loops?: number[] }[]> {
  const byMap = new Map<number, { node: number; queue: string; loops?: number[] }[]>();
  ir.nodes.forEach(({ queue, body }, node) => {
    const loops: number[] = [];
    let at = body;
    for (; at >= 0 && ir.bodies[at]?.kind === "loop"; at = ir.bodies[at]?.parent ?? -1) {
      loops.unshift(ir.bodies[at]?.node as number);
    }
    const list = byMap.get(at) ?? [];
    byMap.set(at, list);
    list.push(loops.length > 0 ? { node, queue, loops } : { node, queue });
  });
  return byMap;
}

/** A run's executions in parts of bounded size: nodes, and scopes in which to look at them. */
async function* partsOf(partition: Partition, { runId, ir }: KnownRun) {
  const { executions, members } = partition.limits;
  const byMap = nodesByMap(ir);
  const inParts = function* (scopes: readonly string[], body: number) {
    const nodes = byMap.get(body) ?? [];
    const width = Math.max(1, Math.floor(executions / nodes.length));
    for (let first = 0; first < scopes.length; first += width) {
      for (let from = 0; from < nodes.length; from += executions) {
        yield {
          scopes: scopes.slice(first, first + width),
          nodes: nodes.slice(from, from + executions),
          last: from + executions >= nodes.length,
        };
      }
    }
  };
  yield* inParts([""], -1);
  if (byMap.size === 1) return;
  const bodyOf = new Map(ir.bodies.map(({ node }, index) => [ir.nodes[node]?.id, index]));
  let cursor = "0";
  do {
    const scan = partition.connection.redis.sscan(partition.keys.scopes(runId), cursor, "COUNT", members);
    const [next, scopes] = await partition.orAway(scan);
    cursor = next;
    const grouped = new Map<number, string[]>();
    for (const scope of scopes) {
      const body = bodyOf.get(/([^/:]+):\d+$/.exec(scope)?.[1]) ?? -1;
      grouped.set(body, [...(grouped.get(body) ?? []), scope]);
    }
    for (const [body, list] of grouped) if (body >= 0) yield* inParts(list, body);
  } while (cursor !== "0");
}

/** The keys of a call about one run, and what every such call carries. */
async function runCall(partition: Partition, { runId, digest, ir }: KnownRun, keys: string[]) {
  const list = new KeyList([...keys, partition.keys.run(runId), partition.keys.ir(digest)]);
  return {
    list,
    common: async () => ({
      ...(await partition.fence(partition.epoch)),
      ...stepCall(list, partition, [ir]),
      id: runId,
    }),
  };
}

/** A map that is gone while items of it were under way: its node, and its scope. */
export type Burial = [node: number, scope: string];

/** Which of these are still to be done? A new reader is told of all that ever were. */
export async function openBurials(
  partition: Partition,
  runId: string,
  burials: readonly Burial[],
): Promise<Burial[]> {
  const at = (scope: string) => (scope === "" ? "" : `@${scope}`);
  const values = await partition.readFields(
    runId,
    burials.map(([node, scope]) => `b${node}${at(scope)}`),
  );
  return burials.filter((_burial, index) => values[index] !== null);
}

/**
 * Brings a run's executions in line with its state (halted, resumed, maps that are gone), a part at a time. Then nothing is left of the
 * items of `burials`.
 */
export async function sweepRun(
  partition: Partition,
  run: KnownRun,
  burials: readonly Burial[] = [],
): Promise<void> {
  const { keys } = partition;
  const { list, common } = await runCall(partition, run, [
    keys.meta,
    keys.journal(partition.epoch),
    keys.timers,
  ]);
  list.position(keys.parked(run.runId));
  list.position(keys.scopes(run.runId));
  const sweep = (part: object) =>
    partition.withIR(run.digest, run.ir, async () => {
      const json = JSON.stringify({ ...(await common()), ...part });
      return partition.call("sweep", list.keys, [json], sweepReply);
    });
  for await (const part of partsOf(partition, run)) await sweep(part);
  if (burials.length > 0) await sweep({ scopes: [], nodes: [], burials });
}

/** Hands executions of a run out again that lie nowhere; answers how many there were, how many are in reach, and whether it compensates. */
export async function reviveRun(partition: Partition, run: KnownRun) {
  const { keys, limits } = partition;
  const first = [keys.meta, keys.journal(partition.epoch), keys.leases, keys.timers];
  const { list, common } = await runCall(partition, run, first);
  const suspects = suspectStreamsOf(list, keys, queuesOf(run.ir));
  const [verdict, undoing] = await partition.readFields(run.runId, ["z", "Z"]);
  const total = { revived: 0, alive: 0, compensating: typeof verdict === "string" };
  const revive = async (scopes: readonly string[], nodes: readonly { node: number; queue: string }[]) => {
    const placed = nodes.map((one) => {
      const name = functionOf(run.ir.nodes[one.node] as IRNode);
      if (name === undefined) return one;
      const function_stream = list.position(keys.ready(one.queue, name));
      return { ...one, function_stream, function_suspects: list.position(keys.suspects(one.queue, name)) };
    });
    const reply = await partition.withIR(run.digest, run.ir, async () => {
      const call = await common();
      const queues = { ...call.queues, ...suspects };
      const part = { queues, scopes, nodes: placed, looked_through: limits.lookedThrough };
      const json = JSON.stringify({ ...call, ...part });
      return partition.call("revive", list.keys, [json], reviveReply);
    });
    total.revived += reply.revived;
    total.alive += reply.alive;
  };
  for await (const { scopes, nodes } of partsOf(partition, run)) await revive(scopes, nodes);
  // What is undone may stand in an iteration or item that is over.
  const [, node, scope] = /^(\d+)@(.+)$/.exec(undoing ?? "") ?? [];
  if (scope !== undefined) {
    const { queue } = run.ir.nodes[Number(node)] as IRNode;
    await revive([scope], [{ node: Number(node), queue }]);
  }
  return total;
}

/** Is there a rest of a step of this run that is still to be settled? A long queue is not looked through: there is one, then. */
export async function hasRest(partition: Partition, runId: string): Promise<boolean> {
  const { lookedThrough } = partition.limits;
  const rests = await readWaiting(partition, { queue: SETTLE_QUEUE }, lookedThrough);
  return rests.length === lookedThrough || rests.some(({ text }) => decodeToken(text)?.runId === runId);
}

export interface Signal {
  /** Orders the run's commands. */
  seq: number;
  name: string;
  /** The waiter's; absent: whoever has waited longest. */
  scope?: string;
  /** Dropped when nobody waits. */
  transient: boolean;
  /** JSON. */
  payload: string;
}

/** Gives a signal to a run, once. */
export async function giveSignal(partition: Partition, run: KnownRun, signal: Signal) {
  const { keys } = partition;
  const first = [keys.meta, keys.journal(partition.epoch), keys.timers];
  const { list, common } = await runCall(partition, run, first);
  for (const key of [keys.parked(run.runId), keys.scopes(run.runId), keys.tombstone(run.runId)])
    list.position(key);
  const { payload, ...rest } = signal;
  const nodes = run.ir.nodes.flatMap(({ config }, index) => (config.name === signal.name ? [index] : []));
  for (;;) {
    const reply = await partition.withIR(run.digest, run.ir, async () => {
      const json = JSON.stringify({ ...(await common()), ...rest, nodes });
      return partition.call("signal", list.keys, [json, payload], commandReply);
    });
    if (reply.word !== "busy") return reply.word;
  }
}

/** Wakes an execution that waits for its child run; `ended` is JSON. */
export async function wakeParent(
  partition: Partition,
  run: KnownRun,
  { node, scope, ended }: { node: number; scope: string; ended: string },
): Promise<void> {
  const { keys } = partition;
  const first = [keys.meta, keys.journal(partition.epoch), keys.timers];
  const { list, common } = await runCall(partition, run, first);
  for (const key of [keys.parked(run.runId), keys.scopes(run.runId)]) list.position(key);
  const queue = run.ir.nodes[node]?.queue;
  const wake = () =>
    partition.withIR(run.digest, run.ir, async () => {
      const json = JSON.stringify({ ...(await common()), node, scope, queue });
      return partition.call("wake", list.keys, [json, ended], wakeReply);
    });
  while ((await wake()).word === "busy");
}

/** Hands out the next compensation of a run that is to end FAILED or CANCELLED. */
export async function compensateNext(partition: Partition, runId: string, ir: IR): Promise<void> {
  const { keys } = partition;
  const list = new KeyList([keys.meta, keys.journal(partition.epoch), keys.run(runId)]);
  const json = {
    ...(await partition.fence(partition.epoch)),
    ...stepCall(list, partition, [ir]),
    id: runId,
  };
  await partition.call("compensate", list.keys, [JSON.stringify(json)], compensateReply);
}

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
  onTimeOut: (runId: string) => Promise<void>,
  onRefused: OnRefused = isNobodys,
): Promise<number | undefined> {
  const { redis } = partition.connection;
  for (let calls = 0; calls < FIRE_CALLS; calls += 1) {
    const first = await partition.orAway(
      redis.zrange(
        partition.keys.timers,
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
      await onTimeOut(kept.split("|")[2] as string);
      await partition.orAway(redis.zrem(partition.keys.timers, kept));
    }
    const fire = async (kept: readonly string[]) => {
      const list = new KeyList([partition.keys.meta, partition.keys.timers]);
      const queues = streamsOf(
        list,
        partition.keys,
        kept.map((member) => member.slice(0, member.indexOf("|"))),
      );
      const json = { ...(await partition.fence(partition.epoch)), queues, due: kept };
      await partition.call("fire", list.keys, [JSON.stringify(json)], fireReply);
    };
    const tokens = due.filter((member) => !member.startsWith("!"));
    await callInHalves(tokens, fire, async (kept, error) => {
      await onRefused(decodeKept(kept)?.token.runId, `fire ${kept}`, error);
      await partition.orAway(redis.zrem(partition.keys.timers, kept));
    });
  }
  return partition.connection.now();
}

/** An execution that a worker performs, and the fields of its run's state on which it hangs. */
export interface Performing {
  runId: string;
  nonce: string;
  delivery: number;
  own: string;
  maps: readonly string[];
}

/** For each execution: is its run halted, or was it withdrawn? */
export async function fatesOf(
  partition: Partition,
  performing: readonly Performing[],
): Promise<("goes_on" | "halted" | "withdrawn")[]> {
  const { redis } = partition.connection;
  const read = ({ runId, own, maps }: Performing) =>
    redis.hmget(partition.keys.run(runId), "x", "z", own, ...maps);
  const states = await partition.orAway(Promise.all(performing.map(read)));
  return performing.map(({ nonce, delivery }, index) => {
    const [halted, compensating, own, ...maps] = states[index] as (string | null)[];
    const isOwn = own?.startsWith(`${EXECUTION.active}:${nonce}:${delivery}:`) ?? false;
    // While a run compensates, what it performs is what it wants, also when the maps around it are over.
    if (compensating !== null) return isOwn ? "goes_on" : "withdrawn";
    if (halted !== null) return "halted";
    return isOwn && maps.every((map) => map !== null && !map?.endsWith(",1")) ? "goes_on" : "withdrawn";
  });
}

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
