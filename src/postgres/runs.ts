/** Runs: what the record says of them. */
import { HitzeroError } from "../base/errors.ts";
import type { ErrorCause } from "../token/journal.ts";
import { isFinalRunStatus, type NodeStatus, RUN_STATUSES, type RunStatus } from "../token/lifecycle.ts";
import type { Queryable, Row } from "./database.ts";
import { dated, momentOf } from "./moments.ts";
import { LAST_EVENT_AT } from "./packed_events.ts";
import { spanOf } from "./run_span.ts";

/** A run as the record has it. Times are ISO 8601. */
export interface RunRow extends Row {
  run_id: string;
  partition: number;
  workflow_name: string;
  workflow_version: number;
  ir_digest: string;
  status: RunStatus;
  input: unknown;
  output: unknown;
  error: { code: string; message: string; node_id?: string; causes?: ErrorCause[] } | null;
  tags: string[];
  idempotency_key: string | null;
  /** The run that waits for this one (`parent_node_id` says where), or that this one was made from. */
  parent_run_id: string | null;
  parent_node_id: string | null;
  parent_scope: string | null;
  submitted_at: Date;
  started_at: Date | null;
  completed_at: Date | null;
}

const RUN_MOMENTS = ["submitted_at", "started_at", "completed_at"] as const;
const RUN_COLUMNS = `run_id, partition, workflow_name, workflow_version, ir_digest, status, input, output, error, tags,
  idempotency_key, parent_run_id, parent_node_id, parent_scope, ${RUN_MOMENTS.map(momentOf).join(", ")}`;

/** @throws HitzeroError RUN_NOT_FOUND */
export async function getRun(database: Queryable, runId: string): Promise<RunRow> {
  const valid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(runId);
  const { rows } = valid
    ? await database.query<RunRow>(`select ${RUN_COLUMNS} from hitzero.runs where run_id = $1`, [runId])
    : { rows: [] };
  const [row] = dated(rows, ...RUN_MOMENTS);
  if (!row) {
    throw new HitzeroError("RUN_NOT_FOUND", `there is no run ${runId.slice(0, 64)}`, {
      hint: "`npx hitzero run list` shows the runs.",
    });
  }
  return row;
}

/** What a run came to, or is at. */
export type RunResult = Pick<RunRow, "run_id" | "status" | "output" | "error">;

/** The results of these runs, in the same order. */
export async function listResults(database: Queryable, runIds: readonly string[]): Promise<RunResult[]> {
  if (runIds.length === 0) return [];
  const { rows } = await database.query<RunResult & Row>(
    `select r.run_id, r.status, r.output, r.error
     from unnest($1::uuid[]) with ordinality as wanted (id, place) join hitzero.runs r on r.run_id = wanted.id and r.run_id between $2 and $3 order by place`,
    [runIds, ...spanOf(runIds)],
  );
  return rows;
}

/** One execution among those of all runs. */
export interface ExecutionPlace {
  runId: string;
  nodeId: string;
  scope: string;
}

/** Of an execution that wants a child run: the runs above its own (0: it was submitted by itself), and the child that it has already. */
export async function readLineage(
  database: Queryable,
  { runId, nodeId, scope }: ExecutionPlace,
): Promise<{ depth: number; childRunId: string | null }> {
  const { rows } = await database.query<{ depth: number; child_run_id: string | null }>(
    `select r.depth, e.child_run_id from hitzero.runs r
     left join hitzero.node_executions e on e.run_id = r.run_id and e.node_id = $2 and e.scope = $3 where r.run_id = $1`,
    [runId, nodeId, scope],
  );
  return { depth: rows[0]?.depth ?? 0, childRunId: rows[0]?.child_run_id ?? null };
}

export interface RunFilter {
  status?: string;
  workflow?: string;
  tag?: string;
  limit?: number;
}

