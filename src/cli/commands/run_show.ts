/** `run show`: a run with its nodes; many executions of one node are told together. */
import type { Command } from "commander";
import type { WaitingNode } from "../../engine/unserved.ts";
import type { NodeExecutionRow, RunRow } from "../../postgres/runs.ts";
import { isFinalRunStatus } from "../../token/lifecycle.ts";
import type { Act } from "../program.ts";
import { printResult, runDuration } from "../run/outcome.ts";
import {
  groupScopes,
  type KnownCounts,
  MOST_TOLD,
  pendingNodes,
  placeOf,
  type ScopeGroup,
} from "../run/scopes.ts";
import { coloured, duration, icon, moment, plural, table } from "../shell/format.ts";
import type { Invocation } from "../shell/invocation.ts";
import type { Colors, Terminal } from "../shell/terminal.ts";
import { withClient } from "../shell/with_client.ts";

interface Flags {
  all?: boolean;
}

/** Executions listed each by itself. */
const MOST_LISTED = 10_000;

interface Shown {
  run: RunRow;
  nodes: readonly NodeExecutionRow[];
  counts: KnownCounts;
  /** Nodes that have not begun. */
  pending: readonly string[];
  /** Nodes whose queue no live worker reads, or whose function none offers. */
  unserved: readonly WaitingNode[];
}

export function addRunShow(run: Command, act: Act): void {
  run
    .command("show")
    .description("show a run with its nodes, output and error")
    .argument("<run_id>", "the run's id, as `submit` printed it")
    .option("--all", "each execution by itself, however many a node has in its loop or map")
    .addHelpText(
      "after",
      `
Executions inside a loop or map are called NODE @ SCOPE: \`work @ again:2\` is the second iteration, \`work @ each:0\` the first item.
More than ten of one node are told in one line; --all and --json list each, up to 10,000: further ones are in hitzero.node_executions.

Examples:
  npx hitzero run show 0190a6a2-7b5c-7c3e-9d43-5a1f0c2b7e11
  npx hitzero run show $RUN_ID --all`,
    )
    .action(act<Flags>(show));
}

async function show(invocation: Invocation<Flags>): Promise<number> {
  const { terminal, flags } = invocation;
  const runId = invocation.args[0] as string;
  const shown = await withClient(invocation, async (client): Promise<Shown> => {
    const run = await client.getRun(runId);
    const { rows, counts } = await client.summarizeNodes(runId, MOST_TOLD);
    const all = terminal.json || flags.all;
    const nodes = all ? await client.listNodes(runId, { outputs: terminal.json, limit: MOST_LISTED }) : rows;
    // Nodes without a row wait for others; only the workflow knows them.
    const { ir } = await client.find(run.workflow_name, run.workflow_version);
    const isFinal = isFinalRunStatus(run.status);
    const pending = pendingNodes(ir, new Set(counts.keys()), isFinal);
    const unserved = isFinal ? [] : await client.waitingForWorkers(run, ir);
    return { run, nodes, counts, pending, unserved };
  });
  const { run, nodes, counts, pending, unserved } = shown;
  const more = Math.max(0, executionsIn(counts) - nodes.length);
  if (terminal.json) {
    const waiting = unserved.map(({ nodeId, scope, queue, functionName, since }) => ({
      node_id: nodeId,
      scope,
      queue,
      function_name: functionName ?? null,
      since,
    }));
    const more_executions = more;
    terminal.document({
      ...run,
      nodes,
      more_executions,
      pending_nodes: pending,
      waiting_for_workers: waiting,
    });
  } else print(shown, flags.all === true, terminal);
  return 0;
}

function executionsIn(counts: KnownCounts): number {
  return [...counts.values()]
    .flatMap((byStatus) => Object.values(byStatus))
    .reduce((sum, one) => sum + one, 0);
}

function print({ run, nodes, counts, pending, unserved }: Shown, all: boolean, terminal: Terminal): void {
  const { colors } = terminal;
  for (const [name, value] of factsOf(run, colors)) terminal.print(`${colors.dim(name.padEnd(9))}  ${value}`);
  terminal.print();
  const origin = (run.started_at ?? run.submitted_at).getTime();
  const groups = all ? groupScopes(nodes, Number.POSITIVE_INFINITY) : groupScopes(nodes, MOST_TOLD, counts);
  const rows = [
    ...groups.map((group) => groupRow(group, origin, colors)),
    ...pending.map((id) => [`${icon("PENDING")}${coloured("PENDING", colors)}`, id, "", "", "", "", ""]),
  ];
  const head = ["STATUS", "NODE", "ATTEMPT", "STARTED", "DURATION", "WORKER", "REASON"];
  terminal.print(table(head, rows, colors));
  terminal.print(colors.dim(countText(counts, pending, groups.length, all)));
  for (const node of unserved.slice(0, MOST_TOLD)) terminal.print(colors.yellow(unservedText(node)));
  if (unserved.length > MOST_TOLD)
    terminal.print(`and ${unserved.length - MOST_TOLD} more wait for a worker`);
  terminal.print();
  printResult(run, terminal);
}

function unservedText({ nodeId, scope, queue, functionName, since }: WaitingNode): string {
  const missing =
    functionName === undefined
      ? `no live worker reads queue ${queue}`
      : `no live worker of queue ${queue} offers function ${functionName}`;
  const waited = duration(Math.max(0, Date.now() - since.getTime()));
  return `${placeOf(nodeId, scope)} waits for a worker: ${missing} (since ${moment(since)}, for ${waited})`;
}

function countText(counts: KnownCounts, pending: Shown["pending"], told: number, all: boolean): string {
  const nodes = counts.size + pending.length;
  const total = executionsIn(counts);
  const executions = total + pending.length > nodes ? `, ${plural(total, "execution")}` : "";
  const more = total - told;
  const hidden =
    more <= 0 ? "" : all ? `; ${more} more are in hitzero.node_executions` : "; --all lists each";
  return `${plural(nodes, "node")}${executions}${hidden}`;
}

/** What `run show` says of the run as a whole. */
export function factsOf(run: RunRow, colors: Colors): [string, string][] {
  const { parent_run_id: parent, parent_node_id: node } = run;
  const madeBy: [string, string] =
    parent !== null && node !== null
      ? ["child of", `${parent}, node ${placeOf(node, run.parent_scope ?? "")}`]
      : ["made from", parent ?? ""];
  const facts: [string, string][] = [
    ["run", run.run_id],
    madeBy,
    ["workflow", `${run.workflow_name} version ${run.workflow_version}`],
    ["status", coloured(run.status, colors)],
    ["submitted", moment(run.submitted_at)],
    ["duration", duration(runDuration(run))],
    ["tags", run.tags.join(", ")],
    ["key", run.idempotency_key ?? ""],
  ];
  return facts.filter(([, value]) => value !== "");
}

/** A line of the table. */
export function groupRow(
  { nodeId, scope, status, rows, total, text }: ScopeGroup<NodeExecutionRow>,
  origin: number,
  colors: Colors,
): string[] {
  const [first] = rows;
  const single = total === 1 ? first : undefined;
  const started = first?.started_at ? `+${duration(Math.max(0, first.started_at.getTime() - origin))}` : "";
  return [
    `${icon(status)}${coloured(status, colors)}`,
    placeOf(nodeId, scope),
    single && single.attempt > 0 ? String(single.attempt) : "",
    started,
    single && single.duration_ms !== null ? duration(single.duration_ms) : "",
    single?.worker_id ?? "",
    text,
  ];
}
