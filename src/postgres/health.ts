/** What Postgres says of itself and of the work that is under way, for `doctor`. Reads only. */
import type { Queryable, Row } from "./database.ts";
import { PACKAGE_MIGRATIONS, readMigrations } from "./migration_files.ts";
import { LAST_EVENT_AT } from "./packed_events.ts";
import { ALIVE_MS } from "./registry.ts";

export interface PostgresFacts extends Row {
  version: string;
  fsync: boolean;
  /** `on`, `remote_write`, … or `off`. */
  synchronous_commit: string;
  standby: boolean;
  /** Are transactions read-only unless they say otherwise? */
  read_only: boolean;
}

export async function readPostgresFacts(database: Queryable): Promise<PostgresFacts> {
  const { rows } = await database.query<PostgresFacts>(
    `select current_setting('server_version') as version, current_setting('fsync')::boolean as fsync,
       current_setting('synchronous_commit') as synchronous_commit, pg_is_in_recovery() as standby,
       current_setting('default_transaction_read_only')::boolean as read_only`,
  );
  return rows[0] as PostgresFacts;
}

/** How the database's migrations compare with this release's. Names. */
export interface MigrationState {
  applied: string[];
  missing: string[];
  /** Applied with another text than this release's. */
  changed: string[];
  /** Of a newer release. */
  unknown: string[];
}

export async function readMigrationState(database: Queryable): Promise<MigrationState> {
  const files = await readMigrations(PACKAGE_MIGRATIONS);
  const { rows: present } = await database.query<{ present: boolean }>(
    "select to_regclass('hitzero.migrations') is not null as present",
  );
  const { rows } = present[0]?.present
    ? await database.query<{ id: number; name: string; checksum: string }>(
        "select id, name, checksum from hitzero.migrations order by id",
      )
    : { rows: [] };
  const fileOf = (id: number) => files.find((file) => file.id === id);
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name);
  return {
    applied: names(rows),
    missing: names(files.filter(({ id }) => !rows.some((row) => row.id === id))),
    changed: names(rows.filter(({ id, checksum }) => (fileOf(id) ?? { checksum }).checksum !== checksum)),
    unknown: names(rows.filter(({ id }) => fileOf(id) === undefined)),
  };
}

export interface PartitionHealth extends Row {
  partition: number;
  epoch: number;
  recorded_seq: number;
  timeline: string | null;
  /** Null: nobody reads it. */
  reader_id: string | null;
  closed_reason: string | null;
}

export async function readPartitionHealth(database: Queryable): Promise<PartitionHealth[]> {
  const { rows } = await database.query<PartitionHealth>(
    `select partition, epoch, recorded_seq, timeline, case when lease_expires_at > now() then reader_id end as reader_id, closed_reason
     from hitzero.partitions order by partition`,
  );
  return rows;
}

export interface ProcessHealth extends Row {
  worker_id: string;
  kind: "worker" | "supervisor";
  host: string;
  pid: number;
  version: string;
  queues: string[];
  /** Milliseconds since its last sign of life. */
  silent_ms: number;
  /** Milliseconds since it started. */
  age_ms: number;
  alive: boolean;
}

/** How long dead processes are spoken of, milliseconds. */
const REMEMBERED_MS = 86_400_000;

/** Processes that live, and those that died without a word within the last day. */
export async function readProcesses(database: Queryable): Promise<ProcessHealth[]> {
  const { rows } = await database.query<ProcessHealth>(
    `select worker_id, kind, host, pid, version, queues,
       (extract(epoch from now() - heartbeat_at) * 1000)::bigint as silent_ms,
       (extract(epoch from now() - started_at) * 1000)::bigint as age_ms,
       heartbeat_at > now() - $1 * interval '1 millisecond' as alive
     from hitzero.worker_registry
     where stopped_at is null and heartbeat_at > now() - $2 * interval '1 millisecond' order by kind, started_at`,
    [ALIVE_MS, REMEMBERED_MS],
  );
  return rows;
}

export interface WorkHealth {
  openDeadLetters: number;
  /** Accepted and not started for a minute. */
  unstarted: number;
  /** Of the longest, milliseconds. */
  unstartedMs: number;
  paused: number;
  /** Runs that ended within a day because something of them could not be recorded or applied. */
  refused: number;
  /** The last of all, if any: run and reason. */
  lastRefused: string | null;
  /** Running without an event for ten minutes and without an execution that runs. */
  quiet: number;
}

/** The functions as `functionOf` (workflow/ir/function_of.ts) knows them. */
const NEEDS = `with versions as (
    select distinct ir_digest from hitzero.open_runs join hitzero.runs using (run_id)
  ), irs as (
    select distinct on (ir_digest) v.ir from hitzero.workflow_versions v join versions using (ir_digest)
  ), nodes as (
    select node ->> 'queue' as queue, node ->> 'type' as type, node -> 'config' as config
    from irs cross join lateral json_array_elements(ir -> 'nodes') as node
  )
  select distinct queue, case
      when type in ('function', 'loop') then config ->> 'function_name'
      when type = 'transform' and config -> 'expression' is null
        then coalesce(config ->> 'function_name', config ->> 'transformation')
    end as "functionName"
  from nodes order by 1, 2`;

/** The queues that unfinished runs use, with the functions that they name there; null: a node without. */
export async function readNeeds(
  database: Queryable,
): Promise<{ queue: string; functionName: string | null }[]> {
  const { rows } = await database.query<{ queue: string; functionName: string | null }>(NEEDS);
  return rows;
}

const WAITING = `select
    (select count(*) from hitzero.dead_letters where resolution is null) as "openDeadLetters",
    (select count(*) from hitzero.open_runs where started_at is null and submitted_at < now() - interval '1 minute') as unstarted,
    (select (coalesce(extract(epoch from now() - min(submitted_at)), 0) * 1000)::bigint from hitzero.open_runs
       where started_at is null) as "unstartedMs",
    (select count(distinct run_id) from hitzero.refused_entries where at > now() - interval '1 day') as refused,
    (select coalesce('run ' || run_id || ': ', '') || reason from hitzero.refused_entries order by at desc limit 1) as "lastRefused",
    (select count(*) from hitzero.open_runs join hitzero.runs using (run_id) where status = 'PAUSED') as paused,
    (select count(*) from hitzero.open_runs o join hitzero.runs r using (run_id)
       where o.started_at < now() - interval '10 minutes' and r.status = 'RUNNING' and coalesce(${LAST_EVENT_AT} <= now() - interval '10 minutes', true)
       and not exists (select 1 from hitzero.node_executions e where e.run_id = r.run_id
         and e.status in ('RUNNING', 'WAITING', 'RETRYING'))) as quiet`;

/** What waits. */
export async function readWorkHealth(database: Queryable): Promise<WorkHealth> {
  const { rows } = await database.query<WorkHealth & Row>(WAITING);
  return rows[0] as WorkHealth;
}
