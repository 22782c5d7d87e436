/** Starting an accepted run, by its submitter or later by the reader. */

import type { StartCall } from "../redis/calls.ts";
import type { Partition } from "../redis/partition.ts";
import type { IR } from "../workflow/ir/ir.ts";
import { START_DEADLINE_MS } from "./limits.ts";

export type StartWord = "started" | "exists" | "gone" | "late" | "ir_missing";

/** Starts a run; loads its IR for the scripts when they lack it. */
export async function startRun(
  partition: Partition,
  ir: IR,
  call: Omit<StartCall, "deadline" | "ir">,
): Promise<StartWord> {
  const full: StartCall = {
    ...call,
    ir,
    deadline: partition.connection.now() + START_DEADLINE_MS,
  };
  const word = await partition.start(full);
  if (word !== "ir_missing") return word;
  await partition.loadIR(call.digest, ir);
  return partition.start(full);
}
