import type { Command } from "commander";
import type { Act } from "../program.ts";
import { followRun } from "../run/follow_run.ts";
import { withWaitingClient } from "../shell/with_client.ts";

export function addRunWatch(run: Command, act: Act): void {
  run
    .command("watch")
    .description("show a run as it goes, until it ends")
    .argument("<run_id>", "the run's id")
    .addHelpText(
      "after",
      `
The same view as \`submit --wait\`, with the same exit code: 0 COMPLETED, 1 FAILED or CANCELLED. Ctrl-C leaves the run alone.
With --json one document at the end: {"run_id","status","output","error"}.

Examples:
  npx hitzero run watch 0190a6a2-7b5c-7c3e-9d43-5a1f0c2b7e11
  npx hitzero run watch $RUN_ID --json | jq .output`,
    )
    .action(
      act((invocation) =>
        withWaitingClient(invocation, async (client, lifetime) => {
          const { run_id, workflow_name, workflow_version, submitted_at } = await client.getRun(
            invocation.args[0] as string,
          );
          const { ir } = await client.find(workflow_name, workflow_version);
          const title = `${workflow_name} version ${workflow_version}`;
          return followRun(
            { client, runId: run_id, ir, title, since: submitted_at },
            invocation.terminal,
            lifetime,
          );
        }),
      ),
    );
}
