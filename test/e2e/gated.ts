/** Workflows that go on when a test says so, and small questions to the record. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../support/until.ts";
import type { CliEngine } from "./engine.ts";

export interface Gated {
  file: string;
  /** JSON text for `--input`. */
  input: string;
  /** Waits until the gated node runs. */
  begun(): Promise<void>;
  open(): void;
}

let count = 0;

/** `gated -> next`: the first node waits for a file. */
export function gatedWorkflow(folder: string, name: string, queue = "default"): Gated {
  count += 1;
  const [begun, gate] = [join(folder, `begun-${count}`), join(folder, `gate-${count}`)];
  const file = join(folder, `${name}.json`);
  const gated = { id: "gated", type: "function", queue, config: { function_name: "wait_for_file" } };
  const next = { id: "next", type: "parallel" };
  writeFileSync(file, JSON.stringify({ name, nodes: [gated, next], edges: [{ from: "gated", to: "next" }] }));
  return {
    file,
    input: JSON.stringify({ begun, gate }),
    begun: () => until(() => existsSync(begun), "the gated node runs").then(() => {}),
    open: () => writeFileSync(gate, ""),
  };
}

/** Submits a run without waiting; answers its id. */
export async function submitOne(engine: CliEngine, file: string, input: string): Promise<string> {
  const { stdout, stderr, code } = await engine.here(["submit", file, "--input", input, "--json"]);
  if (code !== 0) throw new Error(`submit failed: ${stdout}${stderr}`);
  return (JSON.parse(stdout) as { run_id: string }).run_id;
}
