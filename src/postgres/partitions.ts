/** The partitions' rows: the reader's lease (term, expiry by Postgres's clock) and how far the record has come. */
import { HitzeroError } from "../base/errors.ts";
import { closedHint } from "./closed_partition.ts";
import type { Queryable, Row } from "./database.ts";

export interface PartitionRow extends Row {
  partition: number;
  epoch: number;
  timeline: string | null;
  recorded_seq: number;
  recorded_call: string;
  term: number;
  /** Until then this process may count on the lease, as `performance.now()`: from before the call that took or renewed it. */
  held_until: number;
}

/** The lease is another's, or the partition's epoch moved on: whoever gets this must stop reading. */
class LeaseLostError extends HitzeroError {
  constructor(partition: number) {
    super("LEASE_LOST", `another supervisor reads partition ${partition} now`, { exitCode: 3 });
  }
}

/** Numbers of all partitions. @throws HitzeroError SCHEMA_MISSING */
export async function listPartitions(database: Queryable): Promise<number[]> {
  const { rows } = await database.query<{ partition: number }>(
    "select partition from hitzero.partitions order by partition",
  );
  return rows.map((row) => row.partition);
}

/** The identity of this database, which Redis keeps beside its keys. */
export async function readInstallation(database: Queryable): Promise<string> {
  const { rows } = await database.query<{ installation_id: string }>(
    "select installation_id from hitzero.installation",
  );
  return (rows[0] as { installation_id: string }).installation_id;
}

/**
 * Those of these partitions that take runs, with their epochs: all but those that their supervisor found unfit and closed. While nobody has opened them
 * yet, or their reader is away, they take runs, which then wait.
 * @throws HitzeroError PARTITION_CLOSED when none does
 */
export async function listOpen(
  database: Queryable,
  partitions: readonly number[],
): Promise<Map<number, string>> {
  const { rows } = await database.query<{ partition: number; epoch: string; closed_reason: string | null }>(
    `select partition, epoch::text as epoch, closed_reason from hitzero.partitions
     where partition = any ($1::int[]) order by partition`,
    [partitions],
  );
  const open = rows.filter(({ closed_reason }) => closed_reason === null);
  if (open.length > 0) return new Map(open.map(({ partition, epoch }) => [partition, epoch]));
  const first = rows[0];
  const others = rows.length > 1 ? `, and so are the ${rows.length - 1} others` : "";
  throw new HitzeroError(
    "PARTITION_CLOSED",
    `no run can be accepted: partition ${first?.partition} is closed (${first?.closed_reason})${others}`,
    { hint: closedHint(first?.closed_reason ?? ""), exitCode: 3 },
  );
}

const COLUMNS = "partition, epoch, timeline, recorded_seq, recorded_call, term";

/** Takes the lease of a partition when it is free or expired; each taking raises the term. Never waits for a lock. */
export async function takeLease(
  database: Queryable,
  partition: number,
  readerId: string,
  leaseMs: number,
): Promise<PartitionRow | undefined> {
  const heldUntil = performance.now() + leaseMs;
  const { rows } = await database.query<PartitionRow>(
    `update hitzero.partitions p
     set term = p.term + 1, reader_id = $2, lease_expires_at = now() + $3 * interval '1 millisecond'
     from (select partition from hitzero.partitions where partition = $1 and lease_expires_at < now() for update skip locked) free
     where p.partition = free.partition returning ${COLUMNS.replaceAll(/\w+/g, "p.$&")}`,
    [partition, readerId, leaseMs],
  );
  return rows[0] && { ...rows[0], held_until: heldUntil };
}

/** @throws LeaseLostError */
export async function renewLease(database: Queryable, row: PartitionRow, leaseMs: number): Promise<void> {
  const heldUntil = performance.now() + leaseMs;
  const { rowCount } = await database.query(
    `update hitzero.partitions set lease_expires_at = now() + $3 * interval '1 millisecond'
     where partition = $1 and term = $2`,
    [row.partition, row.term, leaseMs],
  );
  if (rowCount !== 1) throw new LeaseLostError(row.partition);
  row.held_until = Math.max(row.held_until, heldUntil);
}

