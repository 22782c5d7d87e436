/**
 * Does a step cost the same in a large workflow, beside many open runs, and above a long history? Each is measured in the same run as
 * the small case, with CPU time by process.
 *
 * Open runs and history stay when they are made: what is measured after the open runs has them beside it, too.
 */
import { pause } from "../src/base/wait.ts";
import { fillHistory } from "./history.ts";
import type { Ledger } from "./ledger.ts";
import { type Meter, PROCESSES, type ProcessName } from "./meter.ts";
import { teller } from "./progress.ts";
import type { Rig } from "./rig.ts";
import { measureThroughput, type Throughput } from "./throughput.ts";
import { chains, listeners, type Workload } from "./workloads.ts";

export const LARGE_SCENARIOS = ["large-nodes", "large-open", "large-history"] as const;
export type LargeScenario = (typeof LARGE_SCENARIOS)[number];

export interface LargeSizes {
  /** Of a sample of the small case. */
  chainRuns: number;
  /** Of the large workflow, and how many runs of it a sample has: as many as a worker performs at once. */
  nodes: number;
  nodeRuns: number;
  openRuns: number;
  /** Steps that are put on record before the sample. */
  recordedSteps: number;
}

export interface Large {
  small: Throughput;
  cases: LargeCase[];
}

export interface LargeCase {
  title: string;
  measured: Throughput;
  /** CPU per step against the small case: all processes, and each; null where it is not known, or was nothing. */
  ratio: number | null;
  ratios: Record<ProcessName, number | null>;
}

const SUBMITTED_AT_ONCE = 2_000;
const POLL_MS = 250;
/** Without a run that begins to wait. */
const STALL_MS = 120_000;

/** @throws Error when rows are missing */
export async function measureLarge(
  rig: Rig,
  meter: Meter,
  plan: { sizes: LargeSizes; samples: number; scenarios: readonly string[] },
  ledger: Ledger,
  onNotice: (line: string) => void,
): Promise<Large> {
  const { sizes, samples } = plan;
  const measured = async (title: string, workload: Workload, times = samples) => {
    onNotice(`large: ${title}, ${times} times after a warm-up`);
    // What was written before is not to be flushed within a sample.
    await rig.database.query("checkpoint");
    return measureThroughput(rig, meter, ledger, workload, times);
  };
  const chain = (name: string): Workload => ({ ...chains(sizes.chainRuns), name });
  // Processes that have just started are dearer than they will be: against them, all that comes later would look cheap.
  await measured("a long warm-up", chain("large-warm-up"), 1);
  const small = await measured("the small case", chain("large-small"));
  const cases: LargeCase[] = [];
  const add = async (title: string, workload: Workload) => {
    const one = comparedTo(small, title, await measured(title, workload));
    cases.push(one);
    onNotice(`large: ${title}: ${one.ratio?.toFixed(2) ?? "–"} × the CPU of a step of the small case`);
  };
  const wanted = (scenario: LargeScenario) => plan.scenarios.includes(scenario);
  const shown = (count: number) => count.toLocaleString("en");
  if (wanted("large-nodes")) {
    const { nodes, nodeRuns } = sizes;
    await add(`chains of ${shown(nodes)} nodes`, { ...chains(nodeRuns, nodes), name: "large-nodes" });
  }
  if (wanted("large-open")) {
    await openRuns(rig, sizes.openRuns, onNotice);
    await add(`beside ${shown(sizes.openRuns)} open runs`, chain("large-open"));
  }
  if (wanted("large-history")) {
    await fillHistory(rig, "large-small-1", sizes.recordedSteps, onNotice);
    await add(`after ${shown(sizes.recordedSteps)} recorded steps`, chain("large-history"));
  }
  return { small, cases };
}

function comparedTo(small: Throughput, title: string, measured: Throughput): LargeCase {
  const cost = (one: Throughput, name: ProcessName) => one.cpu_us_per_step[name]?.median ?? null;
  const all = (one: Throughput) =>
    PROCESSES.reduce<number | null>((sum, name) => {
      const us = cost(one, name);
      return sum === null || us === null ? null : sum + us;
    }, 0);
  const ratio = (large: number | null, base: number | null) =>
    large === null || base === null || base === 0 ? null : large / base;
  return {
    ...{ title, measured, ratio: ratio(all(measured), all(small)) },
    ratios: Object.fromEntries(
      PROCESSES.map((name) => [name, ratio(cost(measured, name), cost(small, name))]),
    ) as Record<ProcessName, number | null>,
  };
}

/** Has so many runs wait for a signal that never comes; returns when all of them are on record as waiting. */
async function openRuns(rig: Rig, count: number, onNotice: (line: string) => void): Promise<void> {
  const workflow = await rig.client.register(listeners("large-listeners"));
  const tell = teller(count, "runs wait for a signal", onNotice);
  let last = "";
  for (let submitted = 0; submitted < count; submitted += SUBMITTED_AT_ONCE) {
    const size = Math.min(SUBMITTED_AT_ONCE, count - submitted);
    const { runIds } = await rig.client.submit(workflow, { count: size, input: {} });
    for (const runId of runIds) if (runId > last) last = runId;
    tell(await countWaiting(rig));
  }
  rig.staysOpen = last;
  let waiting = 0;
  let progressAt = performance.now();
  while (waiting < count) {
    await pause(POLL_MS);
    const now = await countWaiting(rig);
    if (now > waiting) progressAt = performance.now();
    else if (performance.now() - progressAt > STALL_MS)
      throw new Error(`only ${now} of ${count} runs wait for their signal`);
    waiting = now;
    tell(waiting);
  }
}

async function countWaiting(rig: Rig): Promise<number> {
  const { rows } = await rig.database.query<{ waiting: number }>(
    `select count(*)::int as waiting from hitzero.runs r join hitzero.node_executions e using (run_id)
      where r.workflow_name = 'large-listeners' and e.status = 'WAITING'`,
  );
  return rows[0]?.waiting ?? 0;
}
