/** A Redis belongs to one database: processes of another one touch nothing there. */

import { afterAll, beforeAll, expect, test } from "vitest";
import type { Log } from "../../src/base/log.ts";
import { Client } from "../../src/engine/client/client.ts";
import { Supervisor } from "../../src/engine/reader/supervisor.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { Database } from "../../src/postgres/database.ts";
import { migrate } from "../../src/postgres/migrate.ts";
import { readInstallation } from "../../src/postgres/partitions.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { GROUP } from "../../src/redis/keys.ts";
import { Partition } from "../../src/redis/partition.ts";
import { openFence } from "../../src/redis/scripts/open.ts";
import { runHere } from "../e2e/here.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { testNamespace } from "../support/redis.ts";
import { until } from "../support/until.ts";

let engine: TestEngine;
let other: TestDatabase;
let foreign: { redisUrl: string; databaseUrl: string; namespace: string };
let connection: RedisConnection;
const gates: (() => void)[] = [];

beforeAll(async () => {
  engine = await startEngine({
    handlers: { gate: () => new Promise<string>((resolve) => gates.push(() => resolve("open"))) },
  });
  other = await createTestDatabase();
  foreign = { ...engine.settings, databaseUrl: other.url };
  const database = new Database(other.url);
  // Test databases are copies of one another, and so the same installation; this one has moved on further, too.
  await database.query("update hitzero.installation set installation_id = gen_random_uuid()");
  await database.query("update hitzero.partitions set epoch = 7, recorded_seq = 3, recorded_call = 'x'");
  await database.close();
  connection = await RedisConnection.open(engine.settings.redisUrl);
});
afterAll(async () => {
  connection?.close();
  await engine?.stop();
  await other?.drop();
});

const workflow = {
  name: "owned",
  nodes: ["a", "b"].map((id) => ({ id, type: "function", config: { function_name: "gate" } })),
  edges: [{ from: "a", to: "b" }],
};

async function closedReasonOf({ database }: TestEngine): Promise<string | undefined> {
  const { rows } = await database.query<{ closed_reason: string | null }>(
    "select closed_reason from hitzero.partitions",
  );
  return rows[0]?.closed_reason ?? undefined;
}

async function openGate(): Promise<void> {
  (await until(() => gates.shift(), "a run is at its gate"))();
}

test("processes of another database are refused at the start, with the way out; the owner's runs go on", async () => {
  const { runIds } = await engine.client.submit(await engine.client.register(workflow));
  const mine = await readInstallation(engine.database);
  const refused = {
    code: "REDIS_FOREIGN",
    exitCode: 3,
    message: expect.stringContaining(mine),
    hint: expect.stringContaining(`npx hitzero clear-redis --namespace ${engine.settings.namespace}`),
  };
  const supervisor = new Supervisor(foreign);
  const worker = new Worker({ ...foreign, handlers: {} });
  await expect(supervisor.start()).rejects.toMatchObject(refused);
  await expect(worker.start()).rejects.toMatchObject(refused);
  await expect(Client.connect(foreign)).rejects.toMatchObject(refused);
  await Promise.all([supervisor.stop(), worker.stop()]);
  await openGate();
  await openGate();
  expect(await engine.client.waitAll(runIds)).toEqual({ COMPLETED: 1 });
});

test("a Redis that turns out to be another database's is left alone, and the record says so until it is back", async () => {
  const { runIds } = await engine.client.submit(await engine.client.register(workflow));
  const { meta } = engine.partition(connection).keys;
  const mine = await readInstallation(engine.database);
  await until(() => gates[0], "the run is at its gate");
  await connection.redis.hset(meta, "installation", "theirs");
  await openGate();
  const closedReason = () => closedReasonOf(engine);
  expect(await until(closedReason, "the supervisor found out")).toMatch(/^REDIS_FOREIGN: .*theirs/);
  expect(await connection.redis.hget(meta, "installation")).toBe("theirs");
  await connection.redis.hset(meta, "installation", mine);
  await openGate();
  expect(await engine.client.waitAll(runIds)).toEqual({ COMPLETED: 1 });
  expect(await closedReason()).toBeUndefined();
});

