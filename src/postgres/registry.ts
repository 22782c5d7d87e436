/** Processes that serve this installation, with what they offer. */
import type { Database } from "./database.ts";

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

/** Which of these functions does no live worker offer? */
export async function functionsWithoutWorker(
  database: Database,
  names: readonly string[],
): Promise<string[]> {
  const { rows } = await database.query<{ name: string }>(
    `select name from unnest($1::text[]) as wanted (name)
     where not exists (select 1 from hitzero.worker_registry w where w.kind = 'worker' and w.stopped_at is null
       and w.heartbeat_at > now() - $2 * interval '1 millisecond' and wanted.name = any (w.functions))`,
    [names, ALIVE_MS],
  );
  return rows.map((row) => row.name);
}

export interface LiveProcesses {
  workers: number;
  supervisors: number;
}

export async function countLive(database: Database): Promise<LiveProcesses> {
  const { rows } = await database.query<{ kind: string; count: number }>(
    `select kind, count(*) from hitzero.worker_registry
     where stopped_at is null and heartbeat_at > now() - $1 * interval '1 millisecond' group by kind`,
    [ALIVE_MS],
  );
  const count = (kind: string) => rows.find((row) => row.kind === kind)?.count ?? 0;
  return { workers: count("worker"), supervisors: count("supervisor") };
}
