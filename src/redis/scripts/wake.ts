/** Wakes an execution whose child run is over (lua/wake.lua). */

import { type KnownRun, runCall } from "../known_run.ts";
import type { Partition } from "../partition.ts";
import { wakeReply } from "../replies.ts";
import { withIR } from "./load_ir.ts";

/** Wakes an execution that waits for its child run; `ended` is JSON. */
export async function wakeParent(
  partition: Partition,
  run: KnownRun,
  { node, scope, ended }: { node: number; scope: string; ended: string },
): Promise<void> {
  const { keys } = partition;
  const first = [keys.meta, keys.journal, keys.timers];
  const { list, common } = await runCall(partition, run, keys, first);
  for (const key of [keys.parked(run.runId), keys.scopes(run.runId)]) list.position(key);
  const queue = run.ir.nodes[node]?.queue;
  const wake = () =>
    withIR(partition, run, async () => {
      const json = JSON.stringify({ ...(await common()), node, scope, queue });
      return partition.call("wake", list.keys, [json, ended], wakeReply);
    });
  while ((await wake()).word === "busy");
}
