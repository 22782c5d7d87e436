/** What could not be recorded is set aside, and its run ends. All of it inside a transaction that compares the reader's lease and offset. */
import type { Connection, Queryable, Row } from "./database.ts";
import { EventPacks, recordEvents } from "./packed_events.ts";
import type { PartitionRow } from "./partitions.ts";
import { commandChildren } from "./record.ts";

export interface Refusal {
  /** Of the journal entry; null: it was no entry. */
  seq: number | null;
  runId: string | null;
  nodeId: string | null;
  scope: string | null;
  /** The run's error says it. */
  code: "RECORD_REFUSED" | "STEP_REFUSED";
  reason: string;
  /** What was refused. */
  raw: string;
}

const LONGEST_RAW = 1_000_000;

/** Writes them down. */
export async function setAside(
  client: Queryable,
  row: PartitionRow,
  refusals: readonly Refusal[],
): Promise<void> {
  for (const { seq, runId, nodeId, scope, code, reason, raw } of refusals) {
    await client.query(
      `insert into hitzero.refused_entries (partition, epoch, seq, run_id, node_id, scope, code, reason, raw)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [row.partition, row.epoch, seq, runId, nodeId, scope, code, reason, raw.slice(0, LONGEST_RAW)],
    );
    const what = seq === null ? "a call" : `entry ${seq} of epoch ${row.epoch}`;
    const of = runId === null ? "" : ` of run ${runId}`;
    await client.query("update hitzero.partitions set last_refusal = $2 where partition = $1", [
      row.partition,
      `${what}${of}: ${reason}`,
    ]);
  }
}

/** A run that ended because something of it was refused. */
export interface EndedRun extends Row {
  run_id: string;
  /** Before. */
  status: "PENDING" | "RUNNING" | "PAUSED";
}

/** Ends a run as FAILED, unless it is over: its executions and child runs are cancelled. */
export async function endRefusedRun(
  client: Connection,
  partition: number,
  { runId, nodeId, code, reason }: Refusal,
): Promise<EndedRun | undefined> {
  if (runId === null) return undefined;
  const message =
    code === "RECORD_REFUSED"
      ? "an event of the run cannot be recorded"
      : "a step of the run cannot be applied";
  const error = { code, message: `${message}: ${reason}`, ...(nodeId === null ? {} : { node_id: nodeId }) };
  const { rows } = await client.query<EndedRun>(
    `with gone as (delete from hitzero.open_runs where partition = $2 and run_id = $1)
     update hitzero.runs r set status = 'FAILED', completed_at = now(), error = $3::jsonb, output = null
     from (select run_id, status from hitzero.runs where run_id = $1 and partition = $2 for update) known
     where r.run_id = known.run_id and known.status in ('PENDING', 'RUNNING', 'PAUSED')
     returning known.run_id, known.status`,
    [runId, partition, JSON.stringify(error)],
  );
  if (!rows[0]) return undefined;
  await client.query(
    `update hitzero.node_executions set status = 'CANCELLED', reason = 'run_halted', ended_at = greatest(now(), started_at)
     where run_id = $1 and status not in ('COMPLETED', 'FAILED', 'SKIPPED', 'CANCELLED')`,
    [runId],
  );
  const { rows: last } = await client.query<{ seq: number; at: number }>(
    `select coalesce(max(last_seq), 0) as seq, floor(extract(epoch from now()) * 1000)::bigint as at
     from hitzero.events_packed where run_id = $1`,
    [runId],
  );
  const { seq, at } = last[0] as { seq: number; at: number };
  const packs = new EventPacks();
  packs.add({
    ...{ runId, seq: seq + 1, level: "ERROR", eventType: "run_failed", nodeId: null, scope: null, at },
    ...{ message: `the run failed: ${error.message}`, data: { code } },
  });
  await recordEvents(client, packs.finish(), packs.odd);
  await commandChildren(client, [{ kind: "cancel", parents: [runId], children: [] }]);
  return rows[0];
}

/** Counts events of refused runs that came later. */
export async function countLater(client: Queryable, later: ReadonlyMap<string, number>): Promise<void> {
  for (const [runId, events] of later) {
    await client.query(
      `update hitzero.refused_entries set later_events = later_events + $2
       where refused_id = (select min(refused_id) from hitzero.refused_entries where run_id = $1)`,
      [runId, events],
    );
  }
}

/** Runs that ended so lately that a reader may have gone before Redis forgot them. */
export async function listEndedRuns(database: Queryable, partition: number): Promise<string[]> {
  const { rows } = await database.query<{ run_id: string }>(
    `select distinct run_id from hitzero.refused_entries
     where partition = $1 and run_id is not null and at > now() - interval '1 day'`,
    [partition],
  );
  return rows.map(({ run_id }) => run_id);
}
