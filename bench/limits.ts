/** What large things do: does each complete, how long does a script hold Redis meanwhile, and how much memory does each process take? */
import { spawnSync } from "node:child_process";
import { constants, setPriority } from "node:os";
import { performance } from "node:perf_hooks";
import { pause } from "../src/base/wait.ts";
import { cpuMs } from "./cpu.ts";
import { peakMemoryMb, resetPeakMemory } from "./memory.ts";
import type { Meter, ProcessName } from "./meter.ts";
import { untilAllFinal } from "./record_check.ts";
import type { Rig } from "./rig.ts";
import { beginNoting, type Held, readNoted } from "./script_calls.ts";
import { percentile } from "./statistics.ts";
import {
  fans,
  iterations,
  maps,
  openMap,
  SHAPES,
  signals,
  skips,
  type Workload,
  waits,
} from "./workloads.ts";

export interface LimitSizes {
  items: number;
  iterations: number;
  itemsOfEach: number;
  nodes: number;
  timers: number;
}

export interface Limit {
  name: string;
  title: string;
  /** As it was to end. */
  status: "COMPLETED" | "CANCELLED";
  seconds: number;
  executions: number;
  /** Of a run that was cancelled: from the command to its final row. */
  cancel_ms?: number;
  /** CPU time of Redis over all script calls, microseconds per call: free of what other processes take. */
  redis_cpu_us_per_call: number | null;
  held: Held;
  /** Megabytes at most; of several backends of Postgres (which count what they share) and of several workers the largest. */
  peak_memory_mb: Partial<Record<ProcessName, number | null>>;
  /** Keys of the run that are left in Redis. */
  keys_left: number;
}

export interface Timers {
  waits: number;
  /** From the time that was due to the end of the wait, milliseconds. */
  late_ms: { p50: number; p99: number; max: number };
}

export interface Limits {
  cases: Limit[];
  timers: Timers;
}

const WAIT_SHORT_MS = 150;

const POLL_MS = 20;
const SETTLE_MS = 500;

/** Processes that have just started make the peaks of memory these cases' own, and note the CPU time of script calls. */
export async function measureLimits(
  rig: Rig,
  meter: Meter,
  sizes: LimitSizes,
  onNotice: (line: string) => void,
): Promise<Limits> {
  const { items, nodes, timers } = sizes;
  const cases: Limit[] = [];
  favour((await meter.pids()).find(({ name }) => name === "redis")?.pid as number);
  const add = async (workload: Workload, cancelAfter?: number) => {
    onNotice(`limits: ${workload.title}${cancelAfter === undefined ? "" : ", cancelled"}`);
    cases.push(await measureCase(rig, meter, workload, cancelAfter));
  };
  await add(maps("limit-items", 1, items));
  await add(iterations(sizes.iterations, sizes.itemsOfEach));
  await add(fans(1, nodes, "limit-fan"));
  for (const shape of SHAPES) await add(skips(shape, nodes));
  await add(openMap(items), Math.floor(items / 5));
  await add(waits("limit-waits-cancelled", nodes), nodes);
  await add(signals(nodes), nodes);
  onNotice(`limits: ${timers} waits, one after the other`);
  return { cases, timers: await measureTimers(rig, timers) };
}

/** Other processes are not to stand between Redis and its script. Best effort, takes rights. */
function favour(pid: number): void {
  const realTime = spawnSync("chrt", ["--fifo", "--pid", "1", String(pid)], { stdio: "ignore" });
  if (realTime.status === 0) return;
  try {
    setPriority(pid, constants.priority.PRIORITY_HIGHEST);
  } catch {
    // The longest wall times then say less.
  }
}

/** What a run has on record. */
interface OnRecord extends Record<string, unknown> {
  status: string;
  executions: number;
  gapless: boolean;
}