test("clear-redis shows whose the keys are, spares those of unfinished runs, and removes the others", async () => {
  const namespace = testNamespace();
  const mine = await readInstallation(engine.database);
  await openFence(new Partition(connection, namespace, 0, mine), { epoch: "1", create: true });
  await connection.redis.set(`{${namespace}x:0}:run:1`, "of another namespace");
  const clear = async (databaseUrl: string, ...flags: string[]) => {
    const env = {
      HITZERO_REDIS_URL: engine.settings.redisUrl,
      HITZERO_DATABASE_URL: databaseUrl,
      HITZERO_NAMESPACE: namespace,
    };
    const { code, stdout } = await runHere(["clear-redis", "--json", ...flags], { env });
    return { code, told: JSON.parse(stdout) };
  };
  const { runIds } = await engine.client.submit(await engine.client.register(workflow));
  const own = await clear(engine.settings.databaseUrl, "--yes");
  expect(own).toMatchObject({ code: 2, told: { error: { code: "REDIS_IS_OWN" } } });
  await openGate();
  await openGate();
  await engine.client.waitAll(runIds);

  const found = await clear(other.url);
  expect(found).toMatchObject({ code: 0, told: { namespace, installations: [mine], removed: false } });
  expect(found.told.keys).toBeGreaterThan(0);
  const cleared = await clear(other.url, "--yes");
  expect(cleared.told).toEqual({ ...found.told, removed: true });
  expect((await clear(other.url)).told).toMatchObject({ keys: 0, installations: [] });
  expect(await connection.redis.del(`{${namespace}x:0}:run:1`)).toBe(1);
});

test("migrating again keeps the installation", async () => {
  const before = await readInstallation(engine.database);
  await migrate(engine.settings.databaseUrl);
  expect(await readInstallation(engine.database)).toBe(before);
});

/** A log whose lines are kept. */
function keptLog() {
  const lines: { level: string; facts: Record<string, unknown>; message: string }[] = [];
  const at = (level: string) => (facts: Record<string, unknown>, message: string) =>
    void lines.push({ level, facts, message });
  const log = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") } as Log;
  return { log, lines };
}

const one = { name: "one", nodes: [{ id: "a", type: "transform", config: { expression: "1" } }], edges: [] };

test.each([
  ["another database", "installation", "REDIS_FOREIGN", "clear-redis"],
  ["another release", "layout", "PARTITION_FENCED", "Two releases"],
])("a worker says once that %s fills its Redis, waits, and goes on", async (_who, field, code, hint) => {
  const own = await startEngine({ workers: 0 });
  const { log, lines } = keptLog();
  const worker = new Worker({ ...own.settings, handlers: {}, leaseMs: 300, log });
  try {
    await worker.start();
    const { meta } = own.partition(connection).keys;
    const mine = (await connection.redis.hget(meta, field)) as string;
    await connection.redis.hset(meta, field, "theirs");
    const told = () => lines.filter(({ level }) => level === "error");
    expect(await until(() => told()[0], "the worker said so")).toMatchObject({
      facts: { partition: 0, code, error: expect.any(String), hint: expect.stringContaining(hint) },
      message: "the worker waits: Redis refuses its calls",
    });
    // The record says so, too, though nothing goes on that would be refused.
    expect(await until(() => closedReasonOf(own), "the supervisor found out")).toContain(`${code}: `);
    await connection.redis.hset(meta, field, mine);
    await until(() => lines.some(({ message }) => message.startsWith("the worker goes on")), "it goes on");
    expect(told()).toHaveLength(1);
    await until(async () => (await closedReasonOf(own)) === undefined, "the partition is open again");
    const { runIds } = await own.client.submit(await own.client.register(one));
    expect(await own.client.waitAll(runIds)).toEqual({ COMPLETED: 1 });
  } finally {
    await worker.stop();
    await own.stop();
  }
});

test("a worker leaves the tokens of another database that took its Redis where they lie", async () => {
  const own = await startEngine({ workers: 0 });
  const { log, lines } = keptLog();
  const worker = new Worker({ ...own.settings, handlers: {}, leaseMs: 600_000, log });
  try {
    await worker.start();
    const { keys } = own.partition(connection);
    const stream = keys.stream({ queue: "default" });
    const token = (id: number) =>
      ["n", `run-${id}`, "1", "no-such-digest", "0", "", "1", "1", "nonce"].join("|");
    // So that it is known to read.
    const { runIds } = await own.client.submit(await own.client.register(one));
    expect(await own.client.waitAll(runIds)).toEqual({ COMPLETED: 1 });
    await connection.redis.hset(keys.meta, "installation", "theirs");
    await connection.redis.xadd(stream, "*", "t", token(1));
    await until(() => lines.some(({ facts }) => facts.code === "REDIS_FOREIGN"), "the worker said so");
    await until(() => closedReasonOf(own), "the supervisor found out");
    const later = await connection.redis.xadd(stream, "*", "t", token(2));
    // A worker that still read would have it by now, as it waited longer for it than this one.
    const given = await connection.redis.xreadgroup(
      "GROUP",
      GROUP,
      "theirs",
      "COUNT",
      1,
      "STREAMS",
      stream,
      ">",
    );
    expect(given).toMatchObject([[stream, [[later, expect.anything()]]]]);
  } finally {
    await worker.stop();
    await own.stop();
  }
});