/** Gives the lease back, so that another may take it at once. */
export async function releaseLease(database: Queryable, partition: number, term: number): Promise<void> {
  await database.query(
    `update hitzero.partitions set lease_expires_at = '-infinity', reader_id = null where partition = $1 and term = $2`,
    [partition, term],
  );
}

/**
 * Commits the next epoch with a fresh journal, before Redis hears of it: above that of the record, and above the one that Redis has, as of
 * a Postgres that was put back. @throws LeaseLostError
 */
export async function beginEpoch(
  database: Queryable,
  row: PartitionRow,
  inRedis: number,
): Promise<PartitionRow> {
  const { rows } = await database.query<PartitionRow>(
    `update hitzero.partitions set epoch = greatest(epoch, $4) + 1, recorded_seq = 0, recorded_call = ''
     where partition = $1 and term = $2 and epoch = $3 returning ${COLUMNS}`,
    [row.partition, row.term, row.epoch, inRedis],
  );
  if (!rows[0]) throw new LeaseLostError(row.partition);
  return Object.assign(row, rows[0]);
}

/** Notes that the partition was opened (or, with a reason, why it cannot be). */
export async function noteOpening(
  database: Queryable,
  row: PartitionRow,
  outcome: { timeline: string } | { closedReason: string },
): Promise<void> {
  const opened = "timeline" in outcome;
  await database.query(
    `update hitzero.partitions set timeline = coalesce($3, timeline), closed_reason = $4,
       opened_at = case when $3::text is null then opened_at else now() end
     where partition = $1 and term = $2`,
    [row.partition, row.term, opened ? outcome.timeline : null, opened ? null : outcome.closedReason],
  );
}

/** Does the partition hold started runs without a final status? Then a lost Redis cannot simply begin anew. */
export async function countStartedRuns(database: Queryable, partition: number): Promise<number> {
  const { rows } = await database.query<{ count: number }>(
    "select count(*) from hitzero.open_runs where partition = $1 and started_at is not null",
    [partition],
  );
  return rows[0]?.count ?? 0;
}

/** Runs without a final status, of all partitions. */
export async function countUnfinishedRuns(database: Queryable): Promise<number> {
  const { rows } = await database.query<{ count: number }>("select count(*) from hitzero.open_runs");
  return rows[0]?.count ?? 0;
}

/** Are term, epoch and offset still what this reader took? Waits for nobody. @throws LeaseLostError */
export async function compareOffset(client: Queryable, row: PartitionRow): Promise<void> {
  const { rows } = await client.query(
    "select 1 from hitzero.partitions where partition = $1 and term = $2 and epoch = $3 and recorded_seq = $4",
    [row.partition, row.term, row.epoch, row.recorded_seq],
  );
  if (rows.length !== 1) throw new LeaseLostError(row.partition);
}

/** Moves the record on, inside the recording transaction. Compares term, epoch and offset. @throws LeaseLostError */
export async function moveOffset(
  client: Queryable,
  row: PartitionRow,
  to: { seq: number; call: string },
  leaseMs: number,
): Promise<void> {
  const { rowCount } = await client.query(
    `update hitzero.partitions set recorded_seq = $5, recorded_call = $6, lease_expires_at = now() + $7 * interval '1 millisecond'
     where partition = $1 and term = $2 and epoch = $3 and recorded_seq = $4`,
    [row.partition, row.term, row.epoch, row.recorded_seq, to.seq, to.call, leaseMs],
  );
  if (rowCount !== 1) throw new LeaseLostError(row.partition);
}

/**
 * A database for readers: a stopped reader's transaction is ended by the server, so that its locks cannot block a standby. A role's default
 * may make a NULL in a list text; a plan of many periods is not worth to be compiled.
 */
export const READER_SETTINGS: Record<string, string> = {
  idle_in_transaction_session_timeout: "5000",
  lock_timeout: "5000",
  array_nulls: "on",
  jit: "off",
};
