/** How many runs and steps per second, and what each step costs. */
import { performance } from "node:perf_hooks";
import { pause } from "../src/base/wait.ts";
import type { RegisteredWorkflow } from "../src/engine/client/client.ts";
import type { Ledger } from "./ledger.ts";
import { type Meter, PROCESSES, type ProcessName, type Usage, usedBetween } from "./meter.ts";
import { type Counted, checkRecord, untilAllFinal } from "./record_check.ts";
import type { Rig } from "./rig.ts";
import { type Spread, spreadOf } from "./statistics.ts";
import type { Workload } from "./workloads.ts";

export interface Throughput {
  name: string;
  title: string;
  runs: number;
  steps: number;
  /** From the begin of the submit until the last run's row is final. */
  seconds: Spread;
  /** Of these, until all were submitted; runs begin meanwhile. */
  submit_seconds: Spread;
  steps_per_second: Spread;
  runs_per_second: Spread;
  cpu_us_per_step: Record<ProcessName, Spread | null>;
  bytes_per_step: Record<keyof Usage["bytes"], Spread | null>;
  redis_commands_per_step: Record<string, { calls: number; us: number }>;
  /** Rows counted after each sample. */
  counted: Counted[];
}

interface Sample {
  seconds: number;
  submitSeconds: number;
  usage: Usage;
  counted: Counted;
}

const POLL_MS = 50;
/** After the last final row the record is trimmed from Redis, which belongs to the cost. */
export const SETTLE_MS = 300;
/** Part of a sample's runs that warms up. */
const WARM_UP = 0.25;

export async function measureThroughput(
  rig: Rig,
  meter: Meter,
  ledger: Ledger,
  workload: Workload,
  samples: number,
  warmUp = true,
): Promise<Throughput> {
  const { name, title, runs, steps } = workload;
  if (warmUp) await takeSample(rig, meter, ledger, workload, "warm-up", Math.ceil(runs * WARM_UP));
  const taken: Sample[] = [];
  for (let number = 1; number <= samples; number += 1)
    taken.push(await takeSample(rig, meter, ledger, workload, `${number}`, runs));
  const spread = (value: (sample: Sample) => number) => spreadOf(taken.map(value));
  const spreadKnown = (value: (sample: Sample) => number | null) => {
    const known = taken.map(value).filter((one) => one !== null);
    return known.length === 0 ? null : spreadOf(known);
  };
  const perStep = (value: number | null) => (value === null ? null : value / (runs * steps));
  const byteKinds = Object.keys(taken[0]?.usage.bytes ?? {}) as (keyof Usage["bytes"])[];
  return {
    name,
    title,
    runs,
    steps: runs * steps,
    seconds: spread(({ seconds }) => seconds),
    submit_seconds: spread(({ submitSeconds }) => submitSeconds),
    steps_per_second: spread(({ seconds }) => (runs * steps) / seconds),
    runs_per_second: spread(({ seconds }) => runs / seconds),
    cpu_us_per_step: keyed(PROCESSES, (of) =>
      spreadKnown(({ usage }) => perStep(usage.cpu_ms[of] === null ? null : usage.cpu_ms[of] * 1_000)),
    ),
    bytes_per_step: keyed(byteKinds, (of) => spreadKnown(({ usage }) => perStep(usage.bytes[of]))),
    redis_commands_per_step: commandsPerStep(taken, runs * steps),
    counted: taken.map(({ counted }) => counted),
  };
}

async function takeSample(
  rig: Rig,
  meter: Meter,
  ledger: Ledger,
  workload: Workload,
  sample: string,
  runs: number,
): Promise<Sample> {
  const workflow = `${workload.name}-${sample}`;
  const registered = await rig.client.register(workload.document(workflow));
  const before = await meter.read();
  const times = await runAll(rig, registered, runs);
  await pause(SETTLE_MS);
  const usage = usedBetween(before, await meter.read());
  const expected = { runs, steps: runs * workload.steps };
  ledger.add(expected);
  const counted = await checkRecord(rig, expected, workflow, workload.count);
  return { ...times, usage, counted };
}

/** Submits runs and waits until all rows are final. */
export async function runAll(
  rig: Rig,
  workflow: RegisteredWorkflow,
  runs: number,
): Promise<{ seconds: number; submitSeconds: number }> {
  const begun = performance.now();
  await rig.client.submit(workflow, { count: runs, input: {} });
  const submitted = performance.now();
  await untilAllFinal(rig, POLL_MS);
  const ended = performance.now();
  return { seconds: (ended - begun) / 1_000, submitSeconds: (submitted - begun) / 1_000 };
}

/** Means over all samples, the dearest first. */
function commandsPerStep(samples: readonly Sample[], steps: number): Throughput["redis_commands_per_step"] {
  const totals = new Map<string, { calls: number; us: number }>();
  for (const { usage } of samples) {
    for (const [name, { calls, us }] of Object.entries(usage.redis_commands)) {
      const total = totals.get(name) ?? { calls: 0, us: 0 };
      totals.set(name, { calls: total.calls + calls, us: total.us + us });
    }
  }
  const all = steps * samples.length;
  const dearest = [...totals].filter(([, { us }]) => us > 0).sort(([, a], [, b]) => b.us - a.us);
  return Object.fromEntries(
    dearest.map(([name, { calls, us }]) => [name, { calls: calls / all, us: us / all }]),
  );
}

function keyed<K extends string, V>(names: readonly K[], value: (name: K) => V): Record<K, V> {
  return Object.fromEntries(names.map((name) => [name, value(name)])) as Record<K, V>;
}
