/**
 * What a call carries in which tokens may come to be, whoever makes it: worker, reader or submitter. It names the streams of all queues
 * of its workflows, as a script learns only while it decides which of them it writes to, and refuses a call that lacks one. And the stream
 * that wakes the partition's reader.
 */
import type { IR } from "../workflow/ir/ir.ts";
import type { CallLimits } from "./call_limits.ts";
import type { KeyList } from "./key_list.ts";
import { type PartitionKeys, SETTLE_QUEUE, suspectsName } from "./keys.ts";
import { queuesOf } from "./pack.ts";

/** The partition in which the call is made. */
interface StepPlace {
  keys: PartitionKeys;
  limits: CallLimits;
}

/** Positions of the streams of these queues, by name. */
export function streamsOf(
  list: KeyList,
  keys: PartitionKeys,
  queues: Iterable<string>,
): Record<string, number> {
  return Object.fromEntries([...queues].map((queue) => [queue, list.position(keys.ready(queue))]));
}

/** The same of the streams of their suspects, by the names that scripts give them (lua/lib/losses.lua). */
export function suspectStreamsOf(
  list: KeyList,
  keys: PartitionKeys,
  queues: Iterable<string>,
): Record<string, number> {
  return Object.fromEntries(
    [...queues].map((queue) => [suspectsName(queue), list.position(keys.suspects(queue))]),
  );
}

export function stepCall(list: KeyList, { keys, limits }: StepPlace, irs: Iterable<IR>) {
  const queues = new Set([SETTLE_QUEUE]);
  for (const ir of irs) for (const queue of queuesOf(ir)) queues.add(queue);
  const { edges, part, rest, results, entries, earlySignals, deadWaiters, aside } = limits;
  return {
    nudge: list.position(keys.nudge),
    limit: edges,
    limits: { part, rest, results, entries, early_signals: earlySignals, dead_waiters: deadWaiters, aside },
    queues: streamsOf(list, keys, queues),
  };
}
