/** A script call that is lost, or whose reply is, on the connection of a reader: it is made again, for the same server only. */

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { CALL_LIMITS } from "../../src/redis/call_limits.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { Partition } from "../../src/redis/partition.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { forget } from "../../src/redis/scripts/forget.ts";
import { openFence } from "../../src/redis/scripts/open.ts";
import { type Link, startLink } from "../support/link.ts";
import { type PrivateRedis, redisUrl, startPrivateRedis, testNamespace } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { INSTALLATION } from "./game.ts";

const TRIES = 6;

let other: PrivateRedis;
let direct: RedisConnection;
let link: Link;
let linked: RedisConnection;
let namespace: string;

beforeAll(async () => {
  other = await startPrivateRedis();
  direct = await RedisConnection.open(redisUrl());
});
afterAll(async () => {
  direct.close();
  await other.stop();
});
beforeEach(async () => {
  link = await startLink(redisUrl());
  linked = await RedisConnection.open(link.url);
  namespace = testNamespace();
});
afterEach(async () => {
  linked.close();
  await link.close();
});

async function opened(connection: RedisConnection, tries?: number): Promise<Partition> {
  const partition = new Partition(connection, namespace, 0, INSTALLATION, CALL_LIMITS, tries);
  await openFence(partition, { epoch: "1", create: true });
  return partition;
}

/** Cancels a run, over the link, that never started; the reply gets lost. Answers once the server has done it. */
async function cancelUnheard(partition: Partition) {
  const runId = crypto.randomUUID();
  // The server knows the script from here on.
  expect(await applyCommand(partition, runId, "pause", 1)).toBe("unstarted");
  link.silence("to_client");
  const word = applyCommand(partition, runId, "cancel", 7);
  word.catch(() => {});
  await until(
    async () => (await direct.redis.exists(partition.keys.tombstone(runId))) === 1,
    "it is cancelled",
  );
  return { runId, word };
}

test("a call whose reply is lost is made again, and takes effect once", async () => {
  const partition = await opened(linked, TRIES);
  const { word } = await cancelUnheard(partition);
  link.speak();
  link.cut();
  expect(await word).toBe("repeated");
  expect(await partition.readJournal(0, 10)).toHaveLength(1);
});

test("a call is not made again for another server that answers by now", async () => {
  const partition = await opened(linked, TRIES);
  const elsewhere = await RedisConnection.open(other.url);
  try {
    const there = await opened(elsewhere);
    const { runId, word } = await cancelUnheard(partition);
    link.speak();
    link.leadTo(other.url);
    link.cut();
    await expect(word).rejects.toMatchObject({ code: "REDIS_AWAY" });
    expect(await elsewhere.redis.exists(there.keys.tombstone(runId))).toBe(0);
    expect(await there.readJournal(0, 10)).toEqual([]);
  } finally {
    elsewhere.close();
  }
});

test("unless it is asked for, a lost call is its caller's to repeat", async () => {
  const partition = await opened(linked);
  const { word } = await cancelUnheard(partition);
  link.speak();
  link.cut();
  await expect(word).rejects.toMatchObject({ code: "REDIS_AWAY" });
});

test("the tombstone of a run that was cancelled before it started stands until its end is on record", async () => {
  const partition = await opened(direct);
  const runId = crypto.randomUUID();
  const tombstone = partition.keys.tombstone(runId);
  expect(await applyCommand(partition, runId, "cancel", 1)).toBe("applied");
  expect(await direct.redis.pttl(tombstone)).toBe(-1);
  await forget(partition, 1, [{ runId, blobs: [] }]);
  expect(await direct.redis.pttl(tombstone)).toBeGreaterThan(0);
});
