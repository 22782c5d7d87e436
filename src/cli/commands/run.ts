import type { Command } from "commander";
import type { NodeExecutionRow, RunRow } from "../../postgres/runs.ts";
import { RUN_STATUSES } from "../../token/lifecycle.ts";
import { coloured, duration, icon, moment, plural, table } from "../format.ts";
import { type Invocation, wholeNumber } from "../invocation.ts";
import type { Act } from "../program.ts";
import { printResult, runDuration } from "../run_outcome.ts";
import type { Colors, Terminal } from "../terminal.ts";
import { withClient } from "../with_client.ts";
import { addRunControl } from "./run_control.ts";
import { addRunEvents } from "./run_events.ts";
import { addRunGraph } from "./run_graph.ts";
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
  run
    .command("show")
    .description("show a run with its nodes, output and error")
    .argument("<run_id>", "the run's id, as `submit` printed it")
    .addHelpText("after", "\nExample:\n  npx hitzero run show 0190a6a2-7b5c-7c3e-9d43-5a1f0c2b7e11")
    .action(act(show));
  for (const add of [addRunWatch, addRunEvents, addRunGraph, addRunControl, addRunSignal]) add(run, act);
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

async function show(invocation: Invocation): Promise<number> {
  const { terminal } = invocation;
  const runId = invocation.args[0] as string;
  const { run, nodes, pending } = await withClient(invocation, async (client) => {
    const run = await client.getRun(runId);
    const nodes = await client.listNodes(runId);
    // Nodes without a row wait for others; only the workflow knows them.
    const { ir } = await client.find(run.workflow_name, run.workflow_version);
    const seen = new Set(nodes.map((node) => node.node_id));
    return { run, nodes, pending: ir.nodes.map(({ id }) => id).filter((id) => !seen.has(id)) };
  });
  if (terminal.json) terminal.document({ ...run, nodes, pending_nodes: pending });
  else print(run, nodes, pending, terminal);
  return 0;
}

function print(
  run: RunRow,
  nodes: readonly NodeExecutionRow[],
  pending: readonly string[],
  terminal: Terminal,
): void {
  const { colors } = terminal;
  for (const [name, value] of factsOf(run, colors)) terminal.print(`${colors.dim(name.padEnd(9))}  ${value}`);
  terminal.print();
  const origin = (run.started_at ?? run.submitted_at).getTime();
  const scoped = nodes.some((node) => node.scope !== "");
  const rows = [
    ...nodes.map((node) => nodeRow(node, origin, scoped, terminal)),
    ...pending.map((id) => [`${icon("PENDING")}${coloured("PENDING", colors)}`, id, ...(scoped ? [""] : [])]),
  ];
  const head = [
    "STATUS",
    "NODE",
    ...(scoped ? ["SCOPE"] : []),
    "ATTEMPT",
    "STARTED",
    "DURATION",
    "WORKER",
    "REASON",
  ];
  terminal.print(
    table(
      head,
      rows.map((row) => fill(row, head.length)),
      colors,
    ),
  );
  terminal.print(colors.dim(plural(rows.length, "node")));
  terminal.print();
  printResult(run, terminal);
}

/** What `run show` says of the run as a whole. */
export function factsOf(run: RunRow, colors: Colors): [string, string][] {
  const facts: [string, string][] = [
    ["run", run.run_id],
    ["made from", run.parent_run_id ?? ""],
    ["workflow", `${run.workflow_name} version ${run.workflow_version}`],
    ["status", coloured(run.status, colors)],
    ["submitted", moment(run.submitted_at)],
    ["duration", duration(runDuration(run))],
    ["tags", run.tags.join(", ")],
    ["key", run.idempotency_key ?? ""],
  ];
  return facts.filter(([, value]) => value !== "");
}

function nodeRow(node: NodeExecutionRow, origin: number, scoped: boolean, { colors }: Terminal): string[] {
  const started = node.started_at ? `+${duration(Math.max(0, node.started_at.getTime() - origin))}` : "";
  const reason = node.error
    ? `${node.error.code}: ${node.error.message.split("\n")[0]}`
    : (node.reason ?? "");
  return [
    `${icon(node.status)}${coloured(node.status, colors)}`,
    node.node_id,
    ...(scoped ? [node.scope] : []),
    node.attempt > 0 ? String(node.attempt) : "",
    started,
    node.duration_ms === null ? "" : duration(node.duration_ms),
    node.worker_id ?? "",
    reason,
  ];
}

function fill(row: readonly string[], length: number): string[] {
  return [...row, ...Array.from({ length: Math.max(0, length - row.length) }, () => "")];
}
