/** What a run comes to, in the recording transaction: its final row, and what that is made of. */

import type { ErrorCause, ExecutionError } from "../token/journal.ts";
import type { NodeStatus } from "../token/lifecycle.ts";
import type { IR } from "../workflow/ir/ir.ts";
import type { Queryable, Row } from "./database.ts";
import { rowsOf } from "./record.ts";
import { spanOf } from "./run_span.ts";

/** Of the executions of a run, each of which has one of these outcomes. */
export interface RunTotals {
  completed: number;
  failed: number;
  skipped: number;
  /** Sum of the handlers' durations, ms. */
  handlerMs: number;
}

export const noTotals = (): RunTotals => ({ completed: 0, failed: 0, skipped: 0, handlerMs: 0 });

export interface FinalRecord {
  runId: string;
  status: "COMPLETED" | "FAILED" | "CANCELLED";
  /** With which it started, if that is not on record yet. */
  startedAt?: number | undefined;
  completedAt: number;
  /** JSON text. */
  output: string | null;
  error: { code: string; message: string; node_id?: string; causes?: ErrorCause[] } | null;
  /** Undefined: its executions are counted. */
  totals?: RunTotals | undefined;
}

/**
 * Writes final statuses and totals. Final is final: a run that has one keeps it. Answers the runs that took theirs.
 */
export async function recordFinals(client: Queryable, finals: readonly FinalRecord[]): Promise<Set<string>> {
  if (finals.length === 0) return new Set();
  const taken = await client.query<{ run_id: string }>(...takingFinals(finals));
  const runIds = new Set(taken.rows.map(({ run_id }) => run_id));
  await recordStatistics(
    client,
    finals.flatMap(({ runId, totals }) => (totals === undefined && runIds.has(runId) ? [runId] : [])),
  );
  return runIds;
}

const FINAL_COLUMNS = {
  ...{ run_id: "uuid", status: "text", started_at: "double precision", at: "double precision" },
  ...{ output: "text", error: "text" },
  ...{ completed: "int", failed: "int", skipped: "int", handler_ms: "double precision" },
};
/** What stands for null: a session may be set to take NULL in a list for a text (`array_nulls`). Neither is a value of its column. */
const NONE = -1;
const NO_TEXT = "";
const FINAL_TYPES = Object.values(FINAL_COLUMNS);
/** Characters of outputs that cross as one list: each is escaped within it. Larger ones cross as they are, and are planned each time. */
const LISTED_OUTPUTS = 256 * 1024;

/**
 * The statement that gives these runs their final statuses and closes them, with its values. For the planner's sake their ids stand beside the
 * join, and their states within `coalesce` (see `recordStarts`).
 */
function takingFinals(finals: readonly FinalRecord[]): [sql: string, values: unknown[]] {
  const rows = finals.map(({ runId, status, startedAt, completedAt, output, error, totals }) => [
    ...[runId, status, startedAt ?? NONE, completedAt],
    ...[output ?? NO_TEXT, error === null ? NO_TEXT : JSON.stringify(error)],
    ...[
      totals?.completed ?? NONE,
      totals?.failed ?? NONE,
      totals?.skipped ?? NONE,
      totals?.handlerMs ?? NONE,
    ],
  ]);
  const isListed = finals.reduce((sum, { output }) => sum + (output?.length ?? 0), 0) <= LISTED_OUTPUTS;
  const source = isListed
    ? `unnest(${FINAL_TYPES.map((type, index) => `$${index + 3}::${type}[]`).join(", ")})`
    : `(values ${rowsOf(FINAL_TYPES, finals.length, 2)})`;
  const sql = `with new as (
      select run_id, status, nullif(started_at, ${NONE}) as started_at, at, nullif(output, '')::jsonb as output,
        nullif(error, '')::jsonb as error, nullif(completed, ${NONE}) as completed, failed, skipped, handler_ms
      from ${source} as new (${Object.keys(FINAL_COLUMNS).join(", ")})
    ), taken as (
      update hitzero.runs r set status = new.status, completed_at = to_timestamp(new.at / 1000), output = new.output, error = new.error,
        started_at = case when r.status = 'PENDING' then to_timestamp(new.started_at / 1000) else r.started_at end
      from new
      where r.run_id = any (array(select run_id from new)) and r.run_id = new.run_id and r.run_id between $1 and $2
        and coalesce(r.status = 'RUNNING' or r.status = 'PENDING' and new.started_at is not null
          or new.status = 'CANCELLED' and r.status in ('PENDING', 'PAUSED'), false)
      returning r.run_id, r.started_at, r.completed_at, new.completed, new.failed, new.skipped, new.handler_ms
    ), gone as (
      delete from hitzero.open_runs o
      where o.run_id = any (array(select run_id from taken))
    ), counted as (
      insert into hitzero.run_statistics (run_id, executions, completed, failed, skipped, handler_ms, wall_ms, completion_checks_saved)
      select run_id, completed + failed + skipped, completed, failed, skipped, handler_ms,
        coalesce(extract(epoch from (completed_at - started_at)) * 1000, 0), completed + failed
      from taken where completed is not null)
    select run_id from taken`;
  const values = isListed ? FINAL_TYPES.map((_type, index) => rows.map((row) => row[index])) : rows.flat();
  return [sql, [...spanOf(finals.map(({ runId }) => runId)), ...values]];
}

