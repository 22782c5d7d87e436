/** The whole benchmark, in order. */
import { LARGE_SCENARIOS, type Large, type LargeSizes, measureLarge } from "./large.ts";
import { type Latency, measureLatency } from "./latency.ts";
import { Ledger } from "./ledger.ts";
import { type LimitSizes, type Limits, measureLimits } from "./limits.ts";
import { Meter } from "./meter.ts";
import { measurePayload, type Payload, type PayloadSizes } from "./payload.ts";
import { type Counted, checkRecord } from "./record_check.ts";
import type { Rig } from "./rig.ts";
import { measureSizes, type Sizes } from "./sizes.ts";
import { type Surroundings, surroundingsOf } from "./surroundings.ts";
import { measureThroughput, type Throughput } from "./throughput.ts";
import { chains, fans, maps, singles, TURNS } from "./workloads.ts";

/** Measured when no other are asked for. */
export const SCENARIOS = ["chain", "fan", "single", "map", "latency", "sizes", "payload", "limits"] as const;
export const ALL_SCENARIOS = [...SCENARIOS, ...LARGE_SCENARIOS] as const;
export type Scenario = (typeof ALL_SCENARIOS)[number];

export interface Plan {
  workers: number;
  concurrency: number;
  /** Each is measured this often, after a warm-up. */
  samples: number;
  scenarios: readonly Scenario[];
  chainRuns: number;
  fanRuns: number;
  singleRuns: number;
  /** Runs of a map of 100 items. */
  mapRuns: number;
  /** Items of the one large map. */
  mapItems: number;
  latencyRuns: number;
  sizeRuns: number;
  payload: PayloadSizes;
  limits: LimitSizes;
  large: LargeSizes;
}

/** What `npm run bench` measures. */
export const FULL = {
  samples: 3,
  chainRuns: 2_000,
  fanRuns: 200,
  singleRuns: 5_000,
  mapRuns: 200,
  mapItems: 100_000,
  latencyRuns: 200,
  sizeRuns: 1_000,
  payload: { nodes: 100, definitionBytes: 200_000, inputBytes: 100_000, outputBytes: 1_000 },
  limits: { items: 100_000, iterations: 100, itemsOfEach: 1_000, nodes: 10_000, timers: 50 },
  large: {
    ...{ chainRuns: 4_000, nodes: 10_000, nodeRuns: 32, openRuns: 100_000 },
    recordedSteps: 10_000_000,
  },
};

/** Enough to see that everything counts right; the times mean little. */
export const QUICK = {
  samples: 1,
  chainRuns: 20,
  fanRuns: 4,
  singleRuns: 20,
  mapRuns: 1,
  mapItems: 120,
  latencyRuns: 2,
  sizeRuns: 20,
  payload: { nodes: 5, definitionBytes: 2_000, inputBytes: 1_000, outputBytes: 100 },
  limits: { items: 30, iterations: 2, itemsOfEach: 5, nodes: 20, timers: 2 },
  large: { chainRuns: 20, nodes: 50, nodeRuns: 4, openRuns: 50, recordedSteps: 2_000 },
};

const SMALL_MAP = 100;

export interface Results {
  surroundings: Surroundings;
  plan: Plan;
  throughput: Throughput[];
  latency: Latency[];
  sizes: Sizes | null;
  /** Bytes that single runs moved through Redis; empty: not measured. */
  payload: Payload[];
  /** All rows so far, counted at the end. */
  total: Counted;
  limits: Limits | null;
  large: Large | null;
}

/** @throws Error when rows are missing, a server is not durable, or a process died */
export async function measure(rig: Rig, plan: Plan, onNotice: (line: string) => void): Promise<Results> {
  const surroundings = await surroundingsOf(rig);
  const ledger = new Ledger();
  const wanted = (scenario: Scenario) => plan.scenarios.includes(scenario);
  const throughput = await measureAllThroughput(rig, plan, ledger, onNotice);
  if (wanted("payload")) onNotice("payload");
  const payload = wanted("payload")
    ? await measurePayload(rig, await Meter.of(rig), ledger, plan.payload, plan.samples)
    : [];
  const latency: Latency[] = [];
  if (wanted("latency")) {
    onNotice("latency, handed over");
    latency.push(await measureLatency(rig, ledger, "handed_over", plan.latencyRuns, plan.samples));
    onNotice("latency, through streams");
    await rig.stopWorkers();
    await rig.startWorkers(TURNS.map((queue) => [queue]));
    latency.push(await measureLatency(rig, ledger, "streamed", plan.latencyRuns, plan.samples));
  }
  if (wanted("sizes")) onNotice("sizes");
  const sizes = wanted("sizes") ? await measureSizes(rig, ledger, chains(plan.sizeRuns)) : null;
  const total = await checkRecord(rig, ledger.total);
  const large = await measureAllLarge(rig, plan, onNotice);
  return {
    surroundings,
    plan,
    throughput,
    latency,
    sizes,
    payload,
    total,
    large,
    limits: await measureAllLimits(rig, plan, onNotice),
  };
}

async function measureAllThroughput(
  rig: Rig,
  plan: Plan,
  ledger: Ledger,
  onNotice: (line: string) => void,
): Promise<Throughput[]> {
  await rig.startWorkers();
  const meter = await Meter.of(rig);
  const results: Throughput[] = [];
  for (const workload of [chains(plan.chainRuns), fans(plan.fanRuns), singles(plan.singleRuns)]) {
    if (!plan.scenarios.some((name) => name === workload.name)) continue;
    onNotice(`${workload.runs} runs, ${workload.title}: ${plan.samples} times after a warm-up`);
    results.push(await measureThroughput(rig, meter, ledger, workload, plan.samples));
  }
  if (plan.scenarios.includes("map"))
    results.push(...(await measureMaps(rig, meter, plan, ledger, onNotice)));
  return results;
}

/** Last but for the limits: what is on record then cannot be told from what was submitted. */
async function measureAllLarge(
  rig: Rig,
  plan: Plan,
  onNotice: (line: string) => void,
): Promise<Large | null> {
  const { samples, scenarios, large: sizes } = plan;
  if (!LARGE_SCENARIOS.some((name) => scenarios.includes(name))) return null;
  // Others may have been started, and `latency` leaves some that read no default queue.
  await rig.stopWorkers();
  await rig.startWorkers();
  return measureLarge(rig, await Meter.of(rig), { sizes, samples, scenarios }, new Ledger(), onNotice);
}

async function measureAllLimits(
  rig: Rig,
  plan: Plan,
  onNotice: (line: string) => void,
): Promise<Limits | null> {
  if (!plan.scenarios.includes("limits")) return null;
  await rig.timeScripts();
  return measureLimits(rig, await Meter.of(rig), plan.limits, onNotice);
}

/** Many small maps, and a large one: what does an execution cost in each? */
async function measureMaps(
  rig: Rig,
  meter: Meter,
  plan: Plan,
  ledger: Ledger,
  onNotice: (line: string) => void,
): Promise<Throughput[]> {
  const small = maps("map-small", plan.mapRuns, SMALL_MAP);
  const large = maps("map-large", 1, plan.mapItems);
  onNotice(`${small.runs} runs, ${small.title}: ${plan.samples} times after a warm-up`);
  const first = await measureThroughput(rig, meter, ledger, small, plan.samples);
  onNotice(`one run, ${large.title}: once`);
  return [first, await measureThroughput(rig, meter, ledger, large, 1, false)];
}
