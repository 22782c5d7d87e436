/** For whom a reader wakes, and how long entries lie that nobody rings for. */

import { afterAll, beforeAll, expect, test } from "vitest";
import { JournalBell } from "../../src/engine/reader/journal_bell.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { Partition } from "../../src/redis/partition.ts";
import { nudgeReader } from "../../src/redis/scripts/nudge.ts";
import { openFence } from "../../src/redis/scripts/open.ts";
import { redisUrl, testNamespace } from "../support/redis.ts";
import { until } from "../support/until.ts";

/** Longer than any test. */
const EVER_MS = 600_000;

let connection: RedisConnection;
let blocking: RedisConnection;
/** Keys of each read of the bell. */
const reads: string[][] = [];

beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
  blocking = await connection.duplicate();
  const { redis } = blocking;
  const xread = redis.xread.bind(redis) as (...args: unknown[]) => unknown;
  redis.xread = ((...args: unknown[]) => {
    const rest = args.slice(args.indexOf("STREAMS") + 1) as string[];
    reads.push(rest.slice(0, rest.length / 2));
    return xread(...args);
  }) as never;
});
afterAll(() => {
  blocking.close();
  connection.close();
});

async function begin(lookMs: number) {
  const partition = new Partition(connection, testNamespace(), 0, "installation-1");
  await openFence(partition, { epoch: "1", create: true });
  const { keys } = partition;
  const bell = new JournalBell(blocking, partition, lookMs);
  expect(bell.takeRing()).toBe(true);
  reads.length = 0;
  const stop = new AbortController();
  const wait = (recorded: number) => {
    const state = { over: false, waiting: bell.wait(recorded, EVER_MS, stop.signal) };
    void state.waiting.then(() => {
      state.over = true;
    });
    return state;
  };
  return {
    partition,
    bell,
    stop,
    wait,
    journal: keys.journal,
    nudge: keys.nudge,
    append: (seq: number) => connection.redis.xadd(keys.journal, `${seq}-0`, "call", `call-${seq}`),
  };
}

test("an entry that nobody rings for lies: the reader listens for rings alone until its own look", async () => {
  const { wait, append, journal, nudge, bell, partition } = await begin(EVER_MS);
  const state = wait(0);
  await append(1);
  await until(() => reads.length === 2, "it heard of the entry");
  await append(2);
  expect(reads).toEqual([[journal, nudge], [nudge]]);
  expect([state.over, bell.takeRing()]).toEqual([false, false]);
  await nudgeReader(partition);
  await state.waiting;
  expect([reads.length, bell.takeRing()]).toEqual([2, true]);
});

test("its own look comes without a ring", async () => {
  const { wait, append, bell } = await begin(1);
  const state = wait(0);
  await append(1);
  await state.waiting;
  expect([reads.length, bell.takeRing()]).toEqual([2, false]);
});

test("a ring wakes it though the journal rests; what rang while it was at work it hears at once", async () => {
  const { wait, append, bell, partition } = await begin(EVER_MS);
  await append(1);
  const state = wait(1);
  await nudgeReader(partition);
  await state.waiting;
  expect(bell.takeRing()).toBe(true);
  await bell.hear();
  expect(bell.takeRing()).toBe(false);
  await nudgeReader(partition);
  await bell.hear();
  expect(bell.takeRing()).toBe(true);
  await append(2);
  await nudgeReader(partition);
  await wait(1).waiting;
  expect(bell.takeRing()).toBe(true);
});

test("a reader that is told to stop is not held up, at neither of its reads", async () => {
  for (const hasEntry of [false, true]) {
    const { wait, append, stop, nudge } = await begin(EVER_MS);
    if (hasEntry) await append(1);
    const state = wait(0);
    await until(() => reads.length === (hasEntry ? 2 : 1), "it waits");
    expect(reads.at(-1)).toContain(nudge);
    await connection.redis.ping(); // it blocks by now
    stop.abort();
    await state.waiting;
  }
});
