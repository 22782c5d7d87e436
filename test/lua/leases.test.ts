/** Leases and the workers that hold them: what is handed out again, and what a blocked worker keeps. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { reclaimExpired } from "../../src/redis/upkeep.ts";
import { encodeKept } from "../../src/token/token.ts";
import { compile } from "../../src/workflow/compile.ts";
import { fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import { beginGame, type Game, list, WORKER } from "./game.ts";
import { Play } from "./play.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

const LEASE_MS = 10_000;
/** Between the last listing of a loop that has been blocked ever since, and now. */
const BLOCKED_MS = 2 * LEASE_MS;

/** A run of independent nodes, all of whose tokens came. */
async function playOf(...ids: string[]): Promise<Play> {
  const { ir } = compile({ name: "game", nodes: ids.map((id) => fn(id)), edges: [] });
  const run = new Play(await beginGame(connection, ir));
  await run.came();
  return run;
}

/** The worker's process lives; it listed nothing, so long ago that what it had listed would have expired since. */
const isBlocked = (game: Game) => list(game, { since: performance.now() - BLOCKED_MS });

const handedOut = async (run: Play) => {
  const reclaimed = await reclaimExpired(run.game.partition);
  return { reclaimed, came: await run.came() };
};

describe("a worker whose loop is blocked, while its process lives", () => {
  test("keeps what it was handed since its last listing", async () => {
    const run = await playOf("a");
    await isBlocked(run.game);
    await run.claims("a", { leaseMs: -1 });
    expect(await handedOut(run)).toEqual({ reclaimed: 0, came: [] });
    expect(await run.ends("a")).toBe("done");
  });

  test("keeps what it last listed", async () => {
    const run = await playOf("a");
    await run.claims("a");
    const kept = encodeKept("default", run.token("a"));
    await list(run.game, { held: [kept], leaseMs: 1, since: performance.now() });
    await connection.redis.zadd(run.game.partition.keys.workers, "XX", Date.now() + LEASE_MS, WORKER);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await handedOut(run)).toEqual({ reclaimed: 0, came: [] });
  });

  test("loses what it did not list any more", async () => {
    const run = await playOf("a", "b");
    await run.claims("a", { leaseMs: -BLOCKED_MS });
    await run.claims("b", { leaseMs: -1 });
    await isBlocked(run.game);
    expect(await handedOut(run)).toEqual({ reclaimed: 1, came: ["a"] });
  });

  test("loses all when its process lives no more", async () => {
    const run = await playOf("a");
    await isBlocked(run.game);
    await run.claims("a", { leaseMs: -1 });
    expect((await handedOut(run)).reclaimed).toBe(0);
    const { workers, leases } = run.game.partition.keys;
    await connection.redis.zadd(workers, 1, WORKER);
    await connection.redis.zadd(leases, 1, encodeKept("default", run.token("a")));
    expect(await handedOut(run)).toEqual({ reclaimed: 1, came: ["a"] });
  });

  test("hides nothing of others behind all that it keeps", async () => {
    const many = Array.from({ length: 40 }, (_, index) => `n${index}`);
    const run = await playOf("lost", ...many);
    await isBlocked(run.game);
    for (const key of many) await run.claims(key, { leaseMs: -1_000 });
    await run.claims("lost", { leaseMs: -1, worker: "worker-2" });
    expect(await handedOut(run)).toEqual({ reclaimed: 1, came: ["lost"] });
  });
});

test("a worker that lists keeps nothing that it does not list", async () => {
  const run = await playOf("a");
  await run.claims("a", { leaseMs: -1 });
  await list(run.game);
  expect(await handedOut(run)).toEqual({ reclaimed: 1, came: ["a"] });
});

test("nothing is left of workers that are gone", async () => {
  const { game } = await playOf("a");
  const { workers, listings, lastWords } = game.partition.keys;
  await list(game);
  await list(game, { worker: "worker-2" });
  await connection.redis.hset(lastWords, "worker-2", "{}");
  await connection.redis.zadd(workers, 1, "worker-2");
  await reclaimExpired(game.partition);
  expect(await connection.redis.zrange(workers, 0, -1)).toEqual([WORKER]);
  expect(await connection.redis.hkeys(listings)).toEqual([WORKER]);
  expect(await connection.redis.exists(lastWords)).toBe(0);
});
