/** Creates or reopens a partition (lua/open.lua). */
import { LAYOUT } from "../keys.ts";
import type { Partition } from "../partition.ts";
import { openReply } from "../replies.ts";

/** Creates or reopens the partition for the server that partition connection sees. Only its reader may. */
export async function openFence(
  partition: Partition,
  call: { epoch: string; create: boolean; expected?: string },
) {
  const timeline = await partition.connection.identity();
  const json = {
    layout: LAYOUT,
    installation: partition.installation,
    epoch: call.epoch,
    timeline,
    create: call.create,
    expected: call.expected,
  };
  const { word } = await partition.call("open", [partition.keys.meta], [JSON.stringify(json)], openReply);
  if (word === "opened") partition.enter(call.epoch);
  return word;
}
