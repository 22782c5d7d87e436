/**
 * Databases that a benchmark makes on the user's server, so that none of its rows are among the user's.
 *
 * A name holds the time at which the database was made. One that nobody is connected to a minute later was left behind by a
 * benchmark that was killed.
 */
import { randomBytes } from "node:crypto";
import { HitzeroError } from "../base/errors.ts";
import { describeDatabase, postgresFault } from "./connection_errors.ts";
import { Database, type Queryable } from "./database.ts";

export interface ScratchDatabase {
  /** Names the database, and the namespace in Redis that belongs to it. */
  id: string;
  name: string;
  url: string;
}

const PREFIX = "hitzero_bench_";
const NAME = `^${PREFIX}[0-9a-f]{12}$`;
/** Nobody may be connected to one this young yet, milliseconds. */
const YOUNG_MS = 60_000;

function databaseOf(serverUrl: string, id: string): ScratchDatabase {
  const name = `${PREFIX}${id}`;
  // Not by URL, which takes no user without a host, as a socket's address has it.
  const url = serverUrl.replace(/^(\w+:\/\/[^/?#]*)(?:\/[^?#]*)?/, `$1/${name}`);
  return { id, name, url };
}

/** A name that nobody has, beside the database of the URL. Nothing is made. */
export function newScratchDatabase(serverUrl: string): ScratchDatabase {
  const seconds = Math.floor(Date.now() / 1_000);
  return databaseOf(serverUrl, `${seconds.toString(16).padStart(8, "0")}${randomBytes(2).toString("hex")}`);
}

/**
 * Makes the database.
 * @param admin a connection to the user's own one
 * @throws HitzeroError PERMISSION_DENIED (exit code 3) when the user may not create databases
 */
export async function createScratchDatabase(admin: Database, { name }: ScratchDatabase): Promise<void> {
  const { rows } = await admin.query<{ may: boolean; role: string }>(
    "select rolcreatedb or rolsuper as may, rolname as role from pg_roles where rolname = current_user",
  );
  if (rows[0] && !rows[0].may) {
    throw new HitzeroError(
      "PERMISSION_DENIED",
      `${rows[0].role} at ${describeDatabase(admin.url)} may not create a database, and the benchmark keeps its rows in one of its own`,
      {
        hint: `As an administrator: ALTER ROLE "${rows[0].role}" CREATEDB; or give --database-url a user that may.`,
        exitCode: 3,
      },
    );
  }
  // The name is made here, of letters and digits.
  await admin.query(`create database ${name} template template0`).catch((error: unknown) => {
    throw postgresFault(error, admin.url);
  });
}

/**
 * Makes sure that its URL leads there: a pooler may lead every name to the user's own database.
 * @throws HitzeroError DATABASE_MISSING (exit code 3)
 */
export async function checkScratchDatabase({ name, url }: ScratchDatabase): Promise<void> {
  const database = new Database(url, { size: 1 });
  try {
    const { rows } = await database.query<{ found: string }>("select current_database() as found");
    if (rows[0]?.found === name) return;
    throw new HitzeroError(
      "DATABASE_MISSING",
      `a connection to ${name} at ${describeDatabase(url)} came to database ${rows[0]?.found}`,
      { hint: "A pooler leads it there. Give --database-url the address of Postgres itself.", exitCode: 3 },
    );
  } finally {
    await database.close();
  }
}

/** Removes the database and ends sessions that are still open. */
export async function dropScratchDatabase(database: Queryable, { name }: ScratchDatabase): Promise<void> {
  await database.query(`drop database if exists ${name} with (force)`);
}

/** Those that nobody uses any more. */
export async function listLeftScratch(database: Queryable, serverUrl: string): Promise<ScratchDatabase[]> {
  const { rows } = await database.query<{ name: string }>(
    `select datname as name from pg_database d
     where datname ~ $1 and pg_has_role(datdba, 'usage')
       and not exists (select 1 from pg_stat_activity a where a.datid = d.oid)`,
    [NAME],
  );
  const ids = rows.map(({ name }) => name.slice(PREFIX.length));
  const madeAt = (id: string) => Number.parseInt(id.slice(0, 8), 16) * 1_000;
  return ids.filter((id) => Date.now() - madeAt(id) > YOUNG_MS).map((id) => databaseOf(serverUrl, id));
}

/** Executions that are on record as COMPLETED. For a database that holds nothing but a benchmark's runs. */
export async function countCompleted(database: Queryable): Promise<number> {
  const { rows } = await database.query<{ count: number }>(
    "select count(*) from hitzero.node_executions where status = 'COMPLETED'",
  );
  return rows[0]?.count ?? 0;
}
