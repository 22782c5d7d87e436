/** Whether Postgres holds the whole history. A benchmark whose record is not whole has measured nothing. */
import { performance } from "node:perf_hooks";
import { pause } from "../src/base/wait.ts";
import type { Rig } from "./rig.ts";

/** What must be there. */
export interface Expected {
  runs: number;
  steps: number;
}

/** Rows that were counted. All of them agree with what was submitted. */
export interface Counted {
  runs: number;
  node_executions: number;
  events: number;
}

interface Facts extends Record<string, unknown> {
  runs: number;
  completed: number;
  executions: number;
  completed_executions: number;
  statistics: number;
  events: number;
  node_events: number;
  run_events: number;
  gapless: boolean;
  outputs: number;
}

/** Without a new entry on record. Longer than a lost worker's tokens take to be handed out again. */
const STALL_MS = 60_000;

/** Runs of a workflow, or of all when it is null. */
const FACTS = `
  with chosen as (select * from hitzero.runs where $1::text is null or workflow_name = $1),
  executions as (select e.status from hitzero.node_executions e join chosen using (run_id)),
  events as (select run_id, event_type, seq from hitzero.event_log e join chosen using (run_id))
  select
    (select count(*) from chosen)::int as runs,
    (select count(*) from chosen where status = 'COMPLETED')::int as completed,
    (select count(*) from chosen where $2::int is not null and (output ->> 'count')::int = $2)::int as outputs,
    (select count(*) from executions)::int as executions,
    (select count(*) from executions where status = 'COMPLETED')::int as completed_executions,
    (select coalesce(sum(s.completed), 0) from hitzero.run_statistics s join chosen using (run_id))::int as statistics,
    (select count(*) from events)::int as events,
    (select count(*) from events where event_type = 'node_completed')::int as node_events,
    (select count(*) from events where event_type in ('run_started', 'run_completed'))::int as run_events,
    (select coalesce(bool_and(rows = last), true) from (
      select count(*) as rows, max(seq) as last from events group by run_id) per_run) as gapless`;

/**
 * Counts the rows of a workflow's runs, or of everything.
 * @param count what `count` must be in every run's output, if given
 * @throws Error that names what is missing
 */
export async function checkRecord(
  rig: Rig,
  expected: Expected,
  workflow?: string,
  count?: number,
): Promise<Counted> {
  const { rows } = await rig.database.query<Facts>(FACTS, [workflow ?? null, count ?? null]);
  const facts = rows[0] as Facts;
  const { runs, steps } = expected;
  const wrong = [
    [facts.runs, runs, "runs"],
    [facts.completed, runs, "runs that are COMPLETED"],
    [facts.executions, steps, "rows in node_executions"],
    [facts.completed_executions, steps, "executions that are COMPLETED"],
    [facts.statistics, steps, "executions counted in run_statistics"],
    [facts.node_events, steps, "events node_completed"],
    [facts.run_events, 2 * runs, "events run_started and run_completed"],
    [facts.outputs, count === undefined ? facts.outputs : runs, `outputs with the count ${count}`],
  ].flatMap(([found, wanted, what]) => (found === wanted ? [] : [`${found} instead of ${wanted} ${what}`]));
  if (!facts.gapless) wrong.push("gaps in the numbers of event_log");
  if (wrong.length > 0)
    throw new Error(`the record of ${workflow ?? "everything"} is not whole: ${wrong.join("; ")}`);
  return { runs: facts.runs, node_executions: facts.executions, events: facts.events };
}

/**
 * Waits until no run lacks a final status, but for those that are meant to stay open.
 * @throws Error when nothing is recorded for a long time
 */
export async function untilAllFinal(rig: Rig, pollMs: number): Promise<void> {
  let last = "";
  let progressAt = performance.now();
  while (await isUnfinished(rig)) {
    const recorded = await readRecorded(rig);
    if (recorded !== last) progressAt = performance.now();
    else if (performance.now() - progressAt > STALL_MS)
      throw new Error(`runs are not final, and nothing was recorded for ${STALL_MS / 1_000} s`);
    last = recorded;
    await pause(pollMs);
  }
}

/** Stops at the first: what the benchmark asks is charged to what it measures. */
async function isUnfinished(rig: Rig): Promise<boolean> {
  const { rows } = await rig.database.query<{ unfinished: boolean }>(
    "select exists (select 1 from hitzero.open_runs where partition = 0 and run_id > $1::uuid) as unfinished",
    [rig.staysOpen],
  );
  return rows[0]?.unfinished === true;
}

async function readRecorded(rig: Rig): Promise<string> {
  const { rows } = await rig.database.query<{ recorded: string }>(
    "select sum(recorded_seq)::text as recorded from hitzero.partitions",
  );
  return rows[0]?.recorded ?? "";
}
