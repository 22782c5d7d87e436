/** A handler that takes its time, so that processes die with work in hand. */
import { setTimeout as sleep } from "node:timers/promises";

export async function slow({ nodeId }) {
  await sleep(50);
  return { node: nodeId };
}
