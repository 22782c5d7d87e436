/** Databases for tests: each one a clone of the migrated template, so no test sees another's rows. */

import { randomBytes } from "node:crypto";
import pg from "pg";
import { inject } from "vitest";

export interface TestDatabase {
  url: string;
  /** Removes the database; ends sessions that are still open. May be called again. */
  drop(): Promise<void>;
}

/** A new database with the schema of this release. Takes some 25 ms. `settings` are what each of its sessions begins with. */
export async function createTestDatabase(
  settings: Readonly<Record<string, string>> = {},
): Promise<TestDatabase> {
  const template = inject("template");
  if ("fault" in template) throw new Error(`no migrated database for tests: ${template.fault}`);
  const database = await create(`template ${template.name}`);
  const name = new URL(database.url).pathname.slice(1);
  for (const [setting, value] of Object.entries(settings))
    await asAdmin(`alter database ${name} set ${setting} = '${value}'`);
  return database;
}

/** A new database without any schema, for tests of migrations. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  return create("template template0 encoding 'UTF8'");
}

async function create(options: string): Promise<TestDatabase> {
  const name = `hitzero_test_${randomBytes(8).toString("hex")}`;
  // Copied as files: the log of a server for tests is of no use.
  await asAdmin(`create database ${name} ${options} strategy file_copy`);
  const url = new URL(adminUrl());
  url.pathname = `/${name}`;
  return {
    url: url.href,
    drop: () => asAdmin(`drop database if exists ${name} with (force)`),
  };
}

/** URL of the run's Postgres itself, with the rights to create databases. */
export function adminUrl(): string {
  const postgres = inject("postgres");
  if ("fault" in postgres) throw new Error(`no Postgres for tests: ${postgres.fault}`);
  return postgres.url;
}

async function asAdmin(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl() });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
