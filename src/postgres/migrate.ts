/**
 * Brings a database to this release's schema.
 *
 * Owns: schema `hitzero` and the table `hitzero.migrations`; the rows of `hitzero.partitions`.
 * Invariants: each file of `migrations/` is applied once and whole, in the order of its number; a file that was applied
 * never changes (its checksum is kept); the number of partitions P is chosen once.
 * Racing processes: each migration runs in a transaction of its own whose first statement inserts the migration's row.
 * Whoever comes second waits on that row, then finds the work done. No lock outlives a crash.
 * A crash leaves the database at the last whole migration; the next call goes on from there.
 * Every statement has an end: those of a migration a late one, but none waits long for a lock, since all that works waits behind it then.
 */

import pg from "pg";
import { HitzeroError } from "../base/errors.ts";
import { POSTGRES, parseServerUrl } from "../base/server_url.ts";
import { describeDatabase, OLDEST_POSTGRES_MAJOR, postgresFault } from "./connection_errors.ts";
import { isLockTimeout, type Queryable } from "./database.ts";
import { LimitedClient, socketOf } from "./limited_client.ts";
import { type MigrationFile, PACKAGE_MIGRATIONS, readMigrations } from "./migration_files.ts";
import { readStanding, refuseForeignTables, refuseMissingRights } from "./migration_rights.ts";
import { checkPartitionCount, fixPartitions } from "./partition_count.ts";
import { type InTransaction, makePeriods, PERIOD_MS, PERIODS_AHEAD } from "./periods.ts";

export interface MigrateOptions {
  /** How many partitions the database is to have. Fixed by the first call, 1 unless given; later calls may leave it out. */
  partitions?: number;
  /** Called after each migration that this call applied, with its name such as `001_runs`. */
  onApplied?: (name: string) => void;
  /** How long a period is (milliseconds), and how many are made ahead. Default: a week, 8. */
  periodMs?: number;
  periodsAhead?: number;
  /** Folder of the SQL files; the package's own `migrations/` unless a test says otherwise. */
  folder?: string;
  /** For tests. */
  limits?: MigrateLimits;
}

/** Milliseconds. */
export interface MigrateLimits {
  /** A statement that has nothing to wait for is answered within this time; the connection is given up otherwise. */
  answerMs: number;
  /** A statement of a migration lasts so long at most, and whoever comes second waits as long for the first. */
  workMs: number;
  /** A migration waits so long for a lock. */
  lockMs: number;
}

export interface MigrateResult {
  /** Names of the migrations that this call applied; those that a racing process applied are not among them. */
  applied: string[];
  /** The number of partitions that the database has. */
  partitions: number;
}

/** SQLSTATEs with which one of two racing `create … if not exists` fails although the object is then there. */
const CREATION_RACES = new Set(["23505", "42P06", "42P07"]);
/** SQLSTATE by which a migration of ours says that it cannot be while runs are open. */
const RUNS_OPEN = "HZ001";
const CREATION_ATTEMPTS = 10;
/** Number of the migration that made periods. */
const FIRST_WITH_PERIODS = 9;
const ANY_NUMBER = 2_000_000_000;
const CONNECT_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 10_000;
/** A connection that does not close in order has this long. */
const FAREWELL_MS = 1_000;
const LIMITS: MigrateLimits = { answerMs: 30_000, workMs: 1_800_000, lockMs: 60_000 };

/**
 * Applies the migrations that the database lacks and fixes its number of partitions. Safe when several processes do it
 * at once, and a cheap check when there is nothing to do.
 *
 * @throws HitzeroError SERVER_UNREACHABLE, WRONG_PASSWORD, ACCESS_REFUSED, DATABASE_MISSING, PERMISSION_DENIED,
 *   READ_ONLY, TLS_REFUSED, POSTGRES_TOO_OLD (all exit code 3); DATABASE_URL_INVALID, SCHEMA_NEWER, MIGRATION_CHANGED,
 *   MIGRATION_FAILED, MIGRATION_BLOCKED, RUNS_OPEN, PARTITIONS_INVALID, PARTITIONS_FIXED
 */
export async function migrate(databaseUrl: string, options: MigrateOptions = {}): Promise<MigrateResult> {
  parseServerUrl(databaseUrl, POSTGRES);
  checkPartitionCount(options.partitions);
  const files = await readMigrations(options.folder ?? PACKAGE_MIGRATIONS);
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: "hitzero migrate",
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
  });
  // A link lost between two queries is reported here; the next query fails and is translated.
  client.on("error", () => {});
  try {
    await client.connect();
    return await bringUpToDate(client, databaseUrl, files, options);
  } catch (error) {
    throw postgresFault(error, databaseUrl);
  } finally {
    await farewell(client);
  }
}

