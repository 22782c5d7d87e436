/** Hands out what a run is to undo next (lua/compensate.lua). */
import type { IR } from "../../workflow/ir/ir.ts";
import { KeyList } from "../key_list.ts";
import type { Partition } from "../partition.ts";
import { compensateReply } from "../replies.ts";
import { stepCall } from "../step_call.ts";

/** Hands out the next compensation of a run that is to end FAILED or CANCELLED. */
export async function compensateNext(partition: Partition, runId: string, ir: IR): Promise<void> {
  const { keys, limits } = partition;
  const list = new KeyList([keys.meta, keys.journal, keys.run(runId)]);
  const json = {
    ...(await partition.fence(keys)),
    ...stepCall(list, { keys, limits }, [ir]),
    id: runId,
  };
  await partition.call("compensate", list.keys, [JSON.stringify(json)], compensateReply);
}
