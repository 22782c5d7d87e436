/**
 * Open loop: runs arrive at a rate, whether those before have ended or not, as they do from users.
 *
 * A latency counts from the time at which the run was to arrive, so that a driver that falls behind does not hide it, until its
 * row in Postgres was seen to be final. Percentiles come from HDR histograms.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { pause } from "../../src/base/wait.ts";
import type { RegisteredWorkflow } from "../../src/engine/client/client.ts";
import { Ledger } from "../ledger.ts";
import { checkRecord, untilAllFinal } from "../record_check.ts";
import type { Rig } from "../rig.ts";
import { type Spread, spreadOf } from "../statistics.ts";
import { chains } from "../workloads.ts";
import { poissonArrivals, seeded } from "./arrivals.ts";
import { STEPS } from "./engine.ts";
import { PEERS_FOLDER } from "./peer.ts";

export interface OpenLoop {
  /** Runs per second of the closed loop, each submitted by a call of its own. */
  capacity: Spread;
  loads: OpenLoad[];
}

export interface OpenLoad {
  /** Of the capacity's median. */
  share: number;
  runs_per_second: number;
  /** Of all samples. */
  runs: number;
  p50_ms: Spread;
  p99_ms: Spread;
  /** Of the samples together. */
  merged_ms: { p50: number; p90: number; p99: number; p999: number; max: number };
  /** The merged histogram in the compressed form of HdrHistogram V2, microseconds. */
  histogram: string;
}

/** What is used of hdr-histogram-js, which is installed with the peers. */
interface Histogram {
  recordValue(value: number): void;
  getValueAtPercentile(percent: number): number;
  add(other: Histogram): void;
  readonly maxValue: number;
}

interface HdrHistogram {
  build(options: object): Histogram;
  encodeIntoCompressedBase64(histogram: Histogram): string;
}

const SHARES = [0.5, 0.9];
/** Submit calls under way at once, at most: an arrival beyond them waits, and its latency tells. */
const SUBMITS_AT_ONCE = 128;
const CLOSED_POLL_MS = 50;
/** How exact the end of a run is known. */
const POLL_MS = 5;
const TICK_MS = 1;
const SEED = 9;
const LONGEST_US = 600_000_000;
const US = 1_000;

export async function measureOpenLoop(
  rig: Rig,
  { runs, seconds, samples }: { runs: number; seconds: number; samples: number },
  onNotice: (line: string) => void,
): Promise<{ openLoop: OpenLoop; submitted: { runs: number; steps: number } }> {
  const hdr = createRequire(join(PEERS_FOLDER, "package.json"))("hdr-histogram-js") as HdrHistogram;
  const ledger = new Ledger();
  const name = "open-loop";
  const workflow = await rig.client.register(chains(1).document(name));
  const count = (done: number) => ledger.add({ runs: done, steps: done * STEPS.chain });
  onNotice(`capacity: ${runs} runs, each submitted by a call of its own, ${samples} times after a warm-up`);
  await closedLoop(rig, workflow, Math.ceil(runs / 4));
  count(Math.ceil(runs / 4));
  const rates: number[] = [];
  for (let sample = 0; sample < samples; sample += 1) {
    rates.push(await closedLoop(rig, workflow, runs));
    count(runs);
  }
  const capacity = spreadOf(rates);
  const random = seeded(SEED);
  const loads: OpenLoad[] = [];
  for (const share of SHARES) {
    const rate = capacity.median * share;
    onNotice(`open loop at ${share * 100} % of it, ${rate.toFixed(0)} runs/s: ${samples} × ${seconds} s`);
    const histograms: Histogram[] = [];
    let all = 0;
    for (let sample = 0; sample < samples; sample += 1) {
      const arrivals = poissonArrivals(rate, seconds, random);
      all += arrivals.length;
      count(arrivals.length);
      const latencies = await arrive(rig, workflow, arrivals);
      const histogram = hdr.build({ highestTrackableValue: LONGEST_US, numberOfSignificantValueDigits: 3 });
      for (const ms of latencies) histogram.recordValue(Math.max(1, Math.round(ms * US)));
      histograms.push(histogram);
    }
    loads.push({ share, runs_per_second: rate, runs: all, ...summed(histograms, hdr) });
  }
  await checkRecord(rig, ledger.total, name, STEPS.chain);
  return { openLoop: { capacity, loads }, submitted: ledger.total };
}

function summed(
  histograms: readonly Histogram[],
  hdr: HdrHistogram,
): Pick<OpenLoad, "p50_ms" | "p99_ms" | "merged_ms" | "histogram"> {
  const spread = (percent: number) =>
    spreadOf(histograms.map((one) => one.getValueAtPercentile(percent) / US));
  const merged = hdr.build({ highestTrackableValue: LONGEST_US, numberOfSignificantValueDigits: 3 });
  for (const one of histograms) merged.add(one);
  const at = (percent: number) => merged.getValueAtPercentile(percent) / US;
  return {
    p50_ms: spread(50),
    p99_ms: spread(99),
    merged_ms: { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: merged.maxValue / US },
    histogram: hdr.encodeIntoCompressedBase64(merged),
  };
}

/** Runs per second while so many submits are always under way. */
async function closedLoop(rig: Rig, workflow: RegisteredWorkflow, runs: number): Promise<number> {
  const begun = performance.now();
  let submitted = 0;
  const some = async () => {
    while (submitted < runs) {
      submitted += 1;
      await rig.client.submit(workflow, { input: {} });
    }
  };
  await Promise.all(Array.from({ length: SUBMITS_AT_ONCE }, some));
  await untilAllFinal(rig, CLOSED_POLL_MS);
  return (runs * 1_000) / (performance.now() - begun);
}

/** Submits a run at each of these times; returns how long each took until its row was final, milliseconds. */
async function arrive(
  rig: Rig,
  workflow: RegisteredWorkflow,
  arrivals: readonly number[],
): Promise<number[]> {
  const latencies: number[] = [];
  /** Runs that are accepted and not final yet, with the time at which they were to arrive. */
  const open = new Map<string, number>();
  const begun = performance.now();
  let next = 0;
  let underWay = 0;
  let failure: unknown;
  const submit = async (due: number) => {
    underWay += 1;
    try {
      const { runIds } = await rig.client.submit(workflow, { input: {} });
      open.set(runIds[0] as string, due);
    } catch (error) {
      failure ??= error;
    } finally {
      underWay -= 1;
    }
  };
  const look = async () => {
    while (!failure && latencies.length < arrivals.length) {
      for (const runId of await finalAmong(rig, [...open.keys()])) {
        latencies.push(performance.now() - begun - (open.get(runId) as number));
        open.delete(runId);
      }
      await pause(POLL_MS);
    }
  };
  const looking = look();
  looking.catch((error: unknown) => {
    failure ??= error;
  });
  while (next < arrivals.length && !failure) {
    const due = arrivals[next] as number;
    if (due <= performance.now() - begun && underWay < SUBMITS_AT_ONCE) {
      next += 1;
      void submit(due);
    } else await pause(TICK_MS);
  }
  await looking;
  if (failure) throw failure;
  return latencies;
}

async function finalAmong(rig: Rig, runIds: readonly string[]): Promise<string[]> {
  if (runIds.length === 0) return [];
  const { rows } = await rig.database.query<{ run_id: string }>(
    `select run_id from hitzero.runs
      where run_id = any ($1::uuid[]) and status not in ('PENDING', 'RUNNING', 'PAUSED')`,
    [runIds],
  );
  return rows.map(({ run_id }) => run_id);
}
