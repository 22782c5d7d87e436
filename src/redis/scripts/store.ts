/** Stores items of a map (lua/store.lua). */
import type { Partition } from "../partition.ts";
import { okReply } from "../replies.ts";

/** The execution of a map node whose items are stored. */
export interface ItemsHolder {
  runId: string;
  generation: number;
  node: number;
  scope: string;
  nonce: string;
  delivery: number;
}

/** Stores items of a map, unless partition execution was handed out again or goes on elsewhere: they may have been added to since. */
export async function storeItems(
  partition: Partition,
  { runId, generation: g, node, scope, nonce, delivery }: ItemsHolder,
  name: string,
  value: string,
  ttlMs: number,
): Promise<void> {
  const { keys } = partition;
  const json = { ...(await partition.fence(keys)), g, node, scope, nonce, delivery, ttl_ms: ttlMs };
  const named = [keys.meta, keys.run(runId), keys.blob(runId, name)];
  await partition.call("store", named, [JSON.stringify(json), value], okReply);
}
