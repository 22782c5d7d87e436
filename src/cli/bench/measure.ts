/** What `hitzero bench` measures: steps per second of a full engine, then hops and whole runs of an idle one. */
import { assert } from "../../base/assert.ts";
import { percentile } from "../../base/percentile.ts";
import { pause } from "../../base/wait.ts";
import type { Client, RegisteredWorkflow } from "../../engine/client/client.ts";

export interface Percentiles {
  count: number;
  p50_ms: number;
  p99_ms: number;
}

export interface Measured {
  /** That came on record. */
  steps_per_second: number;
  /** In which they were counted. */
  seconds: number;
  /** From the entry of one handler to the entry of the next, one run at a time. */
  hop: Percentiles;
  /** From the begin of a submit until its row in Postgres was seen to be final, one run at a time. */
  submit_to_final: Percentiles;
  /** Runs submitted in all, warm-ups included. */
  runs: number;
}

export interface Plan {
  /** Of measuring, in all. */
  seconds: number;
  signal: AbortSignal;
  /** How many steps are on record by now. */
  stepsOnRecord: () => Promise<number>;
  /** Told now and then: what is done, and how much of all, from 0 to 1. */
  onProgress: (phase: string, share: number) => void;
}

const WORKFLOW = "hitzero-bench";
export const STEPS = 10;
/** Runs that one call submits, and calls at once: so many runs are open while steps are counted. */
const BATCH = 50;
const BATCHES_AT_ONCE = 8;
/** Parts of the time. */
const WARM_UP = 0.2;
const FULL = 0.4;
const POLL_MS = 20;
/** How exact the end of a lone run is known. */
const LONE_POLL_MS = 1;
/** The engine is idle again after this time. */
const REST_MS = 5;

export function benchWorkflow(): object {
  const ids = Array.from({ length: STEPS }, (_, index) => `n${index + 1}`);
  return {
    name: WORKFLOW,
    nodes: ids.map((id) => ({ id, type: "function", config: { function_name: "step" } })),
    edges: ids.slice(1).map((to, index) => ({ from: ids[index], to })),
  };
}

/** Undefined: the signal was aborted before all was measured. */
export async function measure(client: Client, plan: Plan): Promise<Measured | undefined> {
  const workflow = await client.register(benchWorkflow());
  const rates = await measureRate(client, workflow, plan);
  const lone = await measureLone(client, workflow, plan);
  if (plan.signal.aborted) return undefined;
  return {
    steps_per_second: rates.perSecond,
    seconds: rates.seconds,
    hop: percentilesOf(lone.hops),
    submit_to_final: percentilesOf(lone.finals),
    runs: rates.runs + lone.finals.length,
  };
}

export function percentilesOf(values: readonly number[]): Percentiles {
  return { count: values.length, p50_ms: percentile(values, 50), p99_ms: percentile(values, 99) };
}

interface Rate {
  perSecond: number;
  seconds: number;
  runs: number;
}

/**
 * As many runs as the engine takes. Steps are counted at the begin and the end of a window: runs that were submitted together end
 * together, so that a count of runs would depend on how many such waves the window holds.
 */
async function measureRate(client: Client, workflow: RegisteredWorkflow, plan: Plan): Promise<Rate> {
  const { seconds, signal, onProgress } = plan;
  const begun = performance.now();
  const ends = new AbortController();
  const report = () => {
    const share = (performance.now() - begun) / (seconds * 1_000);
    onProgress("steps per second", Math.min(share, WARM_UP + FULL));
  };
  let runs = 0;
  const some = async () => {
    while (!ends.signal.aborted && !signal.aborted) {
      const { runIds } = await client.submit(workflow, { count: BATCH, input: {} });
      runs += runIds.length;
      const byStatus = await client.waitAll(runIds, { pollMs: POLL_MS, signal, onProgress: report });
      refuseOthers(byStatus, runIds.length, signal);
    }
  };
  const submitting = Promise.all(Array.from({ length: BATCHES_AT_ONCE }, some));
  const window = async () => {
    await pause(seconds * WARM_UP * 1_000, signal);
    const from = await stepsNow(plan);
    await pause(seconds * FULL * 1_000, signal);
    const to = await stepsNow(plan);
    ends.abort();
    const lasted = (to.at - from.at) / 1_000;
    return { perSecond: (to.steps - from.steps) / lasted, seconds: lasted };
  };
  const [rate] = await Promise.all([window(), submitting]);
  return { ...rate, runs };
}

async function stepsNow({ stepsOnRecord }: Plan): Promise<{ steps: number; at: number }> {
  return { steps: await stepsOnRecord(), at: performance.now() };
}

/** A run that fails has measured nothing. */
function refuseOthers(byStatus: Record<string, number>, wanted: number, signal: AbortSignal): void {
  if (signal.aborted) return;
  assert(
    (byStatus.COMPLETED ?? 0) === wanted,
    `all runs of the benchmark end COMPLETED: ${JSON.stringify(byStatus)}`,
  );
}

/** One run after the other. */
async function measureLone(
  client: Client,
  workflow: RegisteredWorkflow,
  { seconds, signal, onProgress }: Plan,
): Promise<{ hops: number[]; finals: number[] }> {
  const begun = performance.now();
  const lasts = seconds * (1 - WARM_UP - FULL) * 1_000;
  const hops: number[] = [];
  const finals: number[] = [];
  do {
    const submitted = performance.now();
    const { runIds } = await client.submit(workflow, { input: {} });
    const byStatus = await client.waitAll(runIds, { pollMs: LONE_POLL_MS, signal });
    refuseOthers(byStatus, 1, signal);
    if (signal.aborted) break;
    finals.push(performance.now() - submitted);
    hops.push(...(await hopsOf(client, runIds[0] as string)));
    await pause(REST_MS, signal);
    const share = Math.min((performance.now() - begun) / lasts, 1);
    onProgress("hops and lone runs", WARM_UP + FULL + share * (1 - WARM_UP - FULL));
  } while (performance.now() - begun < lasts && !signal.aborted);
  return { hops, finals };
}

async function hopsOf(client: Client, runId: string): Promise<number[]> {
  const nodes = await client.listNodes(runId);
  const stamps = nodes.map(({ output }) => (output as { at_us: number }).at_us).sort((a, b) => a - b);
  return stamps.slice(1).map((at, index) => (at - (stamps[index] as number)) / 1_000);
}
