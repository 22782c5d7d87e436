/** Redis without what it had: put back to an older copy, cut off at its end, or emptied, while nothing is on record as started. */

import { afterEach, expect, test } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { PartitionKeys } from "../../src/redis/keys.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { chainOf, gatedHandlers, partitionRow } from "../support/gated.ts";
import { type PrivateRedis, startPrivateRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";

let engine: TestEngine | undefined;
let redis: PrivateRedis | undefined;
afterEach(async () => {
  await engine?.stop();
  await redis?.stop();
  engine = undefined;
  redis = undefined;
});

const { gates, calls, handlers } = gatedHandlers();
const chain = (...functions: string[]) => chainOf("rewinds", functions);

/** What is done to Redis when runs are final: it is prepared in the middle of them. */
const losses: [string, (server: PrivateRedis) => Promise<() => Promise<void>>][] = [
  ["put back to an older copy", (server) => server.copy()],
  ["cut off at its end", async (server) => () => server.cutOff(20_000)],
];

test.each(losses)(
  "%s it performs nothing again of what is final on record, and goes on with new runs",
  async (_what, prepare) => {
    redis = await startPrivateRedis(["appendfsync always"]);
    // Few at once: when the copy is made, some tokens are held and others lie in their stream.
    engine = await startEngine({ handlers, redisUrl: redis.url, concurrency: 4, leaseMs: 1_000 });
    const { client, database } = engine;
    gates.length = 0;
    calls.length = 0;
    const workflow = await client.register(chain("count", "gate", "count"));
    const { runIds } = await client.submit(workflow, { count: 16 });
    await until(() => gates.length === 4, "four runs are at their gates");
    const lose = await prepare(redis);
    const openGates = setInterval(() => gates.splice(0).forEach((open) => void open()), 10);
    expect(await client.waitAll(runIds)).toEqual({ COMPLETED: 16 });
    const performed = [...calls].sort();
    expect(performed).toEqual(runIds.flatMap((id) => [`${id}/n0/`, `${id}/n2/`]).sort());
    await redis.kill9();
    await lose();
    await redis.restart();
    await until(async () => (await partitionRow(database)).epoch === 2, "a new epoch began");
    const later = await client.submit(workflow, { count: 8 });
    expect(await client.waitAll(later.runIds)).toEqual({ COMPLETED: 8 });
    const connection = await RedisConnection.open(redis.url);
    const older = () =>
      connection.redis.keys(new PartitionKeys(engine?.settings.namespace ?? "", 0, "1").run("*"));
    await until(async () => (await older()).length === 0, "what the older epoch left is removed");
    clearInterval(openGates);
    expect(calls.filter((key) => runIds.some((id) => key.startsWith(id))).sort()).toEqual(performed);
    expect(await partitionRow(database)).toMatchObject({ epoch: 2, closed_reason: null });
    expect((await database.query("select * from hitzero.refused_entries")).rows).toEqual([]);
    const keys = await connection.redis.keys(engine.partition(connection).keys.pattern);
    expect(keys.filter((key) => !/:(meta$|2:)/.test(key))).toEqual([]);
    connection.close();
  },
);

test("emptied while nothing is on record as started: workers, their threads and clients follow to the new epoch", async () => {
  engine = await startEngine({ handlers, leaseMs: 600, stuckMs: 600_000 });
  const { client, database, settings } = engine;
  const connection = await RedisConnection.open(settings.redisUrl);
  const workflow = await client.register(chain("noop", "gate", "noop"));
  const openGates = setInterval(() => gates.splice(0).forEach((open) => void open()), 10);
  const { runIds } = await client.submit(workflow, { count: 2 });
  expect(await client.waitAll(runIds)).toEqual({ COMPLETED: 2 });
  clearInterval(openGates);
  const partition = engine.partition(connection);
  await connection.redis.del(partition.keys.meta);
  await until(async () => (await partitionRow(database)).epoch === 2, "a new epoch began");
  await partition.refresh();
  // The worker holds one, and waits in the new streams: its record there is made and renewed.
  const later = await client.submit(workflow, {});
  await until(() => gates.length === 1, "the run is at its gate");
  const worker = engine.workers[0]?.id as string;
  const aliveUntil = async () => Number(await connection.redis.zscore(partition.keys.workers, worker));
  const first = await until(aliveUntil, "the worker has a record");
  await until(async () => (await aliveUntil()) > first + 600, "its record is renewed");
  await client.pause(later.runIds[0] as string);
  await until(
    async () => (await client.getRun(later.runIds[0] as string)).status === "PAUSED",
    "it is paused",
  );
  await client.resume(later.runIds[0] as string);
  for (const open of gates.splice(0)) open();
  expect(await client.waitAll(later.runIds)).toEqual({ COMPLETED: 1 });
  connection.close();
});
