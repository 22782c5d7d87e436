/** The statements of the recording transaction. Rows come as one JSON text each, so that outputs pass through unparsed. */

import type { ErrorCause, ExecutionError } from "../token/journal.ts";
import { NODE_TRANSITIONS, type NodeStatus } from "../token/lifecycle.ts";
import type { IR } from "../workflow/ir.ts";
import type { Queryable, Row } from "./database.ts";

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
}

/** A run that an execution wants, and waits for. */
export interface ChildRecord {
  runId: string;
  parentRunId: string;
  parentNodeId: string;
  parentScope: string;
  workflow: string;
  version: number;
  digest: string;
  /** JSON text. */
  input: string;
}

/** What child runs are told: those of these parents, and those named. */
export interface CommandBelow {
  kind: "cancel" | "pause" | "resume";
  parents: string[];
  children: string[];
}

/** A child run that is over, with the execution that waits for it. */
export interface EndedChild extends Row {
  run_id: string;
  parent_run_id: string;
  parent_node_id: string;
  parent_scope: string;
  status: "COMPLETED" | "FAILED" | "CANCELLED";
  output: unknown;
  error: { code: string; message: string } | null;
}

export interface EventRecord {
  runId: string;
  seq: number;
  level: "DEBUG" | "INFO" | "WARN" | "ERROR";
  eventType: string;
  nodeId: string | null;
  scope: string | null;
  at: number;
  message: string;
  data: unknown;
}

export interface BlobRecord {
  runId: string;
  name: string;
  nodeId: string;
  scope: string;
  /** JSON text. */
  content: string;
}

export interface FinalRecord {
  runId: string;
  status: "COMPLETED" | "FAILED" | "CANCELLED";
  completedAt: number;
  /** JSON text. */
  output: string | null;
  error: { code: string; message: string; node_id?: string; causes?: ErrorCause[] } | null;
}

const LEGAL_TRANSITIONS = Object.entries(NODE_TRANSITIONS)
  .flatMap(([from, targets]) => targets.map((to) => `('${from}', '${to}')`))
  .concat("('RUNNING', 'RUNNING')") // handed out again after its worker was lost
  .concat("('WAITING', 'WAITING')") // a map that was looked after
  .join(", ");

const raw = (text: string | null) => text ?? "null";

