/** Hands executions of a run out again that are queued, held and awaited nowhere (lua/revive.lua). */

import { decodeToken } from "../../token/token.ts";
import { functionOf } from "../../workflow/ir/function_of.ts";
import type { IRNode } from "../../workflow/ir/ir.ts";
import { readWaiting } from "../function_streams.ts";
import { SETTLE_QUEUE } from "../keys.ts";
import { type KnownRun, partsOf, runCall } from "../known_run.ts";
import { queuesOf } from "../pack.ts";
import type { Partition } from "../partition.ts";
import { reviveReply } from "../replies.ts";
import { RUN, undoneBy } from "../run_state.ts";
import { suspectStreamsOf } from "../step_call.ts";
import { withIR } from "./load_ir.ts";

/** Hands executions of a run out again that lie nowhere; answers how many there were, how many are in reach, and whether it compensates. */
export async function reviveRun(partition: Partition, run: KnownRun) {
  const { keys, limits } = partition;
  const first = [keys.meta, keys.journal, keys.leases, keys.timers];
  const { list, common } = await runCall(partition, run, keys, first);
  const suspects = suspectStreamsOf(list, keys, queuesOf(run.ir));
  const [verdict, undoing] = await partition.readFields(run.runId, [RUN.compensating, RUN.undoing]);
  const total = { revived: 0, alive: 0, compensating: typeof verdict === "string" };
  const revive = async (scopes: readonly string[], nodes: readonly { node: number; queue: string }[]) => {
    const placed = nodes.map((one) => {
      const name = functionOf(run.ir.nodes[one.node] as IRNode);
      if (name === undefined) return one;
      const function_stream = list.position(keys.ready(one.queue, name));
      return { ...one, function_stream, function_suspects: list.position(keys.suspects(one.queue, name)) };
    });
    const reply = await withIR(partition, run, async () => {
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
  const undone = undoneBy(undoing ?? null);
  if (undone !== undefined && undone.scope !== "") {
    const { node, scope } = undone;
    await revive([scope], [{ node, queue: (run.ir.nodes[node] as IRNode).queue }]);
  }
  return total;
}

/** Is there a rest of a step of this run that is still to be settled? A long queue is not looked through: there is one, then. */
export async function hasRest(partition: Partition, runId: string): Promise<boolean> {
  const { lookedThrough } = partition.limits;
  const rests = await readWaiting(partition, { queue: SETTLE_QUEUE }, lookedThrough);
  return rests.length === lookedThrough || rests.some(({ text }) => decodeToken(text)?.runId === runId);
}