/** Newest first. Input and output are left out. @throws HitzeroError UNKNOWN_STATUS */
export async function listRuns(database: Queryable, filter: RunFilter): Promise<RunRow[]> {
  if (filter.status !== undefined && !(RUN_STATUSES as readonly string[]).includes(filter.status)) {
    throw new HitzeroError("UNKNOWN_STATUS", `there is no run status ${filter.status}`, {
      hint: `Use one of ${RUN_STATUSES.join(", ")}.`,
    });
  }
  const { rows } = await database.query<RunRow>(
    `select run_id, partition, workflow_name, workflow_version, ir_digest, status, error, tags, idempotency_key,
       parent_run_id, parent_node_id, parent_scope, ${RUN_MOMENTS.map(momentOf).join(", ")}
     from hitzero.runs r
     where ($1::text is null or status = $1) and ${amongThose(filter.status)}
       and ($2::text is null or workflow_name = $2) and ($3::text is null or $3 = any(tags))
     order by run_id desc limit $4`,
    [filter.status ?? null, filter.workflow ?? null, filter.tag ?? null, filter.limit ?? 20],
  );
  return dated(rows, ...RUN_MOMENTS);
}

/** SQL: where runs `r` of this status are found without looking at all runs. Most runs are COMPLETED: these are met soon anyway. */
function amongThose(status: string | undefined): string {
  if (status === undefined || status === "COMPLETED") return "true";
  if (isFinalRunStatus(status as RunStatus)) return "r.unsuccessful = $1";
  return "r.run_id in (select o.run_id from hitzero.open_runs o)";
}

export interface NodeExecutionRow extends Row {
  node_id: string;
  scope: string;
  attempt: number;
  retry_count: number;
  status: NodeStatus;
  reason: string | null;
  worker_id: string | null;
  started_at: Date | null;
  ended_at: Date | null;
  duration_ms: number | null;
  output: unknown;
  error: { code: string; message: string; stack?: string; causes?: ErrorCause[] } | null;
  from_nodes: string[];
  /** Of a sub-workflow node. */
  child_run_id: string | null;
}

export interface NodeFilter {
  /** With false the outputs are null, which is quicker. Default true. */
  outputs?: boolean;
  /** The first ones only. Default: all. */
  limit?: number;
  /** Of these nodes only. */
  nodeIds?: readonly string[];
}

const TIMES = `${momentOf("e.started_at")}, ${momentOf("e.ended_at")}, e.duration_ms::numeric`;

/** The executions of a run in order of time; large outputs are read from `blobs`. */
export async function listNodes(
  database: Queryable,
  runId: string,
  { outputs = true, limit, nodeIds }: NodeFilter = {},
): Promise<NodeExecutionRow[]> {
  const { rows } = await database.query<NodeExecutionRow>(
    `select e.node_id, e.scope, e.attempt, e.retry_count, e.status, e.reason, e.worker_id, ${TIMES},
       case when $2 then coalesce(e.output, b.content) end as output, e.error, e.from_nodes, e.child_run_id
     from hitzero.node_executions e
     left join hitzero.blobs b on $2 and b.run_id = e.run_id and b.name = e.output_blob
     where e.run_id = $1 and ($3::text[] is null or e.node_id = any ($3))
     order by coalesce(e.started_at, e.ended_at), e.ended_at, e.node_id limit $4`,
    [runId, outputs, nodeIds ?? null, limit ?? null],
  );
  return dated(rows, "started_at", "ended_at");
}

/** How many executions of each node there are, by status. */
export async function countNodes(
  database: Queryable,
  runId: string,
): Promise<Map<string, Partial<Record<NodeStatus, number>>>> {
  const { rows } = await database.query<{ node_id: string; status: NodeStatus; count: number }>(
    "select node_id, status, count(*)::int as count from hitzero.node_executions where run_id = $1 group by node_id, status",
    [runId],
  );
  const byNode = new Map<string, Partial<Record<NodeStatus, number>>>();
  for (const { node_id, status, count } of rows)
    byNode.set(node_id, { ...byNode.get(node_id), [status]: count });
  return byNode;
}

