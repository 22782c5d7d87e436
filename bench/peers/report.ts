/** The comparison as Markdown: tables that can be pasted as they are. */
import { GOAL_HEAD, goalRow } from "../goals.ts";
import { markdownTable, shownSpread } from "../markdown.ts";
import { shown } from "../report.ts";
import type { Spread } from "../statistics.ts";
import type { Surroundings } from "../surroundings.ts";
import type { ComparedHop, ComparedThroughput } from "./compare.ts";
import { PARTS, type Part, TITLES, WORKS, type Work } from "./engine.ts";
import { goalsOf } from "./goals.ts";
import type { Failure } from "./lineup.ts";
import type { OpenLoop } from "./open_loop.ts";
import type { Missing } from "./peers.ts";

export interface Comparison {
  surroundings: Surroundings;
  plan: {
    samples: number;
    workers: number;
    concurrency: number;
    /** What a sample is to take, by the warm-up of each engine; null: all have the same few runs. */
    sampleSeconds: number | null;
    latencyRuns: number;
    quick: boolean;
  };
  engines: { name: string; title: string; version: string }[];
  /** Peers that do not run on this system. */
  missing: Missing[];
  /** Peers that failed; what they had completed before is among the results. */
  failed: Failure[];
  throughput: ComparedThroughput[];
  hops: ComparedHop[];
  open_loop: OpenLoop | null;
  /** Part of one core that each engine takes while it has nothing to do. */
  idle_cpu: Record<string, number>;
}

/** How the numbers of a work are told: runs where a run is a step. */
export function rateOf(one: ComparedThroughput): Spread {
  return one.work === "single" ? one.runs_per_second : one.steps_per_second;
}

const UNITS: Record<Work, string> = { chain: "steps/s", fan: "steps/s", single: "runs/s" };

function titleOf({ engines }: Comparison, name: string): string {
  return engines.find((engine) => engine.name === name)?.title ?? name;
}

function throughputTable(comparison: Comparison): string | undefined {
  const { throughput, engines } = comparison;
  if (throughput.length === 0) return undefined;
  const rows = WORKS.flatMap((work) => {
    const found = engines.map(({ name }) =>
      throughput.find((one) => one.work === work && one.engine === name),
    );
    const own = found.find((one) => one?.engine === "hitzero");
    if (!own) return [];
    const ratio = (one: ComparedThroughput | undefined) =>
      one === undefined || one === own ? "" : `${shown(rateOf(own).median / rateOf(one).median)} ×`;
    return [
      [`${TITLES[work]}, ${UNITS[work]}`, ...found.map((one) => (one ? shownSpread(rateOf(one)) : "–"))],
      ["hitzero against it", ...found.map(ratio)],
    ];
  });
  return markdownTable(["", ...engines.map(({ title }) => title)], rows);
}

function hopTable(comparison: Comparison): string | undefined {
  if (comparison.hops.length === 0) return undefined;
  const rows = comparison.hops.map((one) => [
    titleOf(comparison, one.engine),
    shownSpread(one.p50_ms),
    shownSpread(one.p99_ms),
    shownSpread(one.ping_p99_ms),
  ]);
  return markdownTable(["hop, idle, ms", "p50", "p99", "p99 of PING"], rows);
}

/** All of an engine's processes, by their medians. */
export function cpuSum(one: ComparedThroughput): number {
  return PARTS.reduce((sum, part) => sum + (one.cpu_us_per_step[part]?.median ?? 0), 0);
}

function cpuTable(comparison: Comparison): string | undefined {
  if (comparison.throughput.length === 0) return undefined;
  const rows = comparison.throughput.map((one) => [
    `${TITLES[one.work]}, ${titleOf(comparison, one.engine)}`,
    ...PARTS.map((part: Part) => shown(one.cpu_us_per_step[part]?.median)),
    shown(cpuSum(one)),
  ]);
  return markdownTable(["CPU µs per step", ...PARTS, "all"], rows);
}

export function openLoopTable({ open_loop: openLoop }: Comparison): string | undefined {
  if (!openLoop) return undefined;
  const rows = openLoop.loads.map((one) => [
    `${one.share * 100} %: ${shown(one.runs_per_second)} runs/s`,
    shownSpread(one.p50_ms),
    shownSpread(one.p99_ms),
    shown(one.merged_ms.p999),
    shown(one.merged_ms.max),
  ]);
  const head = `open loop, ms; capacity ${shownSpread(openLoop.capacity)} runs/s`;
  return markdownTable([head, "p50", "p99", "p99.9", "max"], rows);
}

function goalTable(comparison: Comparison): string | undefined {
  const goals = goalsOf(comparison);
  return goals.length === 0
    ? undefined
    : markdownTable(
        GOAL_HEAD,
        goals.map((goal) => goalRow(goal, shown)),
      );
}

function conditions(comparison: Comparison): string {
  const { surroundings: at, plan, engines, missing, failed, idle_cpu: idle } = comparison;
  const versions = engines.map(({ title, version }) => `${title} ${version}`).join(", ");
  const idling = engines.map(({ name, title }) => `${title} ${shown((idle[name] ?? 0) * 100)} %`).join(", ");
  return [
    `${versions}; node ${at.node}, Redis ${at.redis.version} (appendfsync ${at.redis.appendfsync}), Postgres ${at.postgres.server_version} (fsync ${at.postgres.fsync}, synchronous_commit ${at.postgres.synchronous_commit}).`,
    `${at.cpus} × ${at.cpu}, ${at.memory_mb.toLocaleString("en")} MB, ${at.system}; load before: ${at.load_before.toFixed(2)}.`,
    `Medians of ${plan.samples} with least and most, engines in turn${plan.sampleSeconds === null ? "" : `, each sample sized to take ${plan.sampleSeconds} s`}; ${plan.workers} hitzero worker${plan.workers === 1 ? "" : "s"} × ${plan.concurrency}. CPU of an idle engine, of one core: ${idling}.`,
    ...missing.map(({ name, reason }) => `**${name} was not measured**: ${reason}`),
    ...failed.map(
      ({ name, during, reason }) => `**${name} failed during ${during}**: ${reason.replaceAll("\n", " ")}`,
    ),
    ...(at.on_disk
      ? []
      : ["**The folder is in memory: flushes cost nothing here.** Name one on a disk with --dir."]),
    ...(plan.quick ? ["**A quick run: it shows that all engines work, and measures badly.**"] : []),
  ].join("  \n");
}

const joined = (parts: readonly (string | undefined)[]): string =>
  parts.filter((part) => part !== undefined).join("\n\n");

/** What engines are compared in, and on what. */
export function peerFigures(comparison: Comparison): string {
  return joined([
    throughputTable(comparison),
    hopTable(comparison),
    cpuTable(comparison),
    conditions(comparison),
  ]);
}

export function comparisonText(comparison: Comparison): string {
  return joined([
    throughputTable(comparison),
    hopTable(comparison),
    cpuTable(comparison),
    openLoopTable(comparison),
    goalTable(comparison),
    conditions(comparison),
  ]);
}
