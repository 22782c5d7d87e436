/** Worker processes that are killed, or stand still longer than their lease, while a thousand runs go through them. */
import { resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Client } from "../../src/engine/client/client.ts";
import { Database } from "../../src/postgres/database.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { kindOf } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { type CliProcess, killAll } from "./cli.ts";
import { type CliEngine, connectCli } from "./engine.ts";

const RUNS = 1_000;
const KILLS = 5;
const LIMIT_MS = 150_000;
const SLOW_HANDLERS = resolve(import.meta.dirname, "slow_handlers.mjs");

const node = (id: string) => ({ id, type: "function", config: { function_name: "slow" } });
const diamond = {
  name: "diamond",
  nodes: ["start", "left", "right", "join"].map(node),
  edges: [
    { from: "start", to: "left" },
    { from: "start", to: "right" },
    { from: "left", to: "join" },
    { from: "right", to: "join" },
  ],
};

let engine: CliEngine;
let client: Client;
let database: Database;

beforeAll(async () => {
  engine = await connectCli("migrated");
  const { HITZERO_REDIS_URL: redisUrl = "", HITZERO_DATABASE_URL: databaseUrl = "" } = engine.env;
  const namespace = engine.env.HITZERO_NAMESPACE as string;
  client = await Client.connect({ redisUrl, databaseUrl, namespace });
  database = new Database(databaseUrl);
});
afterAll(async () => {
  await client?.close();
  await database?.close();
  await engine?.stop();
  killAll();
});

async function startWorker(): Promise<CliProcess> {
  const worker = engine.start(["worker", "--handlers", SLOW_HANDLERS, "--concurrency", "8"], {
    env: { HITZERO_LEASE_MS: "1000" },
  });
  engine.processes.push(worker);
  await worker.says("serves queue");
  return worker;
}

const count = async (sql: string): Promise<number> =>
  Number((await database.query<{ count: number }>(`select count(*) as count from ${sql}`)).rows[0]?.count);
const finals = () => count("hitzero.runs where status in ('COMPLETED', 'FAILED', 'CANCELLED')");
const handedOutAgain = () => count("hitzero.event_log where event_type = 'node_redelivered'");

/** Waits until so many runs are over, which never takes the rest of them along. */
const untilOver = (runs: number) =>
  until(async () => (await finals()) >= runs, `${runs} runs are over`, LIMIT_MS);

test(`${RUNS} runs go through ${KILLS} kill -9 and a worker that stood still: nothing lost, nothing twice`, {
  timeout: 2 * LIMIT_MS,
}, async () => {
  const supervisor = engine.start(["supervisor"]);
  engine.processes.push(supervisor);
  await supervisor.says("records runs");
  const workers = await Promise.all([startWorker(), startWorker()]);
  const { runIds } = await client.submit(await client.register(diamond), { count: RUNS });

  await untilOver(50);
  workers[0]?.signal("SIGSTOP");
  await until(
    async () => (await handedOutAgain()) > 0,
    "the tokens of the one that stands still are given to others",
  );
  workers[0]?.signal("SIGCONT");

  for (let kill = 1; kill <= KILLS; kill += 1) {
    await untilOver(100 + kill * 100);
    const killed = kill % 2;
    workers[killed]?.signal("SIGKILL");
    expect((await workers[killed]?.ended)?.code).toBe("SIGKILL");
    workers[killed] = await startWorker();
  }

  expect(await client.waitAll(runIds, { signal: AbortSignal.timeout(LIMIT_MS) })).toEqual({
    COMPLETED: RUNS,
  });
  const executions = "hitzero.node_executions where status = 'COMPLETED' and attempt = 1 and retry_count = 0";
  expect(await count(executions)).toBe(4 * RUNS);
  expect(await count("hitzero.node_executions")).toBe(4 * RUNS);
  const completions = "from hitzero.event_log where event_type = 'node_completed'";
  expect(await count(`(select run_id, node_id ${completions}) as told`)).toBe(4 * RUNS);
  expect(await count(`(select distinct run_id, node_id ${completions}) as told`)).toBe(4 * RUNS);
  expect(await count("hitzero.event_log where event_type = 'run_completed'")).toBe(RUNS);
  const others = "'run_started', 'node_completed', 'run_completed', 'node_redelivered'";
  expect(await count(`hitzero.event_log where event_type not in (${others})`)).toBe(0);
  expect(await handedOutAgain()).toBeGreaterThan(KILLS);
  expect(await count("hitzero.dead_letters")).toBe(0);
});

test("Redis holds nothing of them but tombstones", async () => {
  const connection = await RedisConnection.open(engine.env.HITZERO_REDIS_URL as string);
  try {
    const left = async (): Promise<string[]> => {
      const keys = await connection.redis.keys(`{${engine.env.HITZERO_NAMESPACE}:*`);
      const kinds = new Set(keys.map(kindOf));
      // What was known of workers is kept for a minute.
      for (const kind of ["workers", "listings", "last_words"]) kinds.delete(kind);
      return [...kinds].sort();
    };
    const expected = ["gone", "ir", "journal", "meta", "nudge", "queues", "ready", "suspects"];
    await until(async () => (await left()).join() === expected.join(), "all runs are cleared away").catch(
      async () => expect(await left()).toEqual(expected),
    );
  } finally {
    connection.close();
  }
});
