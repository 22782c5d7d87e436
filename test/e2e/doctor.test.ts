/** `doctor`: what it finds, what it advises, and its exit codes. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../src/local/free_port.ts";
import { type PrivateRedis, startPrivateRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { killAll, makeFolder, PLAIN_HANDLERS } from "./cli.ts";
import { type CliEngine, connectCli } from "./engine.ts";
import { gatedWorkflow, submitOne } from "./gated.ts";

let engine: CliEngine;
let redis: PrivateRedis;
let folder: string;
let env: Record<string, string>;

beforeAll(async () => {
  folder = await makeFolder();
  engine = await connectCli("empty");
  // Careless in every way that a Redis can be.
  redis = await startPrivateRedis([
    "appendonly no",
    "appendfsync no",
    "maxmemory-policy allkeys-lru",
    "maxmemory 3mb",
  ]);
  env = { HITZERO_REDIS_URL: redis.url };
});
afterAll(async () => {
  await engine?.stop();
  await redis?.stop();
  killAll();
});

interface Check {
  area: string;
  name: string;
  status: string;
  message: string;
  hint: string;
}

async function doctor(more: Record<string, string> = {}) {
  const { code, stdout, stderr } = await engine.here(["doctor", "--json"], { env: { ...env, ...more } });
  const { checks, ok, away } = JSON.parse(stdout) as { checks: Check[]; ok: boolean; away: boolean };
  const find = (area: string, name: string) =>
    checks.find((check) => check.area === area && check.name === name) as Check;
  return { code, stderr, ok, away, checks, find };
}

test("an empty database and a careless Redis: each fault with its remedy", async () => {
  const { code, find, checks } = await doctor();
  expect(code).toBe(1);
  expect(find("node", "version")).toMatchObject({ status: "ok", message: `Node ${process.versions.node}` });
  expect(find("redis", "connection").message).toMatch(/^(Redis|Valkey) \d+\.\d+\.\d+ at 127\.0\.0\.1:\d+$/);
  for (const name of ["appendonly", "appendfsync", "maxmemory-policy"])
    expect(find("redis", name)).toMatchObject({
      status: "fail",
      hint: expect.stringContaining("redis.conf"),
    });
  expect(find("redis", "memory").message).toMatch(/ of 3\.0 MB used/);
  expect(find("schema", "migrations")).toMatchObject({
    status: "fail",
    hint: "Run `npx hitzero migrate`.",
  });
  expect(checks.filter(({ status, hint }) => status !== "ok" && hint === "")).toEqual([]);
});

test("nobody serves, then somebody does; a function, a queue and a dead letter that nobody looks after", async () => {
  await engine.here(["migrate"], { env });
  const alone = await doctor();
  expect(alone.find("schema", "migrations").status).toBe("ok");
  expect(alone.find("schema", "periods").status).toBe("ok");
  expect(alone.find("partitions", "partition 0")).toMatchObject({
    status: "fail",
    hint: expect.stringContaining("npx hitzero supervisor"),
  });
  expect(alone.find("processes", "supervisors").status).toBe("fail");
  expect(alone.find("processes", "workers").status).toBe("fail");

  const supervisor = engine.start(["supervisor"], { env });
  const worker = engine.start(["worker", "--handlers", PLAIN_HANDLERS], { env });
  engine.processes.push(supervisor, worker);
  await Promise.all([supervisor.says("records runs"), worker.says("serves queue")]);
  const { file, input, begun, open } = gatedWorkflow(folder, "examined");
  const runId = await submitOne({ ...engine, here: (args) => engine.here(args, { env }) }, file, input);
  await begun();
  const lonely = join(folder, "lonely.json");
  const config = { function_name: "unknown_here" };
  const nodes = [
    { id: "one", type: "function", config },
    { id: "two", type: "function", queue: "unread", config },
  ];
  writeFileSync(lonely, JSON.stringify({ name: "lonely", nodes, edges: [] }));
  const warned = await engine.here(["submit", lonely], { env });
  expect(warned.stderr).toContain("no live worker reads queue unread");
  expect(warned.stderr).toContain("no live worker offers function unknown_here");
  await withDatabase(async (client) => {
    await client.query(
      "insert into hitzero.dead_letters (run_id, node_id, scope, deliveries, died_at) values ($1, 'gated', '', 5, now())",
      [runId],
    );
  });
  const served = await until(async () => {
    const examined = await doctor();
    return examined.find("partitions", "open") && examined;
  }, "the partition is open");
  expect(served.find("partitions", "open").message).toMatch(/^1 partition is open and read; the record is /);
  expect(served.find("processes", "supervisors").status).toBe("ok");
  expect(served.find("processes", "workers")).toMatchObject({
    status: "ok",
    message: "1 worker alive, for queue default",
  });
  expect(served.find("work", "functions")).toMatchObject({
    status: "fail",
    message: expect.stringMatching(/: unknown_here$/),
  });
  expect(served.find("work", "queues")).toMatchObject({
    status: "fail",
    message: expect.stringMatching(/: unread$/),
  });
  const shown = /run show (\S+)/.exec(warned.stdout)?.[1] as string;
  await until(async () => {
    const { stdout } = await engine.here(["run", "show", shown], { env });
    return (
      /^one waits for a worker: no live worker of queue default offers function unknown_here \(since /m.test(
        stdout,
      ) && /^two waits for a worker: no live worker reads queue unread \(since /m.test(stdout)
    );
  }, "run show says who waits");
  expect(served.find("work", "dead letters")).toMatchObject({
    status: "warn",
    hint: expect.stringContaining("dead-letter list"),
  });
  open();
});

test("closed partitions, dead processes and runs that wait are told", async () => {
  await withDatabase(async (client) => {
    await client.query("update hitzero.partitions set closed_reason = 'HISTORY_LOST: for this test'");
    await client.query(`insert into hitzero.worker_registry (worker_id, kind, host, pid, version, heartbeat_at)
      values ('worker-gone', 'worker', 'elsewhere', 4711, '0.0.1', now() - interval '5 minutes')`);
    await client.query(
      `with run as (
         insert into hitzero.runs (run_id, partition, workflow_name, workflow_version, ir_digest, submitted_at)
         values (gen_random_uuid(), 7, 'never', 1, 'none', now() - interval '2 hours') returning *)
       insert into hitzero.open_runs (partition, run_id, submitted_at) select partition, run_id, submitted_at from run`,
    );
  });
  const { find, code } = await doctor();
  expect(code).toBe(1);
  expect(find("partitions", "partition 0").message).toContain("HISTORY_LOST: for this test");
  expect(find("processes", "dead").message).toMatch(/worker 4711 on elsewhere \(5 min \d+ s ago\)/);
  expect(find("schema", "default").message).toBe("rows of no period are in runs_default");
  expect(find("work", "unstarted").message).toMatch(/^1 run accepted .*the oldest 2 h 0 min/);
});

test.each(["HITZERO_REDIS_URL", "HITZERO_DATABASE_URL"])(
  "%s names a server that is away: exit code 3, and the other one is examined nevertheless",
  async (name) => {
    const url = new URL({ ...engine.env, ...env }[name] as string);
    url.port = String(await freePort());
    url.password = "s3cret-w0rd";
    const { code, away, checks } = await doctor({ [name]: url.href });
    expect([code, away]).toEqual([3, true]);
    const [gone, there] = name === "HITZERO_REDIS_URL" ? ["redis", "postgres"] : ["postgres", "redis"];
    const failed = checks.find(({ area, status }) => area === gone && status === "fail");
    expect(failed?.message).toContain("cannot be reached");
    expect(checks.filter(({ area, status }) => area === there && status === "ok").length).toBeGreaterThan(0);
    expect(JSON.stringify(checks)).not.toContain("s3cret-w0rd");
  },
);

test("for people: a line for each, hints below, no colours without a terminal", async () => {
  const { stdout, code } = await engine.run(["doctor"], { env });
  expect(code).toBe(1);
  expect(stdout).toMatch(/^✔ node {8}Node /m);
  expect(stdout).toMatch(/^✘ redis {7}appendonly no: .*\n {14}hint: Set `appendonly yes`/m);
  expect(stdout).toMatch(/^\d+ failures, \d+ warnings?$/m);
  expect(stdout).not.toContain("\x1b");
});

async function withDatabase(work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: engine.database.url });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}
