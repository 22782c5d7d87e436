/** Starts accepted runs (lua/start.lua). */
import { assert } from "../../base/assert.ts";
import { OUTPUT } from "../../token/letters.ts";
import type { StartCall } from "../calls.ts";
import { KeyList } from "../key_list.ts";
import type { Partition } from "../partition.ts";
import { type StartWord, startReply } from "../replies.ts";
import { stepCall } from "../step_call.ts";

/** Starts accepted runs in one call; answers a word for each, in the same order. */
export async function callStart(
  partition: Partition,
  { epoch, deadline, runs }: StartCall,
): Promise<readonly StartWord[]> {
  const keys = partition.keysOf(epoch);
  const list = new KeyList([keys.meta, keys.journal, keys.timers]);
  const inputs = new Map<string, number>();
  const position = (input: string) => {
    const known = inputs.get(input) ?? inputs.size + 2;
    inputs.set(input, known);
    return known;
  };
  const json = {
    deadline,
    runs: runs.map(({ runId, digest, generation, ir, input, paused }) => ({
      run: list.position(keys.run(runId)),
      tombstone: list.position(keys.tombstone(runId)),
      ir: list.position(keys.ir(digest)),
      input: position(input),
      id: runId,
      generation,
      digest,
      permits: ir.max_parallel_nodes,
      timeout_ms: ir.timeout_ms > 0 ? ir.timeout_ms : undefined,
      paused: paused || undefined,
    })),
    ...stepCall(list, { keys, limits: partition.limits }, new Set(runs.map(({ ir }) => ir))),
    ...(await partition.fence(keys)),
  };
  const args = [JSON.stringify(json), ...[...inputs.keys()].map((input) => OUTPUT.json + input)];
  const reply = await partition.call("start", list.keys, args, startReply);
  assert(reply.runs.length === runs.length, "start answers each of its runs");
  return reply.runs;
}
