/** What `demo` tells of its run, from the record in Postgres. */
import { Database, type Row } from "../postgres/database.ts";
import type { NodeExecutionRow, RunRow } from "../postgres/runs.ts";
import type { IR } from "../workflow/ir/ir.ts";
import { criticalPath } from "./run/critical_path.ts";
import { brief, coloured, counts, duration, icon, plural, table } from "./shell/format.ts";
import type { Terminal } from "./shell/terminal.ts";

interface DemoResult {
  run: RunRow;
  nodes: readonly NodeExecutionRow[];
  ir: IR;
  databaseUrl: string;
  terminal: Terminal;
}

const ATTRIBUTION =
  "Workflow: a recorded Montage run (astronomy) of WfCommons WfInstances, https://github.com/wfcommons/WfInstances (LGPL)";

/** SQL that the user can type as it stands. */
const SHOWN_SQL = [
  `select workflow_name, status, completed_at - started_at as took from hitzero.runs order by run_id desc limit 1;`,
  `select node_id, status, round(duration_ms) as ms, from_nodes from hitzero.v_run_timeline
where run_id = (select run_id from hitzero.runs order by run_id desc limit 1) order by started_at desc limit 8;`,
];

export async function tellDemo(result: DemoResult): Promise<void> {
  const { run, ir, terminal } = result;
  const figures = figuresOf(result);
  if (terminal.json) {
    terminal.document({ run_id: run.run_id, status: run.status, ...figures });
    return;
  }
  const { colors } = terminal;
  const sign = run.status === "PAUSED" ? "" : icon(run.status);
  const workers = plural(figures.workers, "worker");
  terminal.print(`\n${sign}run ${run.run_id} ${coloured(run.status, colors)}`);
  if (run.error) terminal.print(`${colors.red(`error ${run.error.code}:`)} ${run.error.message}`);
  const fact = (name: string, text: string) => terminal.print(`  ${colors.dim(name.padEnd(14))}${text}`);
  fact("nodes", `${counts(figures.counts)} of ${ir.nodes.length}, on ${workers}`);
  fact("one by one", duration(figures.sequential_ms));
  fact("here", `${duration(figures.wall_ms)}, ${colors.bold(`${figures.speed_up}×`)} as fast`);
  fact("slowest path", `${duration(figures.critical_path_ms)}; no number of workers can be faster:`);
  for (const { node_id, duration_ms } of figures.critical_path) {
    terminal.print(`${" ".repeat(16)}${duration(duration_ms).padStart(8)}  ${node_id}`);
  }
  await showRows(result);
  terminal.print(`\n${colors.dim(ATTRIBUTION)}`);
}

/** Figures of the run, from what the record says of its nodes. */
function figuresOf({ run, nodes, ir }: DemoResult) {
  const byStatus: Record<string, number> = {};
  for (const { status } of nodes) byStatus[status] = (byStatus[status] ?? 0) + 1;
  const durations = new Map(nodes.map((node) => [node.node_id, node.duration_ms ?? 0]));
  const sequentialMs = [...durations.values()].reduce((total, ms) => total + ms, 0);
  const wallMs = (run.completed_at ?? new Date()).getTime() - (run.started_at ?? run.submitted_at).getTime();
  const path = criticalPath(ir, durations);
  return {
    counts: byStatus,
    workers: new Set(nodes.map((node) => node.worker_id).filter((id) => id !== null)).size,
    sequential_ms: Math.round(sequentialMs),
    wall_ms: wallMs,
    speed_up: Number((sequentialMs / Math.max(1, wallMs)).toFixed(1)),
    critical_path_ms: Math.round(path.reduce((total, node) => total + node.durationMs, 0)),
    critical_path: path.map(({ id, durationMs }) => ({ node_id: id, duration_ms: Math.round(durationMs) })),
  };
}

/** Runs the SQL that it shows. */
async function showRows({ databaseUrl, terminal }: DemoResult): Promise<void> {
  const { colors } = terminal;
  const database = new Database(databaseUrl, { size: 1 });
  try {
    terminal.print("\nThe same in Postgres:");
    for (const sql of SHOWN_SQL) {
      const { rows } = await database.query(sql);
      terminal.print(`\n${colors.cyan(sql)}`);
      terminal.print(tableOf(rows, terminal));
    }
  } finally {
    await database.close();
  }
}

function tableOf(rows: readonly Row[], { colors }: Terminal): string {
  const head = Object.keys(rows[0] ?? {});
  return table(
    head,
    rows.map((row) => head.map((name) => cell(row[name]))),
    colors,
  );
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value))
    return value.length > 3
      ? `${value.slice(0, 3).join(", ")} and ${value.length - 3} more`
      : value.join(", ");
  if (value instanceof Date) return value.toISOString();
  if (typeof value === "object" && "toPostgres" in value)
    return duration(intervalMs(value as Record<string, number>));
  return typeof value === "object" ? brief(value) : String(value);
}

/** An interval as the client library gives it: an object with the parts that are not zero. */
function intervalMs(interval: Record<string, number | undefined>): number {
  const { hours = 0, minutes = 0, seconds = 0, milliseconds = 0 } = interval;
  return ((hours * 60 + minutes) * 60 + seconds) * 1_000 + milliseconds;
}