/** Writes the totals of runs that are over, run by run: a join over all of them makes a planner without statistics read the whole table. */
export async function recordStatistics(client: Queryable, runIds: readonly string[]): Promise<void> {
  if (runIds.length === 0) return;
  await client.query(
    `insert into hitzero.run_statistics (run_id, executions, completed, failed, skipped, handler_ms, wall_ms, completion_checks_saved)
     select r.run_id, of_run.executions, of_run.completed, of_run.failed, of_run.skipped, of_run.handler_ms,
       coalesce(extract(epoch from (r.completed_at - r.started_at)) * 1000, 0), of_run.completed + of_run.failed
     from unnest($1::uuid[]) as over (run_id)
     cross join lateral (
       select known.run_id, known.started_at, known.completed_at from hitzero.runs known
       where known.run_id = over.run_id and known.run_id between $2 and $3 limit 1) r
     cross join lateral (
       select count(*) as executions, count(*) filter (where e.status = 'COMPLETED') as completed,
         count(*) filter (where e.status = 'FAILED') as failed, count(*) filter (where e.status = 'SKIPPED') as skipped,
         coalesce(sum(e.duration_ms), 0) as handler_ms
       from hitzero.node_executions e where e.run_id = r.run_id and e.run_id between $2 and $3) of_run
     on conflict (run_id) do nothing`,
    [runIds, ...spanOf(runIds)],
  );
}

/** The nodes of a halted run that were never activated are CANCELLED, too. */
export async function recordNeverActivated(
  client: Queryable,
  halted: readonly { runId: string; nodeIds: readonly string[]; at: number; reason: string }[],
): Promise<void> {
  for (const { runId, nodeIds, at, reason } of halted) {
    await client.query(
      `insert into hitzero.node_executions (run_id, node_id, scope, attempt, status, reason, ended_at)
       select $1, id, '', 0, 'CANCELLED', $4, to_timestamp($3::double precision / 1000) from unnest($2::text[]) as node (id)
       on conflict (run_id, node_id, scope) do nothing`,
      [runId, nodeIds, at, reason],
    );
  }
}

export interface RecordedOutput extends Row {
  run_id: string;
  node_id: string;
  status: NodeStatus;
  /** JSON text. */
  output: string | null;
  error: ExecutionError | null;
}

export interface WantedOutput {
  runId: string;
  nodeId: string;
  /** Null: any. */
  scope: string | null;
  /** Of a loop node: its last execution, whatever became of it; else the last one that ran. */
  last: boolean;
  /** Only if that execution has this reason. */
  reason?: string;
}

/**
 * The executions that are wanted, one by one: a join over all of them makes a planner without statistics read the whole table. The longer
 * of two iterations' names is the later one, as numbers are.
 */
const CHOSEN = `json_to_recordset($1::json) as wanted ("runId" uuid, "nodeId" text, scope text, last boolean, reason text)
  cross join lateral (
    select e.run_id, e.node_id, e.status, e.reason, e.output, e.output_blob, e.error from hitzero.node_executions e
    where e.run_id = wanted."runId" and e.run_id between $2 and $3
      and e.node_id = wanted."nodeId" and (wanted.scope is null or e.scope = wanted.scope)
    order by (not wanted.last and e.status in ('COMPLETED', 'FAILED')) desc, length(e.scope) desc, e.scope desc limit 1) e
  where (wanted.reason is null or wanted.reason = e.reason)`;
const OF_BLOB =
  "from hitzero.blobs b where b.run_id = e.run_id and b.run_id between $2 and $3 and b.name = e.output_blob";
const chosenBy = (wanted: readonly WantedOutput[]) => [
  JSON.stringify(wanted),
  ...spanOf(wanted.map(({ runId }) => runId)),
];

/** Reads what the run's own output or error is made of: how nodes came out last, or in one scope. */
export async function readOutputs(
  client: Queryable,
  wanted: readonly WantedOutput[],
): Promise<RecordedOutput[]> {
  if (wanted.length === 0) return [];
  const { rows } = await client.query<RecordedOutput>(
    `select e.run_id, e.node_id, e.status, coalesce(e.output, (select b.content ${OF_BLOB}))::text as output, e.error from ${CHOSEN}`,
    chosenBy(wanted),
  );
  return rows;
}

/** Bytes that `readOutputs` would read, about, by run. */
export async function readOutputBytes(
  client: Queryable,
  wanted: readonly WantedOutput[],
): Promise<Map<string, number>> {
  if (wanted.length === 0) return new Map();
  const { rows } = await client.query<{ run_id: string; bytes: number }>(
    `select e.run_id, sum(coalesce(pg_column_size(e.output), (select b.bytes ${OF_BLOB}), 0)) as bytes from ${CHOSEN} group by e.run_id`,
    chosenBy(wanted),
  );
  return new Map(rows.map(({ run_id, bytes }) => [run_id, bytes]));
}

/** Nodes of which every run has an execution: those outside of bodies that are not there to undo others. */
export function nodesOnRecord(ir: IR): string[] {
  return ir.nodes.flatMap(({ id, body, compensates }) => (body < 0 && compensates === undefined ? [id] : []));
}

/** Nodes of a run that have no outcome on record (20 at most). */
export async function readUnrecorded(client: Queryable, runId: string, ir: IR): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `select id from unnest($2::text[]) as node (id)
     where not exists (select 1 from hitzero.node_executions e where e.run_id = $1 and e.node_id = id
       and e.status in ('COMPLETED', 'FAILED', 'SKIPPED'))
     limit 20`,
    [runId, nodesOnRecord(ir)],
  );
  return rows.map(({ id }) => id);
}

export async function readInput(client: Queryable, runId: string): Promise<unknown> {
  const { rows } = await client.query<{ input: unknown }>(
    "select input from hitzero.runs where run_id = $1",
    [runId],
  );
  return rows[0]?.input ?? null;
}
