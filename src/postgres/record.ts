/** The statements of the recording transaction, but for those of executions and events. Times in ms since 1970. Rows come as one JSON text each. */

import type { RunStatus } from "../token/lifecycle.ts";
import type { Queryable, Row } from "./database.ts";
import { opened } from "./open_runs.ts";
import { spanOf } from "./run_span.ts";
import type { ExecutionPlace } from "./runs.ts";

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

/** What child runs are told: all those of these parents, and that of each of these executions. */
export interface CommandBelow {
  kind: "cancel" | "pause" | "resume";
  parents: string[];
  children: ExecutionPlace[];
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

export interface BlobRecord {
  runId: string;
  name: string;
  nodeId: string;
  scope: string;
  /** JSON text. */
  content: string;
}

/** Statuses of these runs. */
export async function readRunStatuses(
  client: Queryable,
  runIds: readonly string[],
): Promise<Map<string, RunStatus>> {
  if (runIds.length === 0) return new Map();
  const { rows } = await client.query<{ run_id: string; status: RunStatus }>(
    "select run_id, status from hitzero.runs where run_id = any ($1::uuid[])",
    [runIds],
  );
  return new Map(rows.map((row) => [row.run_id, row.status]));
}

/**
 * Rows of parameters, `($1::uuid, $2::text), …`: large values cross as they are, not escaped within a list or another JSON text. `before`: so
 * many parameters come before them.
 */
export function rowsOf(types: readonly string[], count: number, before = 0): string {
  const row = (number: number) =>
    `(${types.map((type, index) => `$${before + number * types.length + index + 1}::${type}`).join(", ")})`;
  return Array.from({ length: count }, (_row, number) => row(number)).join(", ");
}

/** Writes large outputs and items, 10,000 at most. The same one may come again. */
export async function recordBlobs(client: Queryable, records: readonly BlobRecord[]): Promise<void> {
  const types = ["uuid", "text", "text", "text", "int", "jsonb"];
  await client.query(
    `insert into hitzero.blobs (run_id, name, node_id, scope, bytes, content) values ${rowsOf(types, records.length)}
     on conflict (run_id, name) do update set bytes = excluded.bytes, content = excluded.content`,
    records.flatMap(({ runId, name, nodeId, scope, content }) => [
      ...[runId, name, nodeId, scope],
      ...[Buffer.byteLength(content), content],
    ]),
  );
}

/**
 * Their ids stand beside the join, and their states within `coalesce`, for the planner's sake: where nearly all runs are
 * over, it takes those that are PENDING for one, reads the whole table to find it, and compares each that it finds with each of the batch.
 */
export async function recordStarts(
  client: Queryable,
  starts: readonly { runId: string; at: number }[],
): Promise<void> {
  if (starts.length === 0) return;
  await client.query(
    `with began as (
       update hitzero.runs r set status = 'RUNNING', started_at = to_timestamp(new.at / 1000)
       from unnest($1::uuid[], $2::double precision[]) as new (run_id, at)
       where r.run_id = any ($1::uuid[]) and r.run_id = new.run_id and coalesce(r.status = 'PENDING', false)
       returning r.run_id)
     update hitzero.open_runs o set started_at = to_timestamp(new.at / 1000)
     from unnest($1::uuid[], $2::double precision[]) as new (run_id, at)
     where o.run_id = any (array(select run_id from began)) and o.run_id = new.run_id`,
    [starts.map(({ runId }) => runId), starts.map(({ at }) => at)],
  );
}

export interface DeadLetterRecord {
  runId: string;
  nodeId: string;
  scope: string;
  deliveries: number;
  losses: number;
  lastWords: string | null;
  workerId: string;
  diedAt: number;
}

export async function recordDeadLetters(
  client: Queryable,
  records: readonly DeadLetterRecord[],
): Promise<void> {
  if (records.length === 0) return;
  await client.query(
    `insert into hitzero.dead_letters (run_id, node_id, scope, deliveries, losses, last_words, worker_id, died_at)
     select "runId", "nodeId", scope, deliveries, losses, "lastWords", "workerId", to_timestamp("diedAt" / 1000)
     from json_to_recordset($1::json) as new ("runId" uuid, "nodeId" text, scope text, deliveries int,
       losses int, "lastWords" text, "workerId" text,
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
    opened(`insert into hitzero.runs (run_id, partition, workflow_name, workflow_version, ir_digest, input, tags, parent_run_id, parent_node_id,
       parent_scope, depth)
     select "runId", p.partition, workflow, version, digest, new.input, p.tags, p.run_id, "parentNodeId", "parentScope", p.depth + 1
     from json_to_recordset($1::json) as new ("runId" uuid, "parentRunId" uuid, "parentNodeId" text, "parentScope" text, workflow text,
       version int, digest text, input jsonb)
     join hitzero.runs p on p.run_id = new."parentRunId" and p.run_id between $2 and $3
     on conflict (run_id) do nothing`),
    [`[${rows.join(",")}]`, ...spanOf(children.map(({ parentRunId }) => parentRunId))],
  );
}

/** Gives these commands, in order, to the child runs among those meant that are not over. Their ids are on record with what waits for them. */
export async function commandChildren(client: Queryable, commands: readonly CommandBelow[]): Promise<void> {
  for (const { kind, parents, children } of commands) {
    await client.query(
      `with meant as (
         select run_id from hitzero.runs where parent_run_id = any ($1::uuid[])
         union
         select e.child_run_id from unnest($2::uuid[], $3::text[], $4::text[]) as of (run_id, node_id, scope)
         cross join lateral (
           select e.child_run_id from hitzero.node_executions e
           where e.run_id = of.run_id and e.node_id = of.node_id and e.scope = of.scope limit 1) e)
       insert into hitzero.commands (command_id, run_id, partition, kind)
       select gen_random_uuid(), r.run_id, r.partition, $5 from meant
       cross join lateral (
         select * from hitzero.runs r where r.run_id = meant.run_id and r.parent_node_id is not null
           and r.status in ('PENDING', 'RUNNING', 'PAUSED') limit 1) r`,
      [
        parents,
        children.map(({ runId }) => runId),
        children.map(({ nodeId }) => nodeId),
        children.map(({ scope }) => scope),
        kind,
      ],
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

/** What a reader knows of a run. */
export interface RunOnRecord {
  /** Of the IR that it runs. */
  digest: string;
  status: RunStatus;
  /** Something of it was set aside: it is over, and the rest of it is only counted. */
  refused: boolean;
  /** A run waits for it. */
  isChild: boolean;
  /** Large outputs of it are on record. */
  hasBlobs: boolean;
  /** Number of its last event; 0: there is none. */
  lastSeq: number;
}

export async function readRunsOnRecord(
  client: Queryable,
  partition: number,
  runIds: readonly string[],
): Promise<Map<string, RunOnRecord>> {
  if (runIds.length === 0) return new Map();
  // Of a run that waits to be started nothing else is on record. Run by run, as a planner without statistics reads whole tables otherwise.
  const { rows } = await client.query<RunOnRecord & { runId: string } & Row>(
    `select r.run_id as "runId", r.ir_digest as digest, r.status, r.parent_node_id is not null as "isChild",
       coalesce(more.refused, false) as refused, coalesce(more.blobs, false) as "hasBlobs", coalesce(more.last_seq, 0) as "lastSeq"
     from hitzero.runs r left join lateral (
       select (select true from hitzero.refused_entries f where f.run_id = r.run_id limit 1) as refused,
         (select true from hitzero.blobs b where b.run_id = r.run_id and b.run_id between $3 and $4 limit 1) as blobs,
         (select max(p.last_seq) from hitzero.events_packed p where p.run_id = r.run_id and p.run_id between $3 and $4) as last_seq
       where r.status <> 'PENDING') more on true
     where r.run_id = any ($1::uuid[]) and r.partition = $2`,
    [runIds, partition, ...spanOf(runIds)],
  );
  return new Map(rows.map(({ runId, ...run }) => [runId, run]));
}
