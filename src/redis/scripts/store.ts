/** Stores items of a map (lua/store.lua). */
import type { Partition } from "../partition.ts";
import { okReply } from "../replies.ts";

/** The execution of a map node whose items are stored. */
export interface ItemsHolder {
  runId: string;
  node: number;
  scope: string;
  nonce: string;
  delivery: number;
}

/** Stores items of a map, unless partition execution was handed out again or goes on elsewhere: they may have been added to since. */
export async function storeItems(
  partition: Partition,
  { runId, node, scope, nonce, delivery }: ItemsHolder,
  name: string,
  value: string,
  ttlMs: number,
): Promise<void> {
  const json = { ...(await partition.fence(partition.epoch)), node, scope, nonce, delivery, ttl_ms: ttlMs };
  const keys = [partition.keys.meta, partition.keys.run(runId), partition.keys.blob(runId, name)];
  await partition.call("store", keys, [JSON.stringify(json), value], okReply);
}
