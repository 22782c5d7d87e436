/** A Postgres as people have it: behind a pooler, with a schema and a role that somebody else made, read-only. */
import { expect, test } from "vitest";
import { Client } from "../../src/engine/client.ts";
import { Supervisor } from "../../src/engine/supervisor.ts";
import { Worker } from "../../src/engine/worker.ts";
import { Database } from "../../src/postgres/database.ts";
import { migrate } from "../../src/postgres/migrate.ts";
import { createEmptyDatabase } from "../support/database.ts";
import { startPooler } from "../support/pooler.ts";
import { redisUrl, testNamespace } from "../support/redis.ts";

test("all goes behind a pooler that gives each transaction another session", async () => {
  const database = await createEmptyDatabase();
  const pooler = await startPooler(database.url);
  const settings = { redisUrl: redisUrl(), databaseUrl: pooler.url, namespace: testNamespace() };
  expect((await migrate(pooler.url)).applied.length).toBeGreaterThan(0);
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
    await database.drop();
  }
});
