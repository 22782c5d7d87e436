/** The epoch in every key: what an older epoch left behind is never read, and removed after a while. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { FenceError } from "../../src/redis/fence_error.ts";
import { PartitionKeys } from "../../src/redis/keys.ts";
import { Partition } from "../../src/redis/partition.ts";
import { clearOlderEpochs } from "../../src/redis/scripts/clear_older.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { ensureQueues } from "../../src/redis/scripts/ensure_queues.ts";
import { loadIR } from "../../src/redis/scripts/load_ir.ts";
import { nudgeReader } from "../../src/redis/scripts/nudge.ts";
import { openFence } from "../../src/redis/scripts/open.ts";
import { irOf } from "../support/ir.ts";
import { redisUrl } from "../support/redis.ts";
import { beginGame, claim, type Game, INSTALLATION, list, start, tokens } from "./game.ts";
import { Play } from "./play.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

const ir = irOf("a b", ["a -> b"]);
const keysOf = async ({ partition }: Game) => (await connection.redis.keys(partition.keys.pattern)).sort();

/** The same partition, as a process knows it that was not there when it was opened anew. */
function another({ partition: { namespace } }: Game): Partition {
  return new Partition(connection, namespace, 0, INSTALLATION);
}

test("each key but meta carries the epoch", () => {
  const keys = new PartitionKeys("ns", 3, "7");
  const { meta, ...rest } = {
    ...{ meta: keys.meta, journal: keys.journal, leases: keys.leases, workers: keys.workers },
    ...{ listings: keys.listings, lastWords: keys.lastWords, timers: keys.timers, nudge: keys.nudge },
    ...{ queues: keys.queues, functions: keys.functions, ready: keys.ready("q", "f"), run: keys.run("r") },
    ...{ suspects: keys.suspects("q"), parked: keys.parked("r"), scopes: keys.scopes("r"), ir: keys.ir("d") },
    ...{ tombstone: keys.tombstone("r"), blob: keys.blob("r", "b") },
  };
  expect(meta).toBe("{ns:3}:meta");
  const getters = Object.getOwnPropertyNames(PartitionKeys.prototype);
  const others = ["constructor", "epoch", "pattern", "isOfAnother", "stream"];
  expect(Object.keys(rest).concat("meta").sort()).toEqual(
    getters.filter((name) => !others.includes(name)).sort(),
  );
  for (const key of Object.values(rest)) expect(key.startsWith("{ns:3}:7:"), key).toBe(true);
});

test("without an epoch there is no key, and no call", async () => {
  const partition = new Partition(connection, "ns", 0, INSTALLATION);
  expect(() => partition.keys.leases).toThrow(FenceError);
  await expect(ensureQueues(partition, [])).rejects.toMatchObject({ why: "epoch" });
  expect(partition.keys.meta).toBe("{ns:0}:meta");
});

test("a new epoch finds nothing of the one before", async () => {
  const game = await beginGame(connection, ir);
  const run = new Play(game);
  await run.takesUp();
  await list(game);
  const before = await keysOf(game);
  const { partition } = game;
  expect(await openFence(partition, { epoch: "2", create: true })).toBe("opened");
  expect(await applyCommand(partition, game.runId, "pause", 1)).toBe("unstarted");
  await ensureQueues(partition, ["default"]);
  expect(await tokens(game)).toEqual([]);
  // It is started as if it had never been there, under a key of its own.
  await loadIR(partition, game.digest, ir);
  expect(await start(game)).toBe("started");
  const [fresh] = await tokens(game);
  expect(fresh?.nonce).not.toBe(run.token("a").nonce);
  // What a worker kept of the old one is nothing.
  expect((await claim(game, [run.token("a")])).reply.claims).toEqual([{ word: "stale" }]);
  expect((await keysOf(game)).filter((key) => !key.startsWith(`{${partition.namespace}:0}:2:`))).toEqual(
    before,
  );
});