/** Closes in order, or after a moment otherwise. */
async function farewell(client: pg.Client): Promise<void> {
  const late = setTimeout(() => socketOf(client).destroy(), FAREWELL_MS);
  await client.end().catch(() => {});
  clearTimeout(late);
}

async function bringUpToDate(
  connection: pg.Client,
  databaseUrl: string,
  files: readonly MigrationFile[],
  options: MigrateOptions,
): Promise<MigrateResult> {
  const limits = options.limits ?? LIMITS;
  const client = new LimitedClient(connection, limits.answerMs);
  const patient = new LimitedClient(connection, limits.workMs + limits.answerMs);
  await refuseOldServer(client, databaseUrl);
  await createBookkeeping(client);
  const before = await appliedMigrations(client);
  refuseForeignHistory(files, before);
  const applied: string[] = [];
  const missing = files.filter(({ id }) => !before.some((row) => row.id === id));
  if (missing.length > 0) refuseForeignTables(await readStanding(client));
  for (const file of missing) {
    if (!(await applyOnce(client, patient, file, limits))) continue;
    applied.push(file.name);
    options.onApplied?.(file.name);
  }
  // Looked at again: a newer release may have migrated while this one waited.
  refuseForeignHistory(files, await appliedMigrations(client));
  const partitions = await fixPartitions(client, options.partitions);
  // A folder of a test may end before there are any.
  if (files.some(({ id }) => id >= FIRST_WITH_PERIODS)) await makeAhead(client, patient, options, limits);
  return { applied, partitions };
}

/** Periods for new runs. Rows that are in their way are moved, however many there are. */
async function makeAhead(
  client: Queryable,
  patient: Queryable,
  { periodMs = PERIOD_MS, periodsAhead = PERIODS_AHEAD }: MigrateOptions,
  { workMs, lockMs }: MigrateLimits,
): Promise<void> {
  const inTransaction: InTransaction = async (work, { lock_timeout }) => {
    await client.query(`begin isolation level read committed; set local client_min_messages = warning;
      set local lock_timeout = ${lock_timeout}; set local statement_timeout = ${workMs};`);
    try {
      const done = await work(patient);
      await patient.query("commit");
      return done;
    } catch (error) {
      await client.query("rollback").catch(() => {});
      throw error;
    }
  };
  try {
    await makePeriods(
      inTransaction,
      { widthMs: periodMs, ahead: periodsAhead, mostMoved: ANY_NUMBER },
      lockMs,
    );
  } catch (error) {
    throw isLockTimeout(error) ? blocked("the tables of the next period", lockMs, error) : error;
  }
}

function blocked(what: string, lockMs: number, cause: unknown): HitzeroError {
  return new HitzeroError(
    "MIGRATION_BLOCKED",
    `${what} waited ${lockMs / 1_000} s for a lock that another session holds`,
    {
      hint: "Nothing of it was kept. End what holds the lock (a long transaction in pg_stat_activity, workers and supervisors of the older release), and migrate again.",
      exitCode: 3,
      cause,
    },
  );
}

async function refuseOldServer(client: Queryable, databaseUrl: string): Promise<void> {
  const { rows } = await client.query<{ version: string }>(
    "select current_setting('server_version_num') as version",
  );
  const major = Math.floor(Number(rows[0]?.version) / 10_000);
  if (major >= OLDEST_POSTGRES_MAJOR) return;
  throw new HitzeroError(
    "POSTGRES_TOO_OLD",
    `Postgres at ${describeDatabase(databaseUrl)} is version ${major}; hitzero needs ${OLDEST_POSTGRES_MAJOR} or newer`,
    {
      hint: `Use Postgres ${OLDEST_POSTGRES_MAJOR} or newer; \`hitzero up\` runs one of its own.`,
      exitCode: 3,
    },
  );
}

