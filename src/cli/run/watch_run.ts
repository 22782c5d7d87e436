/** Waits for a run and shows how it goes. */
import { pause } from "../../base/wait.ts";
import type { Client } from "../../engine/client/client.ts";
import type { RunRow } from "../../postgres/runs.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { Terminal } from "../shell/terminal.ts";
import { RunProgress } from "./progress.ts";
import { createRunView } from "./view.ts";

export interface WatchedRun {
  client: Client;
  runId: string;
  ir: IR;
  /** Heading of the live view. */
  title: string;
  /** When the run was submitted; now unless given. */
  since?: Date;
}

/** After this time the record tells what was announced before one listened. */
const CATCH_UP_MS = 400;

/** Resolves with the final run, or with the run as it is when `signal` is aborted. */
export async function watchRun(run: WatchedRun, terminal: Terminal, signal: AbortSignal): Promise<RunRow> {
  const { client, runId } = run;
  const progress = new RunProgress(run.ir);
  const view = createRunView(terminal, run.title, progress, run.since?.getTime() ?? Date.now());
  // Aborted by the caller or when the run is over: no timer of the wait then holds the process up.
  const ending = new AbortController();
  const end = () => ending.abort();
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  const readRecord = async () =>
    view.changed(progress.complete(await client.listNodes(runId, { outputs: false })));
  const catchUp = async () => {
    await pause(CATCH_UP_MS, ending.signal);
    // A look that fails is no harm: the end is read again.
    if (!ending.signal.aborted) await readRecord().catch(() => {});
  };
  const catchingUp = terminal.json ? undefined : catchUp();
  try {
    const final = await client.wait(runId, {
      signal: ending.signal,
      onChange: (change) => {
        const node = progress.apply(change);
        if (node) view.changed([node]);
      },
    });
    end();
    await catchingUp;
    if (!terminal.json) await readRecord();
    return final;
  } finally {
    end();
    signal.removeEventListener("abort", end);
    view.close();
  }
}
