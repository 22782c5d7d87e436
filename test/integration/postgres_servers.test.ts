/** A Postgres as people have it: behind a pooler, with a schema and a role that somebody else made, read-only. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { expect, test } from "vitest";
import { Client } from "../../src/engine/client.ts";
import { Supervisor } from "../../src/engine/supervisor.ts";
import { Worker } from "../../src/engine/worker.ts";
import { Database } from "../../src/postgres/database.ts";
import { migrate } from "../../src/postgres/migrate.ts";
import { createEmptyDatabase, createTestDatabase } from "../support/database.ts";
import { startPooler } from "../support/pooler.ts";
import { redisUrl, testNamespace } from "../support/redis.ts";

/** What docs/operations.md says to grant to a role that runs hitzero and does not migrate. */
const GRANTS = `GRANT USAGE ON SCHEMA hitzero TO hitzero_run;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA hitzero TO hitzero_run;
ALTER DEFAULT PRIVILEGES IN SCHEMA hitzero GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO hitzero_run;
`;

async function asOwner(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(sql).finally(() => client.end());
}

test("all goes as a role that may only read and write, behind a pooler that gives each transaction another session", async () => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/operations.md"), "utf8");
  expect(page).toContain(GRANTS);
  const database = await createEmptyDatabase();
  const role = `run_${randomBytes(4).toString("hex")}`;
  const migrating = await startPooler(database.url);
  expect((await migrate(migrating.url)).applied.length).toBeGreaterThan(0);
  await migrating.close();
  await asOwner(
    database.url,
    `create role ${role} login password 'x'; ${GRANTS.replaceAll("hitzero_run", role)}`,
  );
  const ofRole = Object.assign(new URL(database.url), { username: role, password: "x" });
  const pooler = await startPooler(ofRole.href);
  const settings = { redisUrl: redisUrl(), databaseUrl: pooler.url, namespace: testNamespace() };
  const supervisor = new Supervisor(settings);
  const worker = new Worker({
    ...settings,
    handlers: { double: ({ data }) => ({ n: (data as { n: number }).n * 2 }) },
  });
  await supervisor.start();
  await worker.start();
  const client = await Client.connect(settings);
  const sql = new Database(pooler.url, { size: 1 });
  try {
    const node = (id: string) => ({ id, type: "function", config: { function_name: "double" } });
    const nodes = [node("a"), node("b"), { id: "ask", type: "approval", config: { name: "go" } }];
    const edges = [
      { from: "a", to: "b" },
      { from: "b", to: "ask" },
    ];
    const workflow = await client.register({ name: "pooled", nodes, edges });
    const { runIds } = await client.submit(workflow, { input: { n: 1 }, count: 20 });
    for (const runId of runIds) await client.signal(runId, { name: "go", payload: { approved: true } });
    expect(await client.waitAll(runIds)).toEqual({ COMPLETED: 20 });
    expect(await client.listNodes(runIds[0] as string)).toMatchObject([
      { output: { n: 2 } },
      { output: { n: 4 } },
      {},
    ]);
    // No session keeps anything of a transaction that went through it.
    for (let session = 0; session < pooler.sessions; session += 1) {
      const { rows } = await sql.query(
        `select (select count(*) from pg_settings where source = 'session' and name <> 'application_name') as settings,
           (select count(*) from pg_prepared_statements) as statements,
           (select count(*) from pg_listening_channels()) as channels,
           (select count(*) from pg_locks where locktype = 'advisory') as locks`,
      );
      expect(rows).toEqual([{ settings: 0, statements: 0, channels: 0, locks: 0 }]);
    }
  } finally {
    await client.close();
    await worker.stop();
    await supervisor.stop();
    await sql.close();
    await pooler.close();
    await asOwner(database.url, `drop owned by ${role}; drop role ${role}`);
    await database.drop();
  }
});

test("a database that takes no writes is named by whoever writes", async () => {
  const database = await createTestDatabase();
  const settings = { redisUrl: redisUrl(), databaseUrl: database.url, namespace: testNamespace() };
  const { pathname } = new URL(database.url);
  await asOwner(database.url, `alter database ${pathname.slice(1)} set default_transaction_read_only = on`);
  const named = { code: "READ_ONLY", exitCode: 3 };
  const client = await Client.connect(settings);
  try {
    await expect(new Supervisor(settings).start()).rejects.toMatchObject(named);
    await expect(new Worker({ ...settings, handlers: {} }).start()).rejects.toMatchObject(named);
    const nodes = [{ id: "a", type: "parallel" }];
    await expect(client.register({ name: "refused", nodes, edges: [] })).rejects.toMatchObject(named);
  } finally {
    await client.close();
    await database.drop();
  }
});
