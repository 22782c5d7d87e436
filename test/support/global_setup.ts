/**
 * One Redis and one Postgres for the whole test run.
 *
 * HITZERO_TEST_REDIS_URL and HITZERO_TEST_DATABASE_URL win; else servers of our own start in a throw-away folder. The
 * Postgres gets a template database with the migrations applied, which `createTestDatabase` clones. A server that cannot
 * be had fails only the tests that ask for it: unit tests run without.
 *
 * A watchdog process ends the servers and removes the folder when this process dies, however it dies.
 */

import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { startPostgresServer } from "../../src/local/postgres_server.ts";
import { startRedisServer } from "../../src/local/redis_server.ts";
import { migrate } from "../../src/postgres/migrate.ts";
import { startWatchdog } from "./watchdog.ts";

/** A server's URL, or why there is none. */
export type TestServer = { url: string } | { fault: string };

declare module "vitest" {
  interface ProvidedContext {
    /** Throw-away folder of this run. What tests put there is removed, and servers with a pid file there are ended. */
    runFolder: string;
    redis: TestServer;
    postgres: TestServer;
    /** The migrated database to clone, or why there is none. */
    template: { name: string } | { fault: string };
  }
}

// ts-unused-exports:disable-next-line -- vitest calls it
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const runFolder = await mkdtemp(join(tmpdir(), "hitzero-test-"));
  // As root, Postgres runs as another user, who must be able to pass.
  await chmod(runFolder, 0o711);
  const watchdog = startWatchdog(runFolder);
  const [redis, postgres] = await Promise.all([redisServer(runFolder), postgresServer(runFolder)]);
  const template = "url" in postgres ? await migratedTemplate(postgres.url) : postgres;
  project.provide("runFolder", runFolder);
  project.provide("redis", redis);
  project.provide("postgres", postgres);
  project.provide("template", template);
  return async () => {
    if ("url" in postgres && "name" in template) await dropTemplate(postgres.url, template.name);
    // The watchdog has the one list of what to end: it does the same when this line is never reached.
    await watchdog.finish();
    await rm(runFolder, { recursive: true, force: true });
  };
}

async function redisServer(runFolder: string): Promise<TestServer> {
  const given = process.env.HITZERO_TEST_REDIS_URL;
  if (given) return { url: given };
  return asServer(startRedisServer({ dir: join(runFolder, "redis"), onProgress: tell }));
}

async function postgresServer(runFolder: string): Promise<TestServer> {
  const given = process.env.HITZERO_TEST_DATABASE_URL;
  if (given) return { url: given };
  return asServer(
    startPostgresServer({ dir: join(runFolder, "postgres"), durable: false, onProgress: tell }),
  );
}

async function asServer(starting: Promise<{ url: string }>): Promise<TestServer> {
  try {
    const { url } = await starting;
    return { url };
  } catch (error) {
    return { fault: describeFault(error) };
  }
}

async function migratedTemplate(adminUrl: string): Promise<{ name: string } | { fault: string }> {
  const name = `hitzero_template_${process.pid}_${Date.now()}`;
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  try {
    await asAdmin(adminUrl, `create database ${name}`);
    await migrate(url.href);
    return { name };
  } catch (error) {
    return { fault: describeFault(error) };
  }
}

async function dropTemplate(adminUrl: string, name: string): Promise<void> {
  await asAdmin(adminUrl, `drop database if exists ${name} with (force)`).catch(() => {});
}

async function asAdmin(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

function describeFault(error: unknown): string {
  const hint = error instanceof Error && "hint" in error ? ` ${String(error.hint)}` : "";
  return `${error instanceof Error ? error.message : String(error)}${hint}`;
}

function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}
