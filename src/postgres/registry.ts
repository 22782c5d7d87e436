/** Processes that serve this installation, with what they offer. */
import type { Database, Queryable, Row } from "./database.ts";

/** A process whose last sign of life is older is taken for dead, ms. */
export const ALIVE_MS = 15_000;

export interface Registration {
  workerId: string;
  kind: "worker" | "supervisor";
  host: string;
  pid: number;
  version: string;
  queues: readonly string[];
  functions: readonly string[];
  concurrency: number | null;
}

/** Enters the process, or renews its sign of life. */
export async function heartbeat(database: Database, registration: Registration): Promise<void> {
  await database.query(
    `insert into hitzero.worker_registry (worker_id, kind, host, pid, version, queues, functions, concurrency)
     values ($1, $2, $3, $4, $5, $6, $7, $8)
     on conflict (worker_id) do update set heartbeat_at = now()`,
    [
      registration.workerId,
      registration.kind,
      registration.host,
      registration.pid,
      registration.version,
      registration.queues,
      registration.functions,
      registration.concurrency,
    ],
  );
}

export async function signOff(database: Database, workerId: string): Promise<void> {
  await database.query(
    "update hitzero.worker_registry set stopped_at = now(), heartbeat_at = now() where worker_id = $1",
    [workerId],
  );
}

/** How the live workers serve a queue, or a function in it. */
export interface Service extends Row {
  queue: string;
  /** Null: the queue alone is asked about. */
  functionName: string | null;
  /** A live worker reads the queue. */
  read: boolean;
  /** One of those offers the function. */
  offered: boolean;
}

/** Who serves these queues, and these functions in them? In the order of the question. */
export async function readServices(
  database: Queryable,
  places: readonly { queue: string; functionName?: string }[],
): Promise<Service[]> {
  const { rows } = await database.query<Service>(
    `with readers as (
       select queue, functions from hitzero.worker_registry cross join lateral unnest(queues) as queue
       where kind = 'worker' and stopped_at is null and heartbeat_at > now() - $3 * interval '1 millisecond'
     )
     select wanted.queue, wanted.name as "functionName", count(readers.queue) > 0 as read,
       coalesce(bool_or(wanted.name is null or wanted.name = any (readers.functions)), false) as offered
     from unnest($1::text[], $2::text[]) with ordinality as wanted (queue, name, position) left join readers using (queue)
     group by wanted.queue, wanted.name, wanted.position order by wanted.position`,
    [places.map(({ queue }) => queue), places.map(({ functionName }) => functionName ?? null), ALIVE_MS],
  );
  return rows;
}

export interface LiveProcesses {
  workers: number;
  supervisors: number;
}

export async function countLive(database: Queryable): Promise<LiveProcesses> {
  const { rows } = await database.query<{ kind: string; count: number }>(
    `select kind, count(*) from hitzero.worker_registry
     where stopped_at is null and heartbeat_at > now() - $1 * interval '1 millisecond' group by kind`,
    [ALIVE_MS],
  );
  const count = (kind: string) => rows.find((row) => row.kind === kind)?.count ?? 0;
  return { workers: count("worker"), supervisors: count("supervisor") };
}
