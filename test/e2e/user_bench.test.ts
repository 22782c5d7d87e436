/** `hitzero bench`: what it says, and that it leaves the user's servers as they were. What it measures is no matter of tests. */
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { Redis } from "ioredis";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { adminUrl } from "../support/database.ts";
import { redisUrl } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { killAll } from "./cli.ts";
import { type CliEngine, connectCli } from "./engine.ts";

let engine: CliEngine;
let admin: pg.Client;
let redis: Redis;

beforeAll(async () => {
  // Empty: what the benchmark wrote into it, if only a schema, would show.
  engine = await connectCli("empty");
  admin = new pg.Client({ connectionString: adminUrl() });
  await admin.connect();
  redis = new Redis(redisUrl());
});
afterAll(async () => {
  await engine?.stop();
  await admin?.end();
  redis?.disconnect();
  killAll();
});

async function databases(): Promise<string[]> {
  const { rows } = await admin.query<{ datname: string }>(
    "select datname from pg_database where datname like 'hitzero\\_bench\\_%' order by 1",
  );
  return rows.map(({ datname }) => datname);
}

async function keys(): Promise<string[]> {
  const found: string[] = [];
  for await (const some of redis.scanStream({ match: "{bench-*", count: 1_000 }))
    found.push(...(some as string[]));
  return found;
}

const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith("hitzero-bench-"));

async function schemasOf(url: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query("select 1 from pg_namespace where nspname = 'hitzero'")).rows;
  } finally {
    await client.end();
  }
}

/** Besides what others that run meanwhile have. */
async function expectNothingLeft(foldersBefore: readonly string[]): Promise<void> {
  expect(await databases()).toEqual([]);
  expect(await keys()).toEqual([]);
  expect(await schemasOf(engine.database.url)).toEqual([]);
  expect(folders().filter((name) => !foldersBefore.includes(name))).toEqual([]);
}

test("it measures, reports one JSON document, and leaves nothing on the servers", async () => {
  const before = folders();
  const { code, stdout, stderr } = await engine.run(["bench", "--seconds", "2", "--workers", "2", "--json"]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const result = JSON.parse(stdout);
  expect(result).toEqual({
    steps_per_second: expect.any(Number),
    seconds: expect.any(Number),
    hop: { count: expect.any(Number), p50_ms: expect.any(Number), p99_ms: expect.any(Number) },
    submit_to_final: { count: expect.any(Number), p50_ms: expect.any(Number), p99_ms: expect.any(Number) },
    runs: expect.any(Number),
    workers: 2,
  });
  expect(result.hop.count).toBe(9 * result.submit_to_final.count);
  expect(result.hop.p50_ms).toBeGreaterThan(0);
  expect(result.submit_to_final.p50_ms).toBeGreaterThan(result.hop.p50_ms);
  expect(stderr).toContain("measuring steps per second");
  await expectNothingLeft(before);
});

test("Ctrl-C ends it with 130, and everything is removed", async () => {
  const before = folders();
  const bench = engine.start(["bench", "--seconds", "600"]);
  await bench.says("measuring steps per second");
  await until(async () => (await keys()).length > 0, "the benchmark has runs under way");
  expect(await databases()).toHaveLength(1);
  bench.signal("SIGINT");
  const { code, stdout, stderr } = await bench.ended;
  expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
  expect(stderr).toContain("stopping and removing everything");
  expect(stderr).not.toContain("error");
  await expectNothingLeft(before);
});

test("what a killed benchmark left behind is removed by the next, but not what a young one may just be making", async () => {
  const id = (ageMs: number) =>
    Math.floor((Date.now() - ageMs) / 1_000)
      .toString(16)
      .padStart(8, "0");
  const [old, young] = [`${id(3_600_000)}aaaa`, `${id(0)}bbbb`];
  for (const one of [old, young]) {
    await admin.query(`create database hitzero_bench_${one}`);
    await redis.hset(`{bench-${one}:0}:meta`, "installation", "x");
  }
  const before = folders();
  try {
    const { code, stderr } = await engine.run(["bench", "--seconds", "1"]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stderr).toContain(`removing hitzero_bench_${old}`);
    expect(await databases()).toEqual([`hitzero_bench_${young}`]);
    expect(await keys()).toEqual([`{bench-${young}:0}:meta`]);
  } finally {
    await admin.query(`drop database hitzero_bench_${young}`);
    await redis.del(`{bench-${young}:0}:meta`);
  }
  await expectNothingLeft(before);
});

test("a user who may not create databases is told so, with the remedy, and nothing was made", async () => {
  const before = folders();
  const role = `bench_${engine.env.HITZERO_NAMESPACE?.replaceAll("-", "_")}`;
  await admin.query(`create role ${role} login password 'secret'`);
  const url = new URL(engine.database.url);
  [url.username, url.password] = [role, "secret"];
  try {
    const { code, stdout } = await engine.run(["bench", "--json"], {
      env: { HITZERO_DATABASE_URL: url.href },
    });
    const { error } = JSON.parse(stdout);
    expect({ code, error }).toMatchObject({
      code: 3,
      error: { code: "PERMISSION_DENIED", hint: expect.stringContaining(`ALTER ROLE "${role}" CREATEDB`) },
    });
  } finally {
    await admin.query(`drop role ${role}`);
  }
  await expectNothingLeft(before);
});
