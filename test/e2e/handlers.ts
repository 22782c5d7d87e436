/** Handlers of the end-to-end tests: the examples', and some that fail or wait for a file. */
import { existsSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export * from "../../examples/handlers.ts";

export function fail(): never {
  throw Object.assign(new Error("the till is empty"), { code: "TILL_EMPTY" });
}

/** Makes `input.begun`, then waits until `input.gate` exists. */
export async function wait_for_file({ input }: { input: unknown }): Promise<{ waited: true }> {
  const { begun, gate } = input as { begun: string; gate: string };
  writeFileSync(begun, "");
  while (!existsSync(gate)) await sleep(10);
  return { waited: true };
}