/** Writes executions; one row each, moved along legal transitions only. Answers how many rows were written. */
export async function recordExecutions(
  client: Queryable,
  records: readonly ExecutionRecord[],
): Promise<number> {
  if (records.length === 0) return 0;
  const rows = records.map((record) => {
    const { output, ...plain } = record;
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

export async function recordEvents(client: Queryable, records: readonly EventRecord[]): Promise<void> {
  if (records.length === 0) return;
  await client.query(
    `insert into hitzero.event_log (run_id, seq, level, event_type, node_id, scope, at, message, data)
     select "runId", seq, level, "eventType", "nodeId", scope, to_timestamp(at / 1000), message, data
     from json_to_recordset($1::json) as new ("runId" uuid, seq bigint, level text, "eventType" text, "nodeId" text, scope text,
       at double precision, message text, data jsonb)`,
    [JSON.stringify(records)],
  );
}

export async function recordBlobs(client: Queryable, records: readonly BlobRecord[]): Promise<void> {
  // The same blob may come twice in a batch; of several rows for one key in one statement Postgres takes none.
  const byKey = new Map(records.map((blob) => [`${blob.runId}/${blob.name}`, blob]));
  for (const part of partsOf([...byKey.values()], MOST_BYTES)) {
    await client.query(
      `insert into hitzero.blobs (run_id, name, node_id, scope, bytes, content)
       select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::jsonb[])
       on conflict (run_id, name) do update set bytes = excluded.bytes, content = excluded.content`,
      [
        part.map(({ runId }) => runId),
        part.map(({ name }) => name),
        part.map(({ nodeId }) => nodeId),
        part.map(({ scope }) => scope),
        part.map(({ content }) => Buffer.byteLength(content)),
        part.map(({ content }) => content),
      ],
    );
  }
}

/** Text in one statement, about. */
const MOST_BYTES = 4 * 1024 * 1024;

function partsOf(records: readonly BlobRecord[], most: number): BlobRecord[][] {
  const parts: BlobRecord[][] = [];
  let size = Number.POSITIVE_INFINITY;
  for (const record of records) {
    if (size + record.content.length > most) {
      parts.push([]);
      size = 0;
    }
    parts.at(-1)?.push(record);
    size += record.content.length;
  }
  return parts;
}

export async function recordStarts(
  client: Queryable,
  starts: readonly { runId: string; at: number }[],
): Promise<void> {
  if (starts.length === 0) return;
  await client.query(
    `update hitzero.runs r set status = 'RUNNING', started_at = to_timestamp(new.at / 1000)
     from json_to_recordset($1::json) as new ("runId" uuid, at double precision)
     where r.run_id = new."runId" and r.status = 'PENDING'`,
    [JSON.stringify(starts)],
  );
}

/** Writes final statuses and totals. Final is final: a run that has one keeps it. */
export async function recordFinals(client: Queryable, finals: readonly FinalRecord[]): Promise<void> {
  if (finals.length === 0) return;
  const rows = finals.map((record) => {
    const { output, ...plain } = record;
    return `${JSON.stringify(plain).slice(0, -1)},"output":${raw(output)}}`;
  });
  await client.query(
    `update hitzero.runs r set status = new.status, completed_at = to_timestamp(new."completedAt" / 1000), output = new.output,
       error = new.error
     from json_to_recordset($1::json) as new ("runId" uuid, status text, "completedAt" double precision, output jsonb, error jsonb)
     where r.run_id = new."runId"
       and (r.status = 'RUNNING' or new.status = 'CANCELLED' and r.status in ('PENDING', 'PAUSED'))`,
    [`[${rows.join(",")}]`],
  );
  await client.query(
    `insert into hitzero.run_statistics (run_id, executions, completed, failed, skipped, handler_ms, wall_ms, completion_checks_saved)
     select r.run_id, count(e.*), count(*) filter (where e.status = 'COMPLETED'), count(*) filter (where e.status = 'FAILED'),
       count(*) filter (where e.status = 'SKIPPED'), coalesce(sum(e.duration_ms), 0),
       coalesce(extract(epoch from (r.completed_at - r.started_at)) * 1000, 0), count(*) filter (where e.status in ('COMPLETED', 'FAILED'))
     from hitzero.runs r left join hitzero.node_executions e using (run_id)
     where r.run_id = any ($1::uuid[]) group by r.run_id
     on conflict (run_id) do nothing`,
    [finals.map((record) => record.runId)],
  );
}

export interface DeadLetterRecord {
  runId: string;
  nodeId: string;
  scope: string;
  deliveries: number;
  workerId: string;
  diedAt: number;
}

export async function recordDeadLetters(
  client: Queryable,
  records: readonly DeadLetterRecord[],
): Promise<void> {
  if (records.length === 0) return;
  await client.query(
    `insert into hitzero.dead_letters (run_id, node_id, scope, deliveries, worker_id, died_at)
     select "runId", "nodeId", scope, deliveries, "workerId", to_timestamp("diedAt" / 1000)
     from json_to_recordset($1::json) as new ("runId" uuid, "nodeId" text, scope text, deliveries int, "workerId" text,
       "diedAt" double precision)
     on conflict (run_id, node_id, scope) do nothing`,
    [JSON.stringify(records)],
  );
}

/** Moves runs between RUNNING and PAUSED, in order. */
export async function recordStatuses(
  client: Queryable,
  statuses: readonly { runId: string; status: "RUNNING" | "PAUSED" }[],
): Promise<void> {
  for (const { runId, status } of statuses) {
    await client.query(
      `update hitzero.runs set status = $2 where run_id = $1 and status in ('RUNNING', 'PAUSED')`,
      [runId, status],
    );
  }
}

/** Writes the runs that executions wait for. Repeating it changes nothing: their ids follow from their parents. */
export async function recordChildren(client: Queryable, children: readonly ChildRecord[]): Promise<void> {
  if (children.length === 0) return;
  const rows = children.map(
    ({ input, ...plain }) => `${JSON.stringify(plain).slice(0, -1)},"input":${input}}`,
  );
  await client.query(
    `insert into hitzero.runs (run_id, partition, workflow_name, workflow_version, ir_digest, input, tags, parent_run_id, parent_node_id,
       parent_scope, depth)
     select "runId", p.partition, workflow, version, digest, new.input, p.tags, p.run_id, "parentNodeId", "parentScope", p.depth + 1
     from json_to_recordset($1::json) as new ("runId" uuid, "parentRunId" uuid, "parentNodeId" text, "parentScope" text, workflow text,
       version int, digest text, input jsonb)
     join hitzero.runs p on p.run_id = new."parentRunId"
     on conflict (run_id) do nothing`,
    [`[${rows.join(",")}]`],
  );
}

/** Gives these commands, in order, to the child runs among those meant that are not over. */
export async function commandChildren(client: Queryable, commands: readonly CommandBelow[]): Promise<void> {
  for (const { kind, parents, children } of commands) {
    await client.query(
      `insert into hitzero.commands (command_id, run_id, partition, kind)
       select gen_random_uuid(), run_id, partition, $3 from hitzero.runs
       where parent_node_id is not null and (parent_run_id = any ($1::uuid[]) or run_id = any ($2::uuid[]))
         and status in ('PENDING', 'RUNNING', 'PAUSED')`,
      [parents, children, kind],
    );
  }
}

/** Which of these runs are paused? */
export async function readPaused(client: Queryable, runIds: readonly string[]): Promise<Set<string>> {
  if (runIds.length === 0) return new Set();
  const { rows } = await client.query<{ run_id: string }>(
    "select run_id from hitzero.runs where run_id = any ($1::uuid[]) and status = 'PAUSED'",
    [runIds],
  );
  return new Set(rows.map((row) => row.run_id));
}

/** Which of these runs are children that are over? */
export async function readEndedChildren(client: Queryable, runIds: readonly string[]): Promise<EndedChild[]> {
  if (runIds.length === 0) return [];
  const { rows } = await client.query<EndedChild>(
    `select run_id, parent_run_id, parent_node_id, parent_scope, status, output, error from hitzero.runs
     where run_id = any ($1::uuid[]) and parent_node_id is not null and status in ('COMPLETED', 'FAILED', 'CANCELLED')`,
    [runIds],
  );
  return rows;
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
  reason: string | null;
  output: unknown;
  error: ExecutionError | null;
}

export interface WantedOutput {
  runId: string;
  nodeId: string;
  /** Null: any. */
  scope: string | null;
  /** Of a loop node: its last execution, whatever became of it; else the last one that ran. */
  last: boolean;
}

/** Reads what the run's own output or error is made of: how nodes came out last, or in one scope. */
export async function readOutputs(
  client: Queryable,
  wanted: readonly WantedOutput[],
): Promise<RecordedOutput[]> {
  if (wanted.length === 0) return [];
  const { rows } = await client.query<RecordedOutput>(
    // The longer of two iterations' names is the later one, as numbers are.
    `select distinct on (e.run_id, e.node_id) e.run_id, e.node_id, e.status, e.reason, coalesce(e.output, b.content) as output, e.error
     from json_to_recordset($1::json) as wanted ("runId" uuid, "nodeId" text, scope text, last boolean)
     join hitzero.node_executions e on e.run_id = wanted."runId" and e.node_id = wanted."nodeId"
       and (wanted.scope is null or e.scope = wanted.scope)
     left join hitzero.blobs b on b.run_id = e.run_id and b.name = e.output_blob
     order by e.run_id, e.node_id, (not wanted.last and e.status in ('COMPLETED', 'FAILED')) desc, length(e.scope) desc, e.scope desc`,
    [JSON.stringify(wanted)],
  );
  return rows;
}

/** The digests of the IRs that these runs run. */
export async function readDigests(
  client: Queryable,
  runIds: readonly string[],
): Promise<Map<string, string>> {
  if (runIds.length === 0) return new Map();
  const { rows } = await client.query<{ run_id: string; ir_digest: string }>(
    "select run_id, ir_digest from hitzero.runs where run_id = any ($1::uuid[])",
    [runIds],
  );
  return new Map(rows.map((row) => [row.run_id, row.ir_digest]));
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