test("whoever comes from an older epoch is refused, and leaves no key behind", async () => {
  const game = await beginGame(connection, ir);
  const late = another(game);
  late.enter("1");
  await openFence(game.partition, { epoch: "2", create: true });
  await clearOlderEpochs(game.partition);
  for (const call of [
    () => loadIR(late, "digest", ir),
    () => ensureQueues(late, ["other"]),
    () => applyCommand(late, game.runId, "cancel", 1),
    () => list({ ...game, partition: late }),
  ])
    await expect(call()).rejects.toMatchObject({ why: "epoch" });
  expect(await keysOf(game)).toEqual([game.partition.keys.meta]);
});

test("a nudge goes to the epoch that is open", async () => {
  const game = await beginGame(connection, ir);
  await openFence(game.partition, { epoch: "2", create: true });
  for (const epoch of [undefined, "1", "2"]) {
    const partition = another(game);
    if (epoch !== undefined) partition.enter(epoch);
    await nudgeReader(partition);
    expect(partition.epoch).toBe("2");
  }
  expect(await connection.redis.xlen(game.partition.keys.nudge)).toBe(1);
});

test("a nudge leaves a namespace alone that another database took, or that is closed", async () => {
  const game = await beginGame(connection, ir);
  const before = await keysOf(game);
  const partition = another(game);
  await nudgeReader(partition);
  await connection.redis.del(game.partition.keys.nudge);
  await connection.redis.hset(game.partition.keys.meta, "installation", "theirs");
  await expect(nudgeReader(partition)).rejects.toMatchObject({ why: "installation" });
  await connection.redis.del(game.partition.keys.meta);
  await expect(nudgeReader(partition)).rejects.toMatchObject({ why: "closed" });
  expect(await keysOf(game)).toEqual(before.filter((key) => key !== game.partition.keys.meta));
});

test("keys of older epochs are removed, in parts, and no others; once", async () => {
  const game = await beginGame(connection, ir, "{}", { keys: 3 });
  const { partition } = game;
  const neighbour = await beginGame(connection, ir);
  await new Play(game).takesUp();
  const old = `{${partition.namespace}:0}:`;
  // Of a release whose keys had no epoch, of an epoch whose number begins as the current one, and of others' partitions.
  await connection.redis.mset(`${old}run:1`, "x", `${old}20:run:1`, "x", `${old}02:run:1`, "x");
  const others = [`{${partition.namespace}:01}:1:run:1`, `{${partition.namespace}:1}:1:run:1`];
  await connection.redis.mset(...others.flatMap((key) => [key, "x"]));
  await openFence(partition, { epoch: "2", create: true });
  await ensureQueues(partition, ["default"]);
  await loadIR(partition, game.digest, ir);
  expect(await start(game)).toBe("started");
  const current = (await keysOf(game)).filter((key) => key.startsWith(`${old}2:`));
  const theirs = await keysOf(neighbour);
  const removed = (await keysOf(game)).length - current.length - 1;
  expect(removed).toBeGreaterThan(6);
  expect(await clearOlderEpochs(partition)).toBe(removed);
  expect(await keysOf(game)).toEqual([...current, partition.keys.meta].sort());
  expect(await keysOf(neighbour)).toEqual(theirs);
  expect(await connection.redis.del(...others)).toBe(2);
  await connection.redis.set(`${old}1:run:1`, "x");
  expect(await clearOlderEpochs(partition)).toBe(0);
});

test("a search that is cut off is made again; a reader whose epoch is over removes nothing", async () => {
  const game = await beginGame(connection, ir);
  const { partition } = game;
  const former = another(game);
  await openFence(partition, { epoch: "2", create: true });
  await connection.redis.set(`{${partition.namespace}:0}:1:run:1`, "x");
  const over = new AbortController();
  over.abort();
  expect(await clearOlderEpochs(partition, over.signal)).toBeLessThan(100);
  expect(await connection.redis.hget(partition.keys.meta, "cleared")).toBeNull();
  former.enter("2");
  await openFence(partition, { epoch: "3", create: true });
  await ensureQueues(partition, ["default"]);
  await expect(clearOlderEpochs(former)).rejects.toMatchObject({ why: "epoch" });
  expect(await connection.redis.exists(partition.keys.queues)).toBe(1);
  await clearOlderEpochs(partition);
  expect(await connection.redis.hget(partition.keys.meta, "cleared")).toBe("3");
});
