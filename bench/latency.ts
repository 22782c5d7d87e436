/** How long one run alone takes from step to step: runs one after the other on an idle engine. */
import { pause } from "../src/base/wait.ts";
import type { RegisteredWorkflow } from "../src/engine/client/client.ts";
import type { Ledger } from "./ledger.ts";
import { checkRecord, untilAllFinal } from "./record_check.ts";
import type { Rig } from "./rig.ts";
import { percentile, type Spread, spreadOf } from "./statistics.ts";
import { stampedChain } from "./workloads.ts";

/** Whether tokens stay with the worker that made them, or pass through a stream to another worker. */
export type Passing = "handed_over" | "streamed";

interface Percentiles {
  p50: Spread;
  p99: Spread;
}

export interface Latency {
  name: Passing;
  runs: number;
  hops: number;
  /** From the entry of one handler to the entry of the next. */
  hop_ms: Percentiles;
  /** From the begin of the submit to the entry of the first handler: the row in Postgres, the start, the stream. */
  submit_to_first_handler_ms: Percentiles;
  /** From the entry of the last handler until the run's final row was read. */
  last_handler_to_final_row_ms: Percentiles;
}

export interface Times {
  hop: number[];
  first: number[];
  last: number[];
}

const POLL_MS = 1;
/** The engine is idle again after this time. */
export const REST_MS = 5;
const WARM_UP_RUNS = 20;

/** The clock of the handler `stamp`. */
const nowUs = () => Number(process.hrtime.bigint() / 1_000n);

export async function measureLatency(
  rig: Rig,
  ledger: Ledger,
  passing: Passing,
  runs: number,
  samples: number,
): Promise<Latency> {
  const { document, steps } = stampedChain(passing);
  const name = `latency-${passing}`;
  const workflow = await rig.client.register(document(name));
  await runOneByOne(rig, workflow, Math.min(WARM_UP_RUNS, runs));
  const taken: Times[] = [];
  for (let sample = 0; sample < samples; sample += 1) taken.push(await runOneByOne(rig, workflow, runs));
  const done = samples * runs + Math.min(WARM_UP_RUNS, runs);
  const expected = { runs: done, steps: done * steps };
  ledger.add(expected);
  await checkRecord(rig, expected, name);
  const percentiles = (of: keyof Times): Percentiles => ({
    p50: spreadOf(taken.map((times) => percentile(times[of], 50))),
    p99: spreadOf(taken.map((times) => percentile(times[of], 99))),
  });
  return {
    name: passing,
    runs,
    hops: runs * (steps - 1),
    hop_ms: percentiles("hop"),
    submit_to_first_handler_ms: percentiles("first"),
    last_handler_to_final_row_ms: percentiles("last"),
  };
}

/** Runs of a stamped chain, each on an idle engine. Looking for its end often makes that exact, and takes CPU from the hops. */
export async function runOneByOne(
  rig: Rig,
  workflow: RegisteredWorkflow,
  runs: number,
  pollMs = POLL_MS,
): Promise<Times> {
  const observed = new Map<string, { submitted: number; final: number }>();
  for (let run = 0; run < runs; run += 1) {
    const submitted = nowUs();
    const { runIds } = await rig.client.submit(workflow, { input: {} });
    const runId = runIds[0] as string;
    await untilAllFinal(rig, pollMs);
    observed.set(runId, { submitted, final: nowUs() });
    await pause(REST_MS);
  }
  return timesOf(observed, await readStamps(rig, [...observed.keys()]));
}

/** Entries of each run's handlers in order of time. */
async function readStamps(rig: Rig, runIds: readonly string[]): Promise<Map<string, number[]>> {
  const { rows } = await rig.database.query<{ run_id: string; stamps: number[] }>(
    `select run_id, array_agg((output ->> 'at_us')::float8 order by (output ->> 'at_us')::float8) as stamps
      from hitzero.node_executions where run_id = any ($1::uuid[]) group by run_id`,
    [runIds],
  );
  return new Map(rows.map(({ run_id, stamps }) => [run_id, stamps]));
}

function timesOf(
  observed: ReadonlyMap<string, { submitted: number; final: number }>,
  stamps: ReadonlyMap<string, readonly number[]>,
): Times {
  const times: Times = { hop: [], first: [], last: [] };
  for (const [runId, { submitted, final }] of observed) {
    const entries = stamps.get(runId) ?? [];
    times.first.push(((entries[0] as number) - submitted) / 1_000);
    times.last.push((final - (entries.at(-1) as number)) / 1_000);
    entries.slice(1).forEach((entry, index) => {
      times.hop.push((entry - (entries[index] as number)) / 1_000);
    });
  }
  return times;
}