async function measureCase(
  rig: Rig,
  meter: Meter,
  workload: Workload,
  cancelAfter: number | undefined,
): Promise<Limit> {
  const { name, title, steps } = workload;
  const workflow = await rig.client.register(workload.document(name));
  await beginNoting(rig.redis);
  const processes = await meter.pids();
  for (const { pid } of processes) resetPeakMemory(pid);
  const redisPid = processes.find((one) => one.name === "redis")?.pid as number;
  const cpuBefore = cpuMs(redisPid);
  const begun = performance.now();
  const { runIds } = await rig.client.submit(workflow, { input: {} });
  const runId = runIds[0] as string;
  let cancelledAt = Number.NaN;
  if (cancelAfter !== undefined) {
    while ((await readRun(rig, runId)).executions < cancelAfter) await pause(10 * POLL_MS);
    cancelledAt = performance.now();
    await rig.client.cancel(runId);
  }
  await untilAllFinal(rig, POLL_MS);
  const ended = performance.now();
  await pause(SETTLE_MS);
  const held = await readNoted(rig.redis);
  const cpuAfter = cpuMs(redisPid);
  const { status, executions, gapless } = await readRun(rig, runId);
  const wanted = cancelAfter === undefined ? "COMPLETED" : "CANCELLED";
  if (status !== wanted) throw new Error(`${title}: the run is ${status}, not ${wanted}`);
  if (cancelAfter === undefined && executions !== steps)
    throw new Error(`${title}: ${executions} executions are on record instead of ${steps}`);
  if (!gapless) throw new Error(`${title}: there are gaps in the numbers of event_log`);
  const peaks: Limit["peak_memory_mb"] = {};
  for (const { name: process, pid } of processes) {
    const peak = peakMemoryMb(pid);
    peaks[process] = peak === undefined ? null : Math.max(peak, peaks[process] ?? 0);
  }
  return {
    name,
    title: cancelAfter === undefined ? title : `${title}, cancelled`,
    status: wanted,
    seconds: (ended - begun) / 1_000,
    executions,
    ...(cancelAfter === undefined ? {} : { cancel_ms: ended - cancelledAt }),
    redis_cpu_us_per_call:
      cpuBefore === undefined || cpuAfter === undefined
        ? null
        : ((cpuAfter - cpuBefore) * 1_000) / held.calls,
    held,
    peak_memory_mb: peaks,
    keys_left: await countKeys(rig, runId),
  };
}

async function readRun(rig: Rig, runId: string): Promise<OnRecord> {
  const { rows } = await rig.database.query<OnRecord>(
    `select status, (select count(*) from hitzero.node_executions e where e.run_id = r.run_id)::int as executions,
       (select count(*) = coalesce(max(seq), 0) from hitzero.event_log e where e.run_id = r.run_id) as gapless
     from hitzero.runs r where run_id = $1`,
    [runId],
  );
  return rows[0] as OnRecord;
}

/** Keys of a run that is over, but for its tombstone. */
async function countKeys(rig: Rig, runId: string): Promise<number> {
  let left = 0;
  for await (const keys of rig.redis.scanStream({ match: `*${runId}*`, count: 1_000 }))
    left += (keys as string[]).filter((key) => !key.includes(":gone:")).length;
  return left;
}

/** Runs of one short wait, one after the other: nothing else is going on. */
async function measureTimers(rig: Rig, count: number): Promise<Timers> {
  const workflow = await rig.client.register(
    waits("limit-timers", 1, WAIT_SHORT_MS).document("limit-timers"),
  );
  for (let run = 0; run < count; run += 1) {
    await rig.client.submit(workflow, { input: {} });
    await untilAllFinal(rig, POLL_MS);
  }
  const { rows } = await rig.database.query<{ late: number }>(
    `select extract(epoch from (n.ended_at - (e.data ->> 'due')::timestamptz))::float8 * 1000 as late
     from hitzero.runs r join hitzero.event_log e using (run_id) join hitzero.node_executions n using (run_id, node_id, scope)
     where r.workflow_name = 'limit-timers' and e.event_type = 'node_waiting'`,
  );
  const late = rows.map((row) => row.late);
  if (late.length !== count) throw new Error(`${late.length} waits are on record instead of ${count}`);
  return {
    waits: count,
    late_ms: { p50: percentile(late, 50), p99: percentile(late, 99), max: percentile(late, 100) },
  };
}
