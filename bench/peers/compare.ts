/** Measures all engines in one run: each sample of one is followed by the same sample of the next. */
import { pause } from "../../src/base/wait.ts";
import { cpuMs } from "../cpu.ts";
import { REST_MS } from "../latency.ts";
import type { Meter } from "../meter.ts";
import type { Rig } from "../rig.ts";
import { percentile, type Spread, spreadOf } from "../statistics.ts";
import { SETTLE_MS } from "../throughput.ts";
import { type Engine, PARTS, type Part, STEPS, type Taken, TITLES, type Work } from "./engine.ts";
import type { Lineup } from "./lineup.ts";

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
  series: number;
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

const PINGS_BETWEEN = 5;
const WARM_UP_HOPS = 20;
/** A warm-up of at least this length tells how fast an engine is; a shorter one is repeated with more runs. */
const WARM_UP_SECONDS = 1;
const WARM_UP_GROWTH = 8;
/** The first one is slow, whatever its length: code is compiled in it. */
const WARM_UP_PASSES = 2;

/** How much is run in one sample. */
export interface SampleSize {
  /** Of the first warm-up. */
  runs: number;
  /** A sample is to take about so long, by the rate of the engine's own warm-up. Absent: it has as many runs as the warm-up. */
  seconds?: number;
  /** Runs at most. */
  most: number;
}

/** Where a comparison stands, for whoever looks on. */
export type Progress = (line: string) => void;

/** The engines in the order of a round: the first of one round is the last of the next. */
export function turns<T>(engines: readonly T[], round: number): T[] {
  const first = engines.length === 0 ? 0 : round % engines.length;
  return [...engines.slice(first), ...engines.slice(0, first)];
}

/** @throws Error when hitzero fails, or its record is not whole */
export async function compareThroughput(
  lineup: Lineup,
  meter: Meter,
  work: Work,
  size: SampleSize,
  samples: number,
  progress: Progress,
): Promise<ComparedThroughput[]> {
  const title = TITLES[work];
  const able = () => lineup.engines.filter(({ works }) => works.includes(work));
  const runs = new Map<Engine, number>();
  for (const engine of able()) {
    const found = await lineup.attempt(engine, `the warm-up of ${title}`, () =>
      warmUp(engine, meter, work, size),
    );
    if (found === undefined) continue;
    runs.set(engine, found);
    progress(`${title}: ${engine.title} is warm, samples of ${found} runs`);
  }
  const taken = new Map<Engine, Sample[]>(able().map((engine) => [engine, []]));
  for (let round = 0; round < samples; round += 1) {
    for (const engine of turns(able(), round)) {
      const count = runs.get(engine) as number;
      const sample = await lineup.attempt(engine, title, () => takeSample(engine, meter, work, count));
      if (sample === undefined) continue;
      taken.get(engine)?.push(sample);
      const rate = (count * STEPS[work]) / sample.seconds;
      progress(`${title}, ${round + 1} of ${samples}: ${engine.title} ${Math.round(rate)} steps/s`);
    }
  }
  return able().map((engine) =>
    summed(engine.name, work, runs.get(engine) as number, taken.get(engine) as Sample[]),
  );
}

/** Performs runs until the rate of the last of them is worth something; returns how many runs a sample has. */
async function warmUp(engine: Engine, meter: Meter, work: Work, size: SampleSize): Promise<number> {
  let { runs } = size;
  for (let passes = 1; ; passes += 1) {
    const { seconds } = await takeSample(engine, meter, work, runs);
    if (size.seconds === undefined) return runs;
    const perSecond = runs / seconds;
    if (passes >= WARM_UP_PASSES && (seconds >= WARM_UP_SECONDS || runs >= size.most))
      return Math.min(size.most, Math.max(1, Math.ceil(perSecond * size.seconds)));
    const enough = Math.ceil(perSecond * WARM_UP_SECONDS * 1.5);
    runs = Math.max(runs, Math.min(size.most, enough, runs * WARM_UP_GROWTH));
  }
}

async function takeSample(engine: Engine, meter: Meter, work: Work, runs: number): Promise<Sample> {
  await engine.prepare(work, runs);
  const before = cpuOf(engine, meter);
  const taken = await engine.run();
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
    const used = (pids[part] ?? []).map(usedBy);
    if (used.length === 0) return null;
    return used.reduce<number | null>((sum, ms) => (sum === null || ms === undefined ? null : sum + ms), 0);
  });
}

/** The children of this process are the engines: what they use is not its own. */
function usedBy(pid: number): number | undefined {
  if (pid !== process.pid) return cpuMs(pid);
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
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

/** Chains one after the other on idle engines. @throws Error when hitzero fails */
export async function compareHops(
  lineup: Lineup,
  rig: Rig,
  runs: number,
  samples: number,
  progress: Progress,
): Promise<ComparedHop[]> {
  const attempt = (engine: Engine, count: number) =>
    lineup.attempt(engine, "hop, idle", () => takeHops(engine, rig, count));
  for (const engine of [...lineup.engines]) await attempt(engine, Math.min(WARM_UP_HOPS, runs));
  const taken = new Map<Engine, Series[]>(lineup.engines.map((engine) => [engine, []]));
  for (let round = 0; round < samples; round += 1) {
    for (const engine of turns(lineup.engines, round)) {
      const series = await attempt(engine, runs);
      if (series === undefined) continue;
      taken.get(engine)?.push(series);
      const [half, most] = [50, 99].map((percent) => percentile(series.hops, percent).toFixed(2));
      progress(`hop, series ${round + 1} of ${samples}: ${engine.title} p50 ${half} ms, p99 ${most} ms`);
    }
  }
  return lineup.engines.map((engine) => {
    const series = taken.get(engine) as Series[];
    const spread = (of: keyof Series, percent: number) =>
      spreadOf(series.map((one) => percentile(one[of], percent)));
    return {
      engine: engine.name,
      series: series.length,
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
    series.hops.push(...(await engine.hops()));
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
