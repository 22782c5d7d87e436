/** Shows a run until it ends, and tells how it ended. For `submit --wait` and `run watch`. */
import { exitCodeOf, type Lifetime } from "../shell/lifetime.ts";
import type { Terminal } from "../shell/terminal.ts";
import { printOutcome } from "./outcome.ts";
import { type WatchedRun, watchRun } from "./watch_run.ts";

/** Answers the exit code: 0 COMPLETED, 1 FAILED or CANCELLED, that of the signal when one came first. */
export async function followRun(
  watched: WatchedRun,
  terminal: Terminal,
  lifetime: Lifetime,
  /** What the JSON document tells besides. */
  besides: Record<string, unknown> = {},
): Promise<number> {
  const { runId } = watched;
  const goesOn = `run ${runId} goes on; see it with: npx hitzero run show ${runId}`;
  const run = await watchRun(watched, terminal, lifetime.signal).catch((error: unknown) => {
    terminal.remark(goesOn);
    throw error;
  });
  const { status, output, error } = run;
  if (terminal.json) terminal.document({ run_id: runId, status, output, error, ...besides });
  if (lifetime.ended && run.completed_at === null) {
    terminal.remark(`\n${goesOn}`);
    return exitCodeOf(lifetime.ended);
  }
  if (!terminal.json) printOutcome(run, terminal);
  return status === "COMPLETED" ? 0 : 1;
}
