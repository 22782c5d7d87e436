/**
 * One Redis and one Postgres for the whole test run.
 *
 * HITZERO_TEST_REDIS_URL and HITZERO_TEST_DATABASE_URL win; else servers of our own start in a throw-away folder; where no
 * programs for that can be had, or HITZERO_TEST_SERVERS is `containers`, they run in containers. The Postgres gets a
 * template database with the migrations applied, which `createTestDatabase` clones. A server that cannot be had fails only
 * the tests that ask for it: unit tests run without.
 *
 * A watchdog process ends the servers and removes the folder when this process dies, however it dies. Containers are ended
 * by the one that testcontainers starts beside them.
 */

import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { startPostgresServer } from "../../src/local/postgres_server.ts";
import { startRedisServer } from "../../src/local/redis_server.ts";
import { migrate } from "../../src/postgres/migrate.ts";
import type { ContainerServer } from "./containers.ts";
import { startWatchdog } from "./watchdog.ts";

/** A server's URL, or why there is none. */
export type TestServer = { url: string } | { fault: string };

/** Faults of local servers that containers make good: there is no program to run, or nobody to run it as. */
const WITHOUT_PROGRAM = ["REDIS_NOT_FOUND", "POSTGRES_NOT_FOUND", "POSTGRES_NEEDS_USER"];

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

/** For the processes that tests start: JavaScript, as one that compiles TypeScript takes three times as long to start. */
async function buildForProcesses(): Promise<void> {
  await build({
    absWorkingDir: fileURLToPath(new URL("../../", import.meta.url)),
    entryPoints: ["src/local/stack.ts", "src/local/folder_lock.ts", "src/postgres/migrate.ts"],
    // As deep as the sources, which find lua/ and migrations/ by their own place.
    outdir: "test/.built",
    entryNames: "[name]",
    bundle: true,
    splitting: true,
    packages: "external",
    format: "esm",
    platform: "node",
    target: "node20",
    logLevel: "warning",
  });
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await buildForProcesses();
  const runFolder = await mkdtemp(join(tmpdir(), "hitzero-test-"));
  // As root, Postgres runs as another user, who must be able to pass.
  await chmod(runFolder, 0o711);
  const watchdog = startWatchdog(runFolder);
  const containers = new Containers();
  const [redis, postgres] = await Promise.all([
    redisServer(runFolder, containers),
    postgresServer(runFolder, containers),
  ]);
  const template = "url" in postgres ? await migratedTemplate(postgres.url) : postgres;
  project.provide("runFolder", runFolder);
  project.provide("redis", redis);
  project.provide("postgres", postgres);
  project.provide("template", template);
  return async () => {
    if ("url" in postgres && "name" in template) await dropTemplate(postgres.url, template.name);
    await containers.stop();
    // The watchdog has the one list of what to end: it does the same when this line is never reached.
    await watchdog.finish();
    await rm(runFolder, { recursive: true, force: true });
  };
}

async function redisServer(runFolder: string, containers: Containers): Promise<TestServer> {
  const given = process.env.HITZERO_TEST_REDIS_URL;
  if (given) return { url: given };
  return localOrContained(
    () => startRedisServer({ dir: join(runFolder, "redis"), onProgress: tell }),
    () => containers.redis(),
  );
}

async function postgresServer(runFolder: string, containers: Containers): Promise<TestServer> {
  const given = process.env.HITZERO_TEST_DATABASE_URL;
  if (given) return { url: given };
  return localOrContained(
    () => startPostgresServer({ dir: join(runFolder, "postgres"), durable: false, onProgress: tell }),
    () => containers.postgres(),
  );
}

/** The local server; a container when there is no program for one, or containers are asked for. */
async function localOrContained(
  local: () => Promise<{ url: string }>,
  contained: () => Promise<{ url: string }>,
): Promise<TestServer> {
  const reasons: string[] = [];
  if (process.env.HITZERO_TEST_SERVERS !== "containers") {
    try {
      return { url: (await local()).url };
    } catch (error) {
      reasons.push(describeFault(error));
      if (!WITHOUT_PROGRAM.includes(String((error as { code?: string }).code)))
        return { fault: reasons[0] as string };
    }
  }
  try {
    return { url: (await contained()).url };
  } catch (error) {
    return { fault: [...reasons, `in a container: ${describeFault(error)}`].join("; ") };
  }
}

/** Servers in containers. Their library is loaded when it is needed, which is seldom. */
class Containers {
  readonly #started: ContainerServer[] = [];

  async redis(): Promise<ContainerServer> {
    const { startRedisContainer } = await import("./containers.ts");
    return this.#keep(await startRedisContainer());
  }

  async postgres(): Promise<ContainerServer> {
    const { startPostgresContainer } = await import("./containers.ts");
    return this.#keep(await startPostgresContainer());
  }

  #keep(server: ContainerServer): ContainerServer {
    this.#started.push(server);
    return server;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#started.map((server) => server.stop()));
  }
}

async function migratedTemplate(adminUrl: string): Promise<{ name: string } | { fault: string }> {
  const name = `hitzero_template_${process.pid}_${Date.now()}`;
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  try {
    await asAdmin(adminUrl, `create database ${name}`);
    // Few: each is a file or more in every clone.
    await migrate(url.href, { periodsAhead: 1 });
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
