/** The results as tables. */
import Table from "cli-table3";
import type { Latency } from "./latency.ts";
import type { Results } from "./measure.ts";
import { PROCESSES } from "./meter.ts";
import type { Calls } from "./script_calls.ts";
import type { Spread } from "./statistics.ts";
import type { Throughput } from "./throughput.ts";

const PASSING = { handed_over: "handed over", streamed: "through streams" } as const;
const BYTE_COLUMNS = {
  redis_received: "Redis received",
  redis_sent: "Redis sent",
  redis_append_only_file: "Redis file",
  postgres_write_ahead_log: "Postgres WAL",
  postgres_tables: "Postgres tables",
} as const;

/** Three digits that matter, or all before the point. */
export function shown(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return "–";
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function table(head: string[], rows: string[][]): string {
  const made = new Table({
    head,
    colAligns: head.map((_, index) => (index === 0 ? "left" : "right")),
    style: { head: [], border: [] },
  });
  made.push(...rows);
  return made.toString();
}

function spreadRow(what: string, unit: string, { min, median, max }: Spread): string[] {
  return [what, unit, shown(min), shown(median), shown(max)];
}

function mainTable({ throughput, latency }: Results): string {
  const rows = throughput.flatMap((one) => [
    ...(one.steps === one.runs ? [] : [spreadRow(title(one), "steps/s", one.steps_per_second)]),
    spreadRow(title(one), "runs/s", one.runs_per_second),
  ]);
  for (const one of latency) {
    rows.push(spreadRow(`hop, idle, ${PASSING[one.name]}`, "p50 ms", one.hop_ms.p50));
    rows.push(spreadRow(`hop, idle, ${PASSING[one.name]}`, "p99 ms", one.hop_ms.p99));
  }
  for (const one of latency.slice(0, 1)) rows.push(...endRows(one));
  return table(["", "unit", "min", "median", "max"], rows);
}

function title({ title, runs }: Throughput): string {
  return `${runs.toLocaleString("en")} × ${title}`;
}

function endRows(one: Latency): string[][] {
  return [
    spreadRow("submit to first handler, idle", "p50 ms", one.submit_to_first_handler_ms.p50),
    spreadRow("submit to first handler, idle", "p99 ms", one.submit_to_first_handler_ms.p99),
    spreadRow("last handler to final row, idle", "p50 ms", one.last_handler_to_final_row_ms.p50),
    spreadRow("last handler to final row, idle", "p99 ms", one.last_handler_to_final_row_ms.p99),
  ];
}

function cpuTable({ throughput }: Results): string {
  const rows = throughput.map((one) => {
    const medians = PROCESSES.map((name) => one.cpu_us_per_step[name]?.median);
    const total = medians.reduce<number>((sum, value) => sum + (value ?? Number.NaN), 0);
    return [one.title, ...medians.map(shown), shown(total)];
  });
  return table(["CPU µs per step", ...PROCESSES, "all"], rows);
}

/** What an execution in a large map costs, measured by one in a small map. */
function mapRatio({ throughput }: Results): string | undefined {
  const costs = ["map-small", "map-large"].map((wanted) => {
    const found = throughput.find(({ name }) => name === wanted);
    const medians = found && PROCESSES.map((name) => found.cpu_us_per_step[name]?.median ?? Number.NaN);
    return medians?.reduce((sum, value) => sum + value, 0);
  });
  const [small, large] = costs;
  if (small === undefined || large === undefined) return undefined;
  return `CPU per execution in the large map, against the small ones: ${shown(large / small)}`;
}

function byteTable({ throughput }: Results): string {
  const kinds = Object.keys(BYTE_COLUMNS) as (keyof typeof BYTE_COLUMNS)[];
  const rows = throughput.map((one) => [
    one.title,
    ...kinds.map((kind) => shown(one.bytes_per_step[kind]?.median)),
  ]);
  return table(["bytes per step", ...Object.values(BYTE_COLUMNS)], rows);
}

function sizeTable({ sizes }: Results): string | undefined {
  if (!sizes) return undefined;
  return table(
    ["bytes in Redis", "text", "with its share of the structure"],
    [
      ["a waiting token", shown(sizes.token_bytes), shown(sizes.token_in_stream_bytes)],
      ["a waiting run, besides its token", "", shown(sizes.waiting_run_bytes)],
      [
        "journal of one step, until recorded",
        shown(sizes.journal_bytes_per_step),
        shown(sizes.journal_in_stream_bytes_per_step),
      ],
    ],
  );
}

function payloadTable({ payload }: Results): string | undefined {
  if (payload.length === 0) return undefined;
  const kilo = (bytes: number) => shown(bytes / 1_000);
  const rows = payload.map((one) => [
    `${one.nodes} nodes in a row, ${one.title}`,
    ...[one.definition_bytes, one.input_bytes, one.redis_received.median].map(kilo),
    ...[one.redis_sent.median, one.redis_both.median].map(kilo),
  ]);
  return table(["KB of one run", "definition", "input", "Redis received", "Redis sent", "both"], rows);
}

function largeTable({ large }: Results): string | undefined {
  if (!large) return undefined;
  const costs = PROCESSES.map((name) => large.small.cpu_us_per_step[name]?.median);
  const all = costs.reduce<number>((sum, us) => sum + (us ?? Number.NaN), 0);
  const rows = large.cases.map(({ title, ratio, ratios }) => [
    `${title}, × the small case`,
    ...PROCESSES.map((name) => shown(ratios[name] ?? undefined)),
    shown(ratio ?? undefined),
  ]);
  return table(
    ["CPU of a step", ...PROCESSES, "all"],
    [[`${large.small.title}, µs`, ...costs.map(shown), shown(all)], ...rows],
  );
}

const OVER = ["over_1_ms", "over_2_ms", "over_5_ms", "over_10_ms"] as const;

function limitTables({ limits }: Results): string | undefined {
  if (!limits) return undefined;
  const rows = limits.cases.map((one) => {
    const memory = PROCESSES.map((name) => shown(one.peak_memory_mb[name] ?? undefined));
    const cpu = shown(one.redis_cpu_us_per_call ?? undefined);
    return [
      one.title,
      one.status,
      shown(one.seconds),
      shown(one.cancel_ms),
      `${one.keys_left}`,
      cpu,
      ...memory,
    ];
  });
  const calls = limits.cases.flatMap(({ title, held }) => [
    ...held.cpu.map((one) => callRow(`${title}: ${one.name}`, one)),
    ...held.wall.map((one) => callRow(`${title}: wall time`, one)),
  ]);
  const { waits, late_ms: late } = limits.timers;
  return [
    table(
      [
        "large runs",
        "",
        "s",
        "cancel ms",
        "keys left",
        "Redis CPU µs a call",
        ...PROCESSES.map((name) => `${name} MB`),
      ],
      rows,
    ),
    table(["script calls, CPU time", "longest ms", "≥ 1 ms", "≥ 2 ms", "≥ 5 ms", "≥ 10 ms"], calls),
    `${waits} timers on an idle engine: late by ${shown(late.p50)} ms at p50, ${shown(late.p99)} at p99, ${shown(late.max)} at most`,
  ].join("\n");
}

function callRow(name: string, calls: Calls): string[] {
  return [name, shown(calls.longest_ms), ...OVER.map((over) => calls[over].toLocaleString("en"))];
}

function conditions({ surroundings: at, plan, total }: Results): string {
  const workers = `${plan.workers} worker ${plan.workers === 1 ? "process" : "processes"} × ${plan.concurrency}`;
  return [
    `hitzero ${at.hitzero}, node ${at.node}, Redis ${at.redis.version} (appendfsync ${at.redis.appendfsync}), Postgres ${at.postgres.server_version} (fsync ${at.postgres.fsync})`,
    `${at.cpus} × ${at.cpu}, ${at.memory_mb.toLocaleString("en")} MB, ${at.system}; load before: ${at.load_before.toFixed(2)}`,
    `${workers}, 1 supervisor, 1 partition; ${plan.samples} samples of each after a warm-up`,
    `on record: ${total.runs.toLocaleString("en")} runs, ${total.node_executions.toLocaleString("en")} executions, ${total.events.toLocaleString("en")} events: none is missing`,
    ...(at.on_disk
      ? []
      : ["The folder lies in memory: flushes cost nothing here. Name one on a disk with --dir."]),
  ].join("\n");
}

export function reportText(results: Results): string {
  const parts = [
    results.throughput.length + results.latency.length > 0 ? mainTable(results) : undefined,
    results.throughput.length > 0 ? cpuTable(results) : undefined,
    mapRatio(results),
    results.throughput.length > 0 ? byteTable(results) : undefined,
    sizeTable(results),
    payloadTable(results),
    largeTable(results),
    limitTables(results),
    conditions(results),
  ];
  return parts.filter((part) => part !== undefined).join("\n\n");
}
