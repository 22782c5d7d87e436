/** A Postgres as people have it: behind a pooler, with a schema and a role that somebody else made, read-only. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { v7 as uuidv7 } from "uuid";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { readRunEvents } from "../../src/cli/run/events.ts";
import { Client, type RegisteredWorkflow, type Submission } from "../../src/engine/client/client.ts";
import { Supervisor } from "../../src/engine/reader/supervisor.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { startPostgresServer } from "../../src/local/postgres_server.ts";
import { acceptRuns } from "../../src/postgres/accept_runs.ts";
import { Database } from "../../src/postgres/database.ts";
import { migrate } from "../../src/postgres/migrate.ts";
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from "../support/database.ts";
import { startPooler } from "../support/pooler.ts";
import { redisUrl, testNamespace } from "../support/redis.ts";
import { until, withinLimit } from "../support/until.ts";

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

test("a Postgres that turns read-only while runs go on holds them up, and nothing is lost or set aside", async () => {
  const dir = join(inject("runFolder"), `read-only-${randomBytes(4).toString("hex")}`);
  const server = await startPostgresServer({ dir, durable: false });
  await migrate(server.url);
  const settings = { redisUrl: redisUrl(), databaseUrl: server.url, namespace: testNamespace() };
  const admin = new pg.Client({ connectionString: server.url });
  await admin.connect();
  await admin.query("set default_transaction_read_only = off");
  const turn = async (value: "on" | "off") => {
    await admin.query(`alter system set default_transaction_read_only = ${value}`);
    await admin.query("select pg_reload_conf()");
  };
  const said: string[] = [];
  const say = (facts: object) => void said.push(JSON.stringify(facts));
  const log = { debug: () => {}, info: () => {}, warn: say, error: say };
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  let atGate = 0;
  const gate = () => {
    atGate += 1;
    return opened;
  };
  let afterwards = 0;
  const supervisor = new Supervisor({ ...settings, log: log as never });
  const worker = new Worker({ ...settings, handlers: { gate, after: () => ++afterwards } });
  await supervisor.start();
  await worker.start();
  const client = await Client.connect(settings);
  try {
    const step = (id: string, name: string) => ({ id, type: "function", config: { function_name: name } });
    const workflow = await client.register({
      name: "held_up",
      nodes: [step("a", "gate"), step("b", "after")],
      edges: [{ from: "a", to: "b" }],
    });
    const { runIds } = await client.submit(workflow, { count: 3 });
    await until(() => atGate === 3, "handlers are at their gates");
    await turn("on");
    const named = { code: "READ_ONLY", exitCode: 3 };
    // A session hears of it between two statements, sooner or later.
    const refusal = () =>
      client.submit(workflow).then(
        (more) => void runIds.push(...more.runIds),
        (error) => error as object,
      );
    expect(await until(refusal, "submits are refused")).toMatchObject(named);
    open();
    await until(() => afterwards === runIds.length, "the worker goes on");
    await until(() => said.some((line) => line.includes("takes no writes")), "the supervisor says so");
    await expect(client.cancel(runIds[0] as string)).rejects.toMatchObject(named);
    const statuses = new Set((await client.listRuns({})).map(({ status }) => status));
    for (const status of statuses) expect(["PENDING", "RUNNING"]).toContain(status);
    await turn("off");
    const all = { COMPLETED: runIds.length };
    expect(await client.waitAll(runIds, { signal: withinLimit() })).toEqual(all);
    expect(afterwards).toBe(runIds.length);
    expect((await admin.query("select 1 from hitzero.refused_entries")).rows).toEqual([]);
    const submission = await client.submit(workflow, { idempotencyKey: "afterwards" });
    expect(await client.waitAll(submission.runIds, { signal: withinLimit() })).toEqual({ COMPLETED: 1 });
  } finally {
    await client.close();
    await worker.stop();
    await supervisor.stop();
    await admin.end();
    await server.stop();
  }
});

test("whoever waits, follows or submits while Postgres restarts does not notice but for the time it takes", async () => {
  const dir = join(inject("runFolder"), `restarted-${randomBytes(4).toString("hex")}`);
  let server = await startPostgresServer({ dir, durable: false });
  await migrate(server.url);
  const settings = { redisUrl: redisUrl(), databaseUrl: server.url, namespace: testNamespace() };
  const gates: (() => void)[] = [];
  const gate = () => new Promise<string>((resolve) => gates.push(() => resolve("open")));
  const supervisor = new Supervisor(settings);
  const worker = new Worker({ ...settings, handlers: { gate, quick: () => "done" } });
  await supervisor.start();
  await worker.start();
  const told: string[] = [];
  const client = await Client.connect({ ...settings, onAway: ({ code }) => told.push(code) });
  try {
    const [gated, quick] = await Promise.all(
      ["gate", "quick"].map((name) => {
        const nodes = [{ id: "a", type: "function", config: { function_name: name } }];
        return client.register({ name, nodes, edges: [] });
      }),
    );
    const [runId] = (await client.submit(gated as RegisteredWorkflow)).runIds as [string];
    await until(() => gates.length === 1, "the handler is at its gate");
    const events: (string | null)[] = [];
    const follow = async () => {
      const options = { level: "INFO", follow: true, signal: new AbortController().signal } as const;
      for await (const page of readRunEvents(client, runId, options))
        events.push(...page.map((one) => one.event_type));
    };
    const waits = [client.wait(runId), client.waitAll([runId]), follow()] as const;
    const submits: Promise<Submission>[] = [];
    const submit = (index: number) =>
      submits.push(client.submit(quick as RegisteredWorkflow, { idempotencyKey: `order-${index}` }));
    submit(1);
    const stopped = server.stop();
    submit(2);
    await stopped;
    submit(3);
    await until(() => told.length > 0, "somebody waits for Postgres");
    server = await startPostgresServer({ dir, durable: false });
    expect(server.url).toBe(settings.databaseUrl);
    gates[0]?.();
    const [run, counts] = await Promise.all(waits);
    expect(run).toMatchObject({ status: "COMPLETED", output: "open" });
    expect(counts).toEqual({ COMPLETED: 1 });
    expect(events.at(-1)).toBe("run_completed");
    const submissions = await Promise.all(submits);
    const runIds = submissions.flatMap((submission) => submission.runIds);
    expect(new Set(runIds).size).toBe(3);
    expect(await client.waitAll(runIds)).toEqual({ COMPLETED: 3 });
    expect(await client.listRuns({ workflow: "quick" })).toHaveLength(3);
    expect(new Set(told)).toEqual(new Set(["SERVER_UNREACHABLE"]));
  } finally {
    await client.close();
    await worker.stop();
    await supervisor.stop();
    await server.stop();
  }
});

describe("what is submitted", () => {
  let database: TestDatabase;
  let client: Client;
  let sql: Database;
  let workflow: RegisteredWorkflow;
  beforeEach(async () => {
    database = await createTestDatabase();
    sql = new Database(database.url);
    await sql.query("insert into hitzero.partitions (partition) values (1)");
    const settings = { redisUrl: redisUrl(), databaseUrl: database.url, namespace: testNamespace() };
    client = await Client.connect(settings);
    workflow = await client.register({ name: "one", nodes: [{ id: "a", type: "parallel" }], edges: [] });
  });
  afterEach(async () => {
    await client.close();
    await sql.close();
    await database.drop();
  });
  const partitionsOfRuns = async () =>
    (await sql.query<{ partition: number }>("select partition from hitzero.runs")).rows.map(
      (row) => row.partition,
    );

  test("goes to partitions that are open; is refused by name when none is, with nothing on record", async () => {
    const close = (partition: number) =>
      sql.query("update hitzero.partitions set closed_reason = $2 where partition = $1", [
        partition,
        "HISTORY_LOST: its journal ends at 3, the record at 9",
      ]);
    await close(0);
    await client.submit(workflow, { count: 20 });
    expect(await partitionsOfRuns()).toEqual(Array(20).fill(1));
    await close(1);
    await expect(client.submit(workflow, { idempotencyKey: "k" })).rejects.toMatchObject({
      code: "PARTITION_CLOSED",
      exitCode: 3,
      message: expect.stringContaining("partition 0 is closed (HISTORY_LOST: its journal ends at 3"),
      hint: expect.stringContaining("The record in Postgres is intact"),
    });
    expect(await partitionsOfRuns()).toHaveLength(20);
    expect((await sql.query("select 1 from hitzero.idempotency_keys")).rows).toEqual([]);
    await sql.query("update hitzero.partitions set closed_reason = null");
    await client.submit(workflow, { idempotencyKey: "k" });
  });

  test("is accepted once, also when its acceptance is repeated as the reply was lost", async () => {
    const run = { runId: uuidv7(), partition: 0 };
    const acceptance = { workflow, tags: [], input: "1", runs: [run], idempotencyKey: "k", inputDigest: "d" };
    for (let times = 0; times < 2; times += 1)
      expect(await acceptRuns(sql, [acceptance])).toEqual([{ runIds: [run.runId], existing: false }]);
    const other = { ...acceptance, runs: [{ ...run, runId: uuidv7() }] };
    expect(await acceptRuns(sql, [other])).toEqual([{ runIds: [run.runId], existing: true }]);
    expect(await partitionsOfRuns()).toEqual([0]);
  });
});
