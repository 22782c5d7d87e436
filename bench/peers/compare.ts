/** Measures all engines in one run: each sample of one is followed by the same sample of the next. */
import { pause } from "../../src/base/wait.ts";
import { cpuMs } from "../cpu.ts";
import { REST_MS } from "../latency.ts";
import type { Meter } from "../meter.ts";
import type { Rig } from "../rig.ts";
import { percentile, type Spread, spreadOf } from "../statistics.ts";
import { SETTLE_MS } from "../throughput.ts";
import { type Engine, PARTS, type Part, STEPS, type Taken, type Work } from "./engine.ts";

/** CPU µs per step; null: the engine has no such process, or the system does not say. */
export type CpuPerStep = Record<Part, Spread | null>;

export interface ComparedThroughput {
  work: Work;
  engine: string;
  runs: number;
  steps: number;
  seconds: Spread;
  submit_seconds: Spread;
  steps_per_second: Spread;
  runs_per_second: Spread;
  cpu_us_per_step: CpuPerStep;
}

export interface ComparedHop {
  engine: string;
  /** Of one series. */
  hops: number;
  p50_ms: Spread;
  p99_ms: Spread;
  /** Round trips of PING to Redis in the same series, between the runs: what the machine itself added. */
  ping_p50_ms: Spread;
  ping_p99_ms: Spread;
}

interface Sample extends Taken {
  cpuMs: Record<Part, number | null>;
}

const WARM_UP = 0.25;
const PINGS_BETWEEN = 5;
const WARM_UP_HOPS = 20;

/**
 * The engines in the order of a round: the first of one round is the last of the next.
 */
export function turns<T>(engines: readonly T[], round: number): T[] {
  const first = round % engines.length;
  return [...engines.slice(first), ...engines.slice(0, first)];
}

/** @throws Error when an engine fails, or the record of hitzero is not whole */
export async function compareThroughput(
  engines: readonly Engine[],
  meter: Meter,
  work: Work,
  runs: number,
  samples: number,
): Promise<ComparedThroughput[]> {
  const able = engines.filter(({ works }) => works.includes(work));
  for (const engine of able) await takeSample(engine, meter, work, Math.ceil(runs * WARM_UP));
  const taken = new Map<Engine, Sample[]>(able.map((engine) => [engine, []]));
  for (let round = 0; round < samples; round += 1) {
    for (const engine of turns(able, round))
      taken.get(engine)?.push(await takeSample(engine, meter, work, runs));
  }
  return able.map((engine) => summed(engine.name, work, runs, taken.get(engine) as Sample[]));
}

async function takeSample(engine: Engine, meter: Meter, work: Work, runs: number): Promise<Sample> {
  await engine.prepare(work, runs);
  const before = cpuOf(engine, meter);
  const taken = await Promise.race([engine.run(), engine.failed]);
  await pause(SETTLE_MS);
  const after = cpuOf(engine, meter);
  await engine.check();
  return {
    ...taken,
    cpuMs: eachPart((part) => {
      const [earlier, later] = [before[part], after[part]];
      return earlier === null || later === null ? null : later - earlier;
    }),
  };
}

function cpuOf({ processes }: Engine, { servers }: Meter): Record<Part, number | null> {
  const pids: Partial<Record<Part, readonly number[]>> = {
    ...processes,
    redis: [servers.redis],
    postgres: servers.postgres === undefined ? [] : [servers.postgres],
  };
  return eachPart((part) => {
    const used = (pids[part] ?? []).map((pid) => cpuMs(pid));
    if (used.length === 0) return null;
    return used.reduce<number | null>((sum, ms) => (sum === null || ms === undefined ? null : sum + ms), 0);
  });
}

function summed(engine: string, work: Work, runs: number, samples: readonly Sample[]): ComparedThroughput {
  const steps = runs * STEPS[work];
  const spread = (value: (sample: Sample) => number) => spreadOf(samples.map(value));
  return {
    work,
    engine,
    runs,
    steps,
    seconds: spread(({ seconds }) => seconds),
    submit_seconds: spread(({ submitSeconds }) => submitSeconds),
    steps_per_second: spread(({ seconds }) => steps / seconds),
    runs_per_second: spread(({ seconds }) => runs / seconds),
    cpu_us_per_step: eachPart((part) => {
      const known = samples.map(({ cpuMs }) => cpuMs[part]).filter((ms) => ms !== null);
      return known.length === 0 ? null : spreadOf(known.map((ms) => (ms * 1_000) / steps));
    }),
  };
}

function eachPart<V>(value: (part: Part) => V): Record<Part, V> {
  return Object.fromEntries(PARTS.map((part) => [part, value(part)])) as Record<Part, V>;
}

/** Chains one after the other on idle engines. */
export async function compareHops(
  engines: readonly Engine[],
  rig: Rig,
  runs: number,
  samples: number,
): Promise<ComparedHop[]> {
  for (const engine of engines) await takeHops(engine, rig, Math.min(WARM_UP_HOPS, runs));
  const taken = new Map<Engine, Series[]>(engines.map((engine) => [engine, []]));
  for (let round = 0; round < samples; round += 1) {
    for (const engine of turns(engines, round)) taken.get(engine)?.push(await takeHops(engine, rig, runs));
  }
  return engines.map((engine) => {
    const series = taken.get(engine) as Series[];
    const spread = (of: keyof Series, percent: number) =>
      spreadOf(series.map((one) => percentile(one[of], percent)));
    return {
      engine: engine.name,
      hops: series[0]?.hops.length ?? 0,
      p50_ms: spread("hops", 50),
      p99_ms: spread("hops", 99),
      ping_p50_ms: spread("pings", 50),
      ping_p99_ms: spread("pings", 99),
    };
  });
}

interface Series {
  hops: number[];
  pings: number[];
}

async function takeHops(engine: Engine, rig: Rig, runs: number): Promise<Series> {
  const series: Series = { hops: [], pings: [] };
  for (let run = 0; run < runs; run += 1) {
    series.hops.push(...(await Promise.race([engine.hops(), engine.failed])));
    await pause(REST_MS);
    for (let ping = 0; ping < PINGS_BETWEEN; ping += 1) series.pings.push(await pingMs(rig));
  }
  return series;
}

async function pingMs(rig: Rig): Promise<number> {
  const begun = performance.now();
  await rig.redis.ping();
  return performance.now() - begun;
}

/** Part of one core that each engine takes while nothing is to be done: all of them are up while one is measured. */
export async function idleCpu(
  engines: readonly Engine[],
  meter: Meter,
  ms: number,
): Promise<Record<string, number>> {
  const ownMs = (engine: Engine) => {
    const cpu = cpuOf(engine, meter);
    return (cpu.worker ?? 0) + (cpu.server ?? 0);
  };
  const before = engines.map(ownMs);
  await pause(ms);
  return Object.fromEntries(
    engines.map((engine, index) => [engine.name, (ownMs(engine) - (before[index] as number)) / ms]),
  );
}
