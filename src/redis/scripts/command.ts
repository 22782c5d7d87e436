/** Applies a command to a run (lua/command.lua). */
import { KeyList } from "../key_list.ts";
import type { Partition } from "../partition.ts";
import { commandReply } from "../replies.ts";

export type CommandKind = "cancel" | "pause" | "resume" | "time_out" | "stuck";

/**
 * Applies one command to a run, once. `seq` orders a run's commands; 0 for its own time limit, which belongs to one `generation` of it.
 */
export async function applyCommand(
  partition: Partition,
  runId: string,
  kind: CommandKind,
  seq: number,
  generation?: number,
) {
  const { keys } = partition;
  const list = new KeyList([keys.meta, keys.journal, keys.run(runId), keys.tombstone(runId)]);
  const nudge = list.position(keys.nudge);
  const json = { ...(await partition.fence(keys)), nudge, id: runId, seq, kind, g: generation };
  return (await partition.call("command", list.keys, [JSON.stringify(json)], commandReply)).word;
}
