/** Gives a signal to a run (lua/signal.lua). */

import { type KnownRun, runCall } from "../known_run.ts";
import type { Partition } from "../partition.ts";
import { commandReply } from "../replies.ts";
import { withIR } from "./load_ir.ts";

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
  const first = [keys.meta, keys.journal, keys.timers];
  const { list, common } = await runCall(partition, run, keys, first);
  for (const key of [keys.parked(run.runId), keys.scopes(run.runId), keys.tombstone(run.runId)])
    list.position(key);
  const { payload, ...rest } = signal;
  const nodes = run.ir.nodes.flatMap(({ config }, index) => (config.name === signal.name ? [index] : []));
  for (;;) {
    const reply = await withIR(partition, run, async () => {
      const json = JSON.stringify({ ...(await common()), ...rest, nodes });
      return partition.call("signal", list.keys, [json, payload], commandReply);
    });
    if (reply.word !== "busy") return reply.word;
  }
}
