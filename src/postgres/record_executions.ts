/** Executions in the recording transaction: copied where nothing of them can be on record, else moved along legal transitions. */

import type { ExecutionError } from "../token/journal.ts";
import { mayNodeBecome, NODE_STATUSES, type NodeStatus } from "../token/lifecycle.ts";
import type { Queryable, Row } from "./database.ts";
import { spanOf } from "./run_span.ts";

/** Times in ms since 1970 throughout. */
export interface ExecutionRecord {
  runId: string;
  nodeId: string;
  scope: string;
  attempt: number;
  status: NodeStatus;
  reason: string | null;
  workerId: string | null;
  startedAt: number | null;
  endedAt: number | null;
  /** JSON text. */
  output: string | null;
  outputBlob: string | null;
  error: ExecutionError | null;
  fromNodes: string[];
  /** Of one that waits for a child run. */
  childRunId?: string;
  /** Nothing of it can be on record, as far as the journal tells. */
  isFirst?: boolean;
}

/** May an execution with one status on record be given the other? RUNNING again: its worker was lost; WAITING again: a map was looked after. */
export function isLegal(from: NodeStatus, to: NodeStatus): boolean {
  const isRepeat = from === to && (from === "RUNNING" || from === "WAITING");
  return isRepeat || mayNodeBecome(from, to);
}

const LEGAL_TRANSITIONS = NODE_STATUSES.flatMap((from) =>
  NODE_STATUSES.filter((to) => isLegal(from, to)).map((to) => `('${from}', '${to}')`),
).join(", ");

const raw = (text: string | null) => text ?? "null";

/** Writes executions; one row each, moved along legal transitions only. Answers how many rows were written. */
export async function recordExecutions(
  client: Queryable,
  records: readonly ExecutionRecord[],
): Promise<number> {
  if (records.length === 0) return 0;
  const rows = records.map((record) => {
    const { output, isFirst: _isFirst, ...plain } = record;
    return `${JSON.stringify(plain).slice(0, -1)},"output":${raw(output)}}`;
  });
  const { rowCount } = await client.query(
    `insert into hitzero.node_executions as known
       (run_id, node_id, scope, attempt, retry_count, status, reason, worker_id, started_at, ended_at, output, output_blob, error, from_nodes,
        child_run_id)
     select "runId", "nodeId", scope, attempt, greatest(attempt - 1, 0), status, reason, "workerId",
       to_timestamp("startedAt" / 1000), to_timestamp("endedAt" / 1000), output, "outputBlob", error, "fromNodes",
       "childRunId"
     from json_to_recordset($1::json) as new ("runId" uuid, "nodeId" text, scope text, attempt int, status text, reason text,
       "workerId" text, "startedAt" double precision, "endedAt" double precision, output jsonb, "outputBlob" text, error jsonb,
       "fromNodes" text[], "childRunId" uuid)
     on conflict (run_id, node_id, scope) do update set attempt = excluded.attempt, retry_count = excluded.retry_count,
       status = excluded.status, reason = excluded.reason, worker_id = excluded.worker_id,
       started_at = case when known.status = 'WAITING' then known.started_at else excluded.started_at end,
       child_run_id = coalesce(excluded.child_run_id, known.child_run_id),
       ended_at = excluded.ended_at, output = excluded.output, output_blob = excluded.output_blob, error = excluded.error,
       from_nodes = excluded.from_nodes
     where (known.status, excluded.status) in (${LEGAL_TRANSITIONS})`,
    [`[${rows.join(",")}]`],
  );
  return rowCount ?? 0;
}

export interface StatusOnRecord extends Row {
  run_id: string;
  node_id: string;
  scope: string;
  status: NodeStatus;
}

/** Statuses of these executions, as far as they are on record. */
export async function readNodeStatuses(
  client: Queryable,
  records: readonly Pick<ExecutionRecord, "runId" | "nodeId" | "scope">[],
): Promise<StatusOnRecord[]> {
  if (records.length === 0) return [];
  const runIds = records.map(({ runId }) => runId);
  const { rows } = await client.query<StatusOnRecord>(
    // One by one, as a planner without statistics reads the whole table for a join.
    `select wanted.run_id, wanted.node_id, wanted.scope, e.status
     from unnest($1::uuid[], $2::text[], $3::text[]) as wanted (run_id, node_id, scope)
     cross join lateral (
       select e.status from hitzero.node_executions e
       where e.run_id = wanted.run_id and e.run_id between $4 and $5 and e.node_id = wanted.node_id and e.scope = wanted.scope limit 1) e`,
    [runIds, records.map(({ nodeId }) => nodeId), records.map(({ scope }) => scope), ...spanOf(runIds)],
  );
  return rows;
}
