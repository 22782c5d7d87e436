/** The figures of `npm run bench` as Markdown, for `docs/performance.md`. */
import { GOAL_HEAD, type Goal, goalRow } from "./goals.ts";
import type { Large } from "./large.ts";
import { markdownTable, shownSpread } from "./markdown.ts";
import type { Results } from "./measure.ts";
import { PROCESSES } from "./meter.ts";
import type { Payload } from "./payload.ts";
import { shown } from "./report.ts";
import type { Throughput } from "./throughput.ts";

/** All processes, µs per step; NaN where it is not known. */
function costOf({ cpu_us_per_step }: Throughput): number {
  return PROCESSES.reduce((sum, name) => sum + (cpu_us_per_step[name]?.median ?? Number.NaN), 0);
}

/** Rate, CPU time by process, and what each step writes. */
export function costFigures(results: Results): string {
  const { throughput, latency } = results;
  const rates = throughput.map((one) => [
    one.title,
    shownSpread(one.steps_per_second),
    ...PROCESSES.map((name) => shown(one.cpu_us_per_step[name]?.median)),
    shown(costOf(one)),
    ...(["redis_append_only_file", "postgres_write_ahead_log"] as const).map((kind) =>
      shown(one.bytes_per_step[kind]?.median),
    ),
  ]);
  const head = ["", "steps/s", ...PROCESSES.map((name) => `${name} µs`), "all µs", "Redis file B", "WAL B"];
  const passing = { handed_over: "handed over", streamed: "through streams" };
  const hops = latency.map((one) => [
    `hop, idle, ${passing[one.name]}`,
    ...[one.hop_ms.p50, one.hop_ms.p99].map(shownSpread),
  ]);
  return [
    markdownTable(head, rates),
    ...(hops.length === 0 ? [] : [markdownTable(["ms", "p50", "p99"], hops)]),
    conditions(results),
  ].join("\n\n");
}

export function payloadFigures(payload: readonly Payload[]): string {
  const kilo = (bytes: number) => shown(bytes / 1_000);
  const rows = payload.map((one) => [
    `${one.nodes} nodes in a row, ${one.title}`,
    ...[one.definition_bytes, one.input_bytes, one.redis_received.median].map(kilo),
    ...[one.redis_sent.median, one.redis_both.median].map(kilo),
  ]);
  return markdownTable(
    ["KB of one run", "definition", "input", "Redis received", "Redis sent", "both"],
    rows,
  );
}

export function largeFigures(results: Results & { large: Large }): string {
  const { small, cases } = results.large;
  const rows = cases.map(({ title, ratio, ratios }) => [
    `${title}, × the small case`,
    ...PROCESSES.map((name) => shown(ratios[name] ?? undefined)),
    shown(ratio ?? undefined),
  ]);
  const base = PROCESSES.map((name) => shown(small.cpu_us_per_step[name]?.median));
  return [
    markdownTable(
      ["CPU of a step", ...PROCESSES, "all"],
      [[`${small.title}, µs`, ...base, shown(costOf(small))], ...rows],
    ),
    conditions(results),
  ].join("\n\n");
}

/** On what, and how. */
function conditions({ surroundings: at, plan }: Results): string {
  return [
    `hitzero ${at.hitzero}, node ${at.node}, Redis ${at.redis.version} (appendfsync ${at.redis.appendfsync}), Postgres ${at.postgres.server_version} (fsync ${at.postgres.fsync}).`,
    `${at.cpus} × ${at.cpu}, ${at.memory_mb.toLocaleString("en")} MB, ${at.system}; load before: ${at.load_before.toFixed(2)}. Medians of ${plan.samples}; ${plan.workers} worker${plan.workers === 1 ? "" : "s"} × ${plan.concurrency}.`,
  ].join("  \n");
}

/** Those that can be told from these results. */
export function costGoals({ throughput, payload, large }: Results): Goal[] {
  const of = (wanted: string) => throughput.find(({ name }) => name === wanted);
  const [chain, map] = [of("chain"), of("map-small")];
  const goals: (Goal | undefined)[] = [
    chain && {
      what: "CPU of a chain step, all processes",
      ...{ found: costOf(chain), bound: { most: 43 }, aim: 32, unit: " µs" },
    },
    chain &&
      map && {
        what: "CPU of a step of a map of 100 items, against a chain's",
        ...{ found: costOf(map) / costOf(chain), bound: { most: 1.6 }, aim: 1.3, unit: " ×" },
      },
    chain && {
      what: "append-only file of a chain step",
      ...{ found: chain.bytes_per_step.redis_append_only_file?.median ?? Number.NaN },
      ...{ bound: { most: 800 }, aim: 700, unit: " B" },
    },
    chain && {
      what: "write-ahead log of a chain step",
      ...{ found: chain.bytes_per_step.postgres_write_ahead_log?.median ?? Number.NaN },
      ...{ bound: { most: 500 }, aim: 427, unit: " B" },
    },
    payload[0] && {
      what: `through Redis: ${payload[0].nodes} nodes in a row, ${payload[0].title}`,
      ...{ found: payload[0].redis_both.median / 1_000, bound: { most: 1_000 }, unit: " KB" },
    },
    ...(large?.cases ?? []).map(({ title, ratio }) => ({
      what: `CPU of a step, ${title}, against the small case`,
      ...{ found: ratio ?? Number.NaN, bound: { most: 1.3 }, unit: " ×" },
    })),
  ];
  return goals.filter((goal) => goal !== undefined);
}

export function goalFigures(goals: readonly Goal[]): string {
  return markdownTable(
    GOAL_HEAD,
    goals.map((goal) => goalRow(goal, shown)),
  );
}
