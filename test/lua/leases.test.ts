/** Leases and the workers that hold them: what is handed out again, and what a blocked worker keeps. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { readReady } from "../../src/redis/ready.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { ensureQueues } from "../../src/redis/scripts/ensure_queues.ts";
import { reclaimExpired, reportDeath } from "../../src/redis/scripts/reclaim.ts";
import { sweepRun } from "../../src/redis/scripts/sweep.ts";
import { grantLeases, workersInReach } from "../../src/redis/workers.ts";
import { decodeToken, type ExecutionToken, encodeLease } from "../../src/token/token.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import { fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import { beginGame, claim, type Game, list, state, type Waiting, WORKER } from "./game.ts";
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
    const kept = encodeLease("default", run.token("a"));
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
    await connection.redis.zadd(leases, 1, encodeLease("default", run.token("a")));
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

test("what ran out while the partition was closed is nobody's loss: all have a full term when it is open again", async () => {
  const run = await playOf("a", "b");
  await run.claims("a");
  await list(run.game);
  const { workers, leases } = run.game.partition.keys;
  await connection.redis.zadd(workers, "XX", 1, WORKER);
  await connection.redis.zadd(leases, "XX", 1, encodeLease("default", run.token("a")));
  await grantLeases(run.game.partition);
  expect(await handedOut(run)).toEqual({ reclaimed: 0, came: [] });
  const terms = await Promise.all(
    [workers, leases].map((key) => connection.redis.zrange(key, 0, 0, "WITHSCORES")),
  );
  const now = await run.game.partition.readTime();
  for (const [, until] of terms) expect(Math.abs(Number(until) - now - LEASE_MS)).toBeLessThan(5_000);
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
  expect((await workersInReach(game.partition)).sort()).toEqual([WORKER, "worker-2"]);
  await connection.redis.hset(lastWords, "worker-2", "{}");
  await connection.redis.zadd(workers, 1, "worker-2");
  await reclaimExpired(game.partition);
  expect(await connection.redis.zrange(workers, 0, -1)).toEqual([WORKER]);
  expect(await connection.redis.hkeys(listings)).toEqual([WORKER]);
  expect(await connection.redis.exists(lastWords)).toBe(0);
});

describe("losses", () => {
  const kept = (token: ExecutionToken) => encodeLease("default", token);

  /** The worker's process is gone, and with it the leases of what it held. */
  async function dies({ partition }: Game, ...held: ExecutionToken[]): Promise<number> {
    await connection.redis.zadd(partition.keys.workers, 1, WORKER);
    for (const token of held) await connection.redis.zadd(partition.keys.leases, "XX", 1, kept(token));
    return reclaimExpired(partition);
  }

  const lossesOf = (run: Play, node = 0) => state(run.game, `f${node}`);

  async function suspects({ partition }: Game): Promise<Waiting[]> {
    await ensureQueues(partition, ["default"]);
    const stream = { partition, queue: "default", suspects: true };
    const entries = await readReady(connection, [stream], WORKER, { count: 10, blockMs: 1 });
    return entries.map(({ text, ...place }) => ({ ...(decodeToken(text) as ExecutionToken), ...place }));
  }

  /** Its token after two workers were lost with it. */
  async function suspect(): Promise<{ run: Play; token: Waiting }> {
    const run = await playOf("a");
    for (let losses = 1; losses <= 2; losses += 1) {
      await run.claims("a");
      await list(run.game, { held: [kept(run.token("a"))] });
      expect(await dies(run.game, run.token("a"))).toBe(1);
      await run.came();
    }
    const [token] = await suspects(run.game);
    return { run, token: token as Waiting };
  }

  /** Performed alone, and lost: as its parent saw, or found out when its lease ended. */
  async function diesAlone(run: Play, token: Waiting, how: "seen" | "found"): Promise<Waiting> {
    await claim(run.game, [token]);
    await list(run.game, { held: [kept(token)], alone: kept(token) });
    const death = { worker: WORKER, words: "exit code 3" };
    if (how === "seen") await reportDeath(run.game.partition, death);
    else await dies(run.game, token);
    return (await suspects(run.game))[0] as Waiting;
  }

  test("what two workers were lost with is suspect: it is not handed to those that read all", async () => {
    const run = await playOf("a", "b");
    await run.takesUp();
    await run.claims("a");
    await run.claims("b");
    await list(run.game);
    expect(await dies(run.game, run.token("a"), run.token("b"))).toBe(2);
    expect(await run.came()).toEqual(["a", "b"]);
    expect([await lossesOf(run), run.token("a").delivery]).toEqual(["1,0,0,", 2]);
    await run.claims("a");
    await run.claims("b");
    await run.ends("b");
    expect(await lossesOf(run, 1)).toBeNull();
    await list(run.game);
    expect(await dies(run.game, run.token("a"))).toBe(1);
    expect(await run.came()).toEqual([]);
    expect(await suspects(run.game)).toMatchObject([{ node: 0, attempt: 1, delivery: 3 }]);
    expect(await lossesOf(run)).toBe("2,0,0,");
  });

  test.each(["seen", "found"] as const)(
    "alone, as %s, count; the token tells how many there were",
    async (how) => {
      const { run, token } = await suspect();
      let next = token;
      for (let losses = 1; losses <= 3; losses += 1) next = await diesAlone(run, next, how);
      const words = how === "seen" ? "exit code 3" : "";
      const unexplained = how === "seen" ? 0 : 3;
      expect(await lossesOf(run)).toBe(`5,3,${unexplained},${words}`);
      const { reply } = await claim(run.game, [next]);
      expect(reply.tokens).toMatchObject([
        { delivery: 6, losses: { lost: 5, alone: 3, unexplained, words } },
      ]);
    },
  );

  test("are none for what had not begun, as its worker or thread wrote down", async () => {
    const run = await playOf("a", "b");
    await run.claims("a");
    await run.claims("b");
    await list(run.game);
    const words = JSON.stringify({ text: "the end", begun: [kept(run.token("b"))] });
    await connection.redis.hset(run.game.partition.keys.lastWords, WORKER, words);
    expect(await dies(run.game, run.token("a"), run.token("b"))).toBe(2);
    expect([await lossesOf(run, 0), await lossesOf(run, 1)]).toEqual([null, "1,0,0,"]);
  });

  test.each<[string, (game: Game) => Promise<unknown>]>([
    ["that was to stop", (game) => list(game, { leaves: true })],
    ["that left in order", async () => {}],
  ])("are none of a worker %s", async (_who, before) => {
    const run = await playOf("a");
    await run.claims("a");
    await before(run.game);
    await connection.redis.zadd(run.game.partition.keys.workers, "XX", 1, WORKER);
    await connection.redis.zadd(run.game.partition.keys.leases, 1, kept(run.token("a")));
    expect(await handedOut(run)).toEqual({ reclaimed: 1, came: ["a"] });
    expect(await lossesOf(run)).toBeNull();
  });

  test("are forgotten with the first answer", async () => {
    const { run, token } = await suspect();
    await claim(run.game, [token]);
    const retried = { outcome: "R", arrivals: "", due: 1 } as const;
    expect(await run.endsAs(token, retried)).toBe("done");
    expect(await lossesOf(run)).toBeNull();
  });

  test("a suspect that comes to the others after a pause is moved to its own", async () => {
    const { run, token } = await suspect();
    await applyCommand(run.game.partition, run.game.runId, "pause", 1);
    const { reply } = await claim(run.game, [token]);
    expect(reply.claims).toEqual([{ word: "parked" }]);
    await applyCommand(run.game.partition, run.game.runId, "resume", 2);
    await sweepRun(run.game.partition, run.game);
    expect(await run.takesUp()).toEqual({ a: "stale" });
    expect(await suspects(run.game)).toMatchObject([{ node: 0, delivery: 3 }]);
  });
});