/** Of each of these nodes the first execution, and the first that failed; without outputs, in order of time. */
export async function listFirst(
  database: Queryable,
  runId: string,
  nodeIds: readonly string[],
): Promise<NodeExecutionRow[]> {
  if (nodeIds.length === 0) return [];
  const { rows } = await database.query<NodeExecutionRow>(
    `select e.node_id, e.scope, e.attempt, e.retry_count, e.status, e.reason, e.worker_id, ${TIMES},
       null as output, e.error, e.from_nodes, e.child_run_id
     from unnest($2::text[]) as wanted (id), lateral (
       select distinct on (status = 'FAILED') node_id, scope, attempt, retry_count, status, reason, worker_id, started_at, ended_at,
         duration_ms, error, from_nodes, child_run_id
       from hitzero.node_executions where run_id = $1 and node_id = wanted.id
       order by status = 'FAILED', coalesce(started_at, ended_at), ended_at) e
     order by coalesce(e.started_at, e.ended_at), e.ended_at, e.node_id`,
    [runId, nodeIds],
  );
  return dated(rows, "started_at", "ended_at");
}

export interface AcceptedRun {
  run_id: string;
  ir_digest: string;
  generation: number;
  input: string;
  /** It is the child of a run that is paused. */
  parent_paused: boolean;
}

/** Accepted runs of a partition that were not started within `graceMs`, oldest first. `input` is JSON text. */
export async function listUnstarted(
  database: Queryable,
  partition: number,
  graceMs: number,
  limit: number,
): Promise<AcceptedRun[]> {
  // Mostly there are none, and of `runs` no statement is planned then.
  const { rows: open } = await database.query<{ run_id: string }>(
    `select run_id from hitzero.open_runs
     where partition = $1 and started_at is null and submitted_at < now() - $2 * interval '1 millisecond'
     order by submitted_at limit $3`,
    [partition, graceMs, limit],
  );
  if (open.length === 0) return [];
  const { rows } = await database.query<AcceptedRun & Row>(
    `select r.run_id, r.ir_digest, r.generation, coalesce(r.input, 'null')::text as input,
       r.parent_node_id is not null and coalesce(p.status = 'PAUSED', false) as parent_paused
     from hitzero.runs r left join hitzero.runs p on p.run_id = r.parent_run_id
     where r.run_id = any ($1::uuid[]) and r.status = 'PENDING' order by r.submitted_at`,
    [open.map(({ run_id }) => run_id)],
  );
  return rows;
}

/** How many of these runs have each final status. */
export async function countFinal(
  database: Queryable,
  runIds: readonly string[],
): Promise<Record<string, number>> {
  if (runIds.length === 0) return {};
  // A plain list of thousands would be compared with the bounds of the partitions one by one.
  const { rows } = await database.query<{ status: string; count: number }>(
    `select status, count(*) from hitzero.runs where run_id = any (array(select unnest($1::uuid[]))) and run_id between $2 and $3
     and status in ('COMPLETED', 'FAILED', 'CANCELLED') group by status`,
    [runIds, ...spanOf(runIds)],
  );
  return Object.fromEntries(rows.map((row) => [row.status, row.count]));
}

/** Running runs of a partition that have shown no event for `quietMs`, by id, from behind `after` on. */
export async function listQuiet(
  database: Queryable,
  partition: number,
  { quietMs, after, limit }: { quietMs: number; after: string | null; limit: number },
): Promise<string[]> {
  const { rows } = await database.query<{ run_id: string }>(
    `select r.run_id from hitzero.open_runs o join hitzero.runs r using (run_id)
     where o.partition = $1 and o.started_at < now() - $2 * interval '1 millisecond'
       and ($3::uuid is null or o.run_id > $3) and r.status = 'RUNNING'
       and coalesce(${LAST_EVENT_AT}, r.started_at) <= now() - $2 * interval '1 millisecond'
     order by o.run_id limit $4`,
    [partition, quietMs, after, limit],
  );
  return rows.map((row) => row.run_id);
}
