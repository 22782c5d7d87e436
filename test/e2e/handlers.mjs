/** Handlers that succeed, fail or wait for a file. In JavaScript: a worker that loads TypeScript takes twice the time to start. */
import { existsSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export function succeed() {
  return { succeeded: true };
}

export function fail() {
  throw Object.assign(new Error("the till is empty"), { code: "TILL_EMPTY" });
}

/** Makes `input.begun`, then waits until `input.gate` exists. */
export async function wait_for_file({ input }) {
  writeFileSync(input.begun, "");
  while (!existsSync(input.gate)) await sleep(10);
  return { waited: true };
}