/** Creates schema and table if they lack. Looks first, so that a user without the right to create may call on a finished database. */
async function createBookkeeping(client: Queryable): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const standing = await readStanding(client);
    refuseMissingRights(standing);
    if (standing.bookkeeping) return;
    try {
      await client.query(`
        begin;
        set local client_min_messages = warning;
        ${standing.schema ? "" : "create schema if not exists hitzero;"}
        create table if not exists hitzero.migrations (
          id int primary key,
          name text not null,
          checksum text not null,
          applied_at timestamptz not null default now()
        );
        ${standing.foreign_schema ? "" : "comment on schema hitzero is 'Everything hitzero keeps in Postgres.';"}
        comment on table hitzero.migrations is 'Schema migrations that were applied, one row each.';
        comment on column hitzero.migrations.id is 'Number of the migration, the NNN of its file name.';
        comment on column hitzero.migrations.name is 'File name without its ending.';
        comment on column hitzero.migrations.checksum is 'SHA-256 of the SQL text, hexadecimal; a file that was applied must not change.';
        comment on column hitzero.migrations.applied_at is 'When the migration was committed, by the clock of Postgres.';
        commit;
      `);
      return;
    } catch (error) {
      await client.query("rollback");
      const race = error instanceof pg.DatabaseError && CREATION_RACES.has(error.code ?? "");
      if (!race || attempt >= CREATION_ATTEMPTS) throw error;
    }
  }
}

type AppliedMigration = {
  id: number;
  name: string;
  checksum: string;
};

async function appliedMigrations(client: Queryable): Promise<AppliedMigration[]> {
  const { rows } = await client.query<AppliedMigration>(
    "select id, name, checksum from hitzero.migrations order by id",
  );
  return rows;
}

/** Refuses a database whose past is not the beginning of this release's migrations. */
function refuseForeignHistory(files: readonly MigrationFile[], applied: readonly AppliedMigration[]): void {
  for (const row of applied) {
    const file = files.find((candidate) => candidate.id === row.id);
    if (!file) {
      throw new HitzeroError(
        "SCHEMA_NEWER",
        `the database has migration ${row.name}, which this release of hitzero does not know`,
        { hint: "A newer release migrated this database: upgrade hitzero here, too." },
      );
    }
    if (file.checksum !== row.checksum) {
      throw new HitzeroError(
        "MIGRATION_CHANGED",
        `migration ${row.name} was applied to the database with another text than this release's ${file.name}`,
        {
          hint: "Use the release that migrated this database, or a new database; an applied migration is never edited.",
        },
      );
    }
  }
}

/**
 * Applies one migration unless it is applied already; waits for a process that is at it. Returns whether it did the work. `patient` is the
 * same connection, for what may last.
 */
async function applyOnce(
  client: Queryable,
  patient: Queryable,
  file: MigrationFile,
  limits: MigrateLimits,
): Promise<boolean> {
  await client.query("begin isolation level read committed");
  try {
    const claim = await patient.query(
      "insert into hitzero.migrations (id, name, checksum) values ($1, $2, $3) on conflict (id) do nothing",
      [file.id, file.name, file.checksum],
    );
    if (claim.rowCount === 0) {
      await client.query("rollback");
      return false;
    }
    // The user's own search_path must not decide where a migration's objects go.
    await client.query(`set local search_path to hitzero, public; set local client_min_messages = warning;
      set local lock_timeout = ${limits.lockMs}; set local statement_timeout = ${limits.workMs};`);
    await patient.query(file.sql);
    await patient.query("commit");
    return true;
  } catch (error) {
    await client.query("rollback").catch(() => {});
    throw migrationFault(error, file, limits);
  }
}

/** Names the migration for a fault of its SQL; a fault of the connection or of rights stays what it is. */
function migrationFault(error: unknown, file: MigrationFile, { lockMs }: MigrateLimits): unknown {
  if (!(error instanceof pg.DatabaseError)) return error;
  const sqlstate = error.code ?? "";
  if (["42501", "25006"].includes(sqlstate) || sqlstate.startsWith("57P") || sqlstate.startsWith("08"))
    return error;
  if (sqlstate === "55P03") return blocked(`migration ${file.name}`, lockMs, error);
  if (sqlstate === RUNS_OPEN) {
    return new HitzeroError(
      "RUNS_OPEN",
      `migration ${file.name} waits until all runs are over: ${error.message}`,
      {
        hint: "Nothing of this migration was kept. Let the older release end its runs, or cancel them (`run list` shows them); stop what submits; migrate again.",
        exitCode: 3,
        cause: error,
      },
    );
  }
  const line = error.position ? `, line ${file.sql.slice(0, Number(error.position)).split("\n").length}` : "";
  return new HitzeroError(
    "MIGRATION_FAILED",
    `migration ${file.name}${line}: ${error.message} (SQLSTATE ${sqlstate})`,
    {
      hint: "Nothing of this migration was kept. Report it with this message, or remove what stands in its way.",
      exitCode: 3,
      cause: error,
    },
  );
}
