/** Brings executions in line with their run (lua/sweep.lua). */

import { type KnownRun, partsOf, runCall } from "../known_run.ts";
import type { Partition } from "../partition.ts";
import { sweepReply } from "../replies.ts";
import { FIELD, fieldOf } from "../run_state.ts";
import { withIR } from "./load_ir.ts";

/** A map that is gone while items of it were under way: its node, and its scope. */
export type Burial = [node: number, scope: string];

/** Which of these are still to be done? A new reader is told of all that ever were. */
export async function openBurials(
  partition: Partition,
  runId: string,
  burials: readonly Burial[],
): Promise<Burial[]> {
  const values = await partition.readFields(
    runId,
    burials.map(([node, scope]) => fieldOf(FIELD.burial, node, scope)),
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
  const { list, common } = await runCall(partition, run, keys, [keys.meta, keys.journal, keys.timers]);
  list.position(keys.parked(run.runId));
  list.position(keys.scopes(run.runId));
  const sweep = (part: object) =>
    withIR(partition, run, async () => {
      const json = JSON.stringify({ ...(await common()), ...part });
      return partition.call("sweep", list.keys, [json], sweepReply);
    });
  for await (const part of partsOf(partition, run)) await sweep(part);
  if (burials.length > 0) await sweep({ scopes: [], nodes: [], burials });
}
