import { type Command, Option } from "commander";
import type { Client } from "../../engine/client/client.ts";
import type { Act } from "../program.ts";
import { type Graph, graphMermaid, graphOf, graphText } from "../run/graph.ts";
import type { Invocation } from "../shell/invocation.ts";
import { withClient } from "../shell/with_client.ts";

interface Flags {
  format: "terminal" | "mermaid";
}

const RUN_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function addRunGraph(run: Command, act: Act): void {
  run
    .command("graph")
    .description("draw the graph of a run with its statuses, or of a workflow")
    .argument(
      "<run|workflow>",
      "a run's id, a workflow file or IR (- reads standard input), or NAME[@VERSION]",
    )
    .addOption(
      new Option("--format <format>", "how to draw it").choices(["terminal", "mermaid"]).default("terminal"),
    )
    .addHelpText(
      "after",
      `
Loops and maps are drawn with what they repeat. Of a node with several executions all count: what is under way first, then what failed.
A workflow file needs no server. Mermaid is drawn by GitHub, GitLab and https://mermaid.live.

Examples:
  npx hitzero run graph 0190a6a2-7b5c-7c3e-9d43-5a1f0c2b7e11
  npx hitzero run graph workflow.yaml
  npx hitzero run graph hello@2 --format mermaid > graph.mmd
  npx hitzero run graph $RUN_ID --json | jq '.nodes[] | select(.status == "FAILED")'`,
    )
    .action(
      act<Flags>(async (invocation) => {
        const graph = await readGraph(invocation);
        const { terminal, flags } = invocation;
        if (terminal.json) {
          terminal.document(flags.format === "mermaid" ? { ...graph, mermaid: graphMermaid(graph) } : graph);
        } else if (flags.format === "mermaid") terminal.print(graphMermaid(graph));
        else terminal.print(graphText(graph, terminal.colors, process.stdout.columns || 100));
        return 0;
      }),
    );
}

async function readGraph(invocation: Invocation<Flags>): Promise<Graph> {
  const what = invocation.args[0] as string;
  if (RUN_ID.test(what)) return withClient(invocation, (client) => graphOfRun(client, what));
  const { compileDocument, readDocument, sourceOf } = await import("../shell/documents.ts");
  const source = sourceOf(what);
  if ("file" in source) return graphOf(compileDocument(readDocument(source.file), source.file).ir, null);
  return withClient(invocation, async (client) => {
    const { ir, version } = await client.find(source.name, source.version);
    return graphOf(ir, version);
  });
}

async function graphOfRun(client: Client, runId: string): Promise<Graph> {
  const run = await client.getRun(runId);
  const { ir, version } = await client.find(run.workflow_name, run.workflow_version);
  const { rows: nodes, counts } = await client.summarizeNodes(runId, 1);
  return graphOf(ir, version, { run_id: run.run_id, status: run.status, nodes, counts });
}
