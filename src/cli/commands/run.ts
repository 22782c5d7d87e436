import type { Command } from "commander";
import { RUN_STATUSES } from "../../token/lifecycle.ts";
import type { Act } from "../program.ts";
import { runDuration } from "../run/outcome.ts";
import { coloured, duration, moment, table } from "../shell/format.ts";
import { type Invocation, wholeNumber } from "../shell/invocation.ts";
import { withClient } from "../shell/with_client.ts";
import { addRunControl } from "./run_control.ts";
import { addRunEvents } from "./run_events.ts";
import { addRunGraph } from "./run_graph.ts";
import { addRunShow } from "./run_show.ts";
import { addRunSignal } from "./run_signal.ts";
import { addRunWatch } from "./run_watch.ts";

interface ListFlags {
  status?: string;
  workflow?: string;
  tag?: string;
  limit: number;
}

export function addRun(program: Command, act: Act): void {
  const run = program.command("run").description("look at runs, and steer them");
  run
    .command("list")
    .description("list runs, newest first")
    .option("--status <status>", `runs in this status only (${RUN_STATUSES.join(", ")})`, (text) =>
      text.toUpperCase(),
    )
    .option("--workflow <name>", "runs of this workflow only")
    .option("--tag <tag>", "runs with this tag only")
    .option("--limit <count>", "how many", wholeNumber(1, 10_000), 20)
    .addHelpText(
      "after",
      "\nExamples:\n  npx hitzero run list\n  npx hitzero run list --status FAILED --workflow hello --json",
    )
    .action(act<ListFlags>(list));
  for (const add of [addRunShow, addRunWatch, addRunEvents, addRunGraph, addRunControl, addRunSignal])
    add(run, act);
}

async function list(invocation: Invocation<ListFlags>): Promise<number> {
  const { flags, terminal } = invocation;
  const filter = {
    limit: flags.limit,
    ...(flags.status === undefined ? {} : { status: flags.status }),
    ...(flags.workflow === undefined ? {} : { workflow: flags.workflow }),
    ...(flags.tag === undefined ? {} : { tag: flags.tag }),
  };
  const runs = await withClient(invocation, (client) => client.listRuns(filter));
  if (terminal.json) terminal.document({ runs });
  else if (runs.length === 0) terminal.print("no such runs");
  else {
    const rows = runs.map((run) => [
      run.run_id,
      run.workflow_name,
      String(run.workflow_version),
      coloured(run.status, terminal.colors),
      moment(run.submitted_at),
      duration(runDuration(run)),
    ]);
    terminal.print(
      table(["RUN", "WORKFLOW", "VERSION", "STATUS", "SUBMITTED", "DURATION"], rows, terminal.colors),
    );
  }
  return 0;
}
