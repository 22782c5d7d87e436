/** Handlers that take their time, so that processes die with work in hand. */
import { setTimeout as sleep } from "node:timers/promises";

export async function slow({ nodeId }) {
  await sleep(50);
  return { node: nodeId };
}

/** Lets its event loop stand still. */
export function block({ params, log }) {
  log.info({ pid: process.pid }, "blocks");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, params.ms);
  return { blocked: params.ms };
}
