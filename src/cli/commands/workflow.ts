/** `workflow register`, `workflow list`: versions of workflows, without running them. */
import type { Command } from "commander";
import type { Act } from "../program.ts";
import { moment, plural, table } from "../shell/format.ts";
import type { Invocation } from "../shell/invocation.ts";
import { withClient } from "../shell/with_client.ts";

interface RegisterFlags {
  activate?: boolean;
}

export function addWorkflow(program: Command, act: Act): void {
  const workflow = program.command("workflow").description("register workflows, and list them");
  workflow
    .command("register")
    .description("register a version of a workflow without running it")
    .argument("<file>", "workflow file or IR (- reads standard input)")
    .option("--activate", "make it the version that runs by name; version 1 becomes it by itself")
    .addHelpText(
      "after",
      `
Runs by name (\`submit NAME\`, sub-workflow nodes without a version) take the active version, or the newest if none is active.
The same workflow again is the same version. Sub-workflow nodes find what is registered, here or by a submit.

Examples:
  npx hitzero workflow register invoice.yaml
  npx hitzero workflow register invoice.yaml --activate`,
    )
    .action(act<RegisterFlags>(register));
  workflow
    .command("list")
    .description("list registered workflows with their versions")
    .addHelpText(
      "after",
      "\nExamples:\n  npx hitzero workflow list\n  npx hitzero workflow list --json | jq '.workflows[].versions'",
    )
    .action(act(list));
}

async function register(invocation: Invocation<RegisterFlags>): Promise<number> {
  const { flags, terminal } = invocation;
  const file = invocation.args[0] as string;
  const { compileDocument, namedAfter, readDocument } = await import("../shell/documents.ts");
  const document = readDocument(file);
  const { warnings } = compileDocument(document, file);
  terminal.warnOf(warnings);
  const { workflow, active } = await withClient(invocation, async (client) => {
    const workflow = await client.register(document, namedAfter(file));
    return { workflow, active: await client.activate(workflow, { first: flags.activate !== true }) };
  });
  const { workflowName, version, digest } = workflow;
  const told = warnings.length === 0 ? {} : { warnings };
  if (terminal.json) {
    terminal.document({
      workflow_name: workflowName,
      version,
      ir_digest: digest,
      active_version: active,
      ...told,
    });
    return 0;
  }
  const others = active === null ? "no version is active" : `version ${active} is active`;
  terminal.print(
    `${terminal.colors.green("✔")} ${workflowName} version ${version} is registered${active === version ? " and active" : `; ${others}`}`,
  );
  return 0;
}

async function list(invocation: Invocation): Promise<number> {
  const { terminal } = invocation;
  const workflows = await withClient(invocation, (client) => client.listWorkflows());
  if (terminal.json) terminal.document({ workflows });
  else if (workflows.length === 0) terminal.print("no workflows are registered");
  else {
    const rows = workflows.map(({ workflow_name, active_version, versions }) => {
      const newest = versions.at(-1)?.created_at;
      return [
        workflow_name,
        plural(versions.length, "version"),
        active_version === null ? "" : String(active_version),
        newest === undefined ? "" : moment(new Date(newest)),
      ];
    });
    terminal.print(table(["WORKFLOW", "VERSIONS", "ACTIVE", "NEWEST"], rows, terminal.colors));
  }
  return 0;
}
