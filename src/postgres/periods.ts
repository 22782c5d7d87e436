/**
 * Periods: the tables of runs and of their history are partitioned by the time in `run_id`. Which tables these are, and how the next period
 * is made, is SQL (`hitzero.make_period`, migration 9): it has the rights of the role that migrated, so whoever calls it needs none.
 */
import { pause } from "../base/wait.ts";
import { isLockTimeout, type Queryable, type Row } from "./database.ts";

/** How long a period is unless it is told, ms. */
export const PERIOD_MS = 7 * 86_400_000;
/** So many are made ahead. */
export const PERIODS_AHEAD = 8;

export interface PeriodOptions {
  /** How long a period is, milliseconds; whole minutes. */
  widthMs: number;
  /** From now on there are to be periods for so many widths. */
  ahead: number;
  /** Rows in DEFAULT that belong into the next period are moved there, unless there are more. */
  mostMoved: number;
}

/** `crowded`: more rows than `mostMoved` are in the way of the next one. */
export type PeriodsMade = "enough" | "crowded";

/** Runs `work` in a transaction whose statements wait for a lock for so long. */
export type InTransaction = <T>(
  work: (client: Queryable) => Promise<T>,
  settings: { lock_timeout: string },
) => Promise<T>;

/** Those who want the same table wait behind one that waits for its lock. Less than Postgres takes to look for deadlocks: this side yields. */
const LOCK_MS = 300;
const LOCK_PAUSE_MS = 500;

/**
 * Makes the periods that are missing, one to a transaction; whoever else does so at the same time finds them made.
 * @throws when the lock of a table is not to be had within `patienceMs` (isLockTimeout)
 */
export async function makePeriods(
  inTransaction: InTransaction,
  options: PeriodOptions,
  patienceMs = 0,
): Promise<PeriodsMade> {
  const latest = performance.now() + patienceMs;
  for (;;) {
    try {
      const word = await inTransaction((client) => makePeriod(client, options), {
        lock_timeout: String(LOCK_MS),
      });
      if (word !== "made") return word;
    } catch (error) {
      if (!isLockTimeout(error) || performance.now() >= latest) throw error;
      await pause(LOCK_PAUSE_MS);
    }
  }
}

async function makePeriod(
  client: Queryable,
  { widthMs, ahead, mostMoved }: PeriodOptions,
): Promise<PeriodsMade | "made"> {
  const { rows } = await client.query<{ word: PeriodsMade | "made" }>(
    "select hitzero.make_period($1, $2, $3) as word",
    [widthMs, ahead, mostMoved],
  );
  return (rows[0] as { word: PeriodsMade | "made" }).word;
}

export interface PeriodHealth {
  /** DEFAULT tables that hold rows. */
  crowded: string[];
  /** For how long from now there are periods for new runs, milliseconds. */
  aheadMs: number;
}

export async function readPeriodHealth(database: Queryable): Promise<PeriodHealth> {
  const { rows } = await database.query<{ aheadMs: number; defaults: string[] } & Row>(
    `select coalesce(greatest(extract(epoch from max(ends_at) - now()) * 1000, 0), 0)::bigint as "aheadMs",
       coalesce(array_agg(quote_ident(part) order by part) filter (where is_default), '{}') as defaults
     from hitzero.v_periods where table_name = 'runs' or is_default`,
  );
  const { aheadMs, defaults } = rows[0] as { aheadMs: number; defaults: string[] };
  const crowded: string[] = [];
  for (const part of defaults) {
    const { rows: found } = await database.query(`select 1 from hitzero.${part} limit 1`);
    if (found.length > 0) crowded.push(part);
  }
  return { crowded, aheadMs };
}
