/** Leases and due times are judged by Redis's clock, whatever a process takes for it. */
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { fireTimers } from "../../src/redis/scripts/fire.ts";
import { reclaimExpired } from "../../src/redis/scripts/reclaim.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import { fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import { beginGame, list, start } from "./game.ts";
import { Play } from "./play.ts";

const HOUR = 3_600_000;
let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());
afterEach(() => {
  vi.restoreAllMocks();
});

const play = async (document: object) =>
  new Play(await beginGame(connection, compile({ name: "game", edges: [], ...document }).ir));

/** From now on the process takes it for later (or earlier). */
function errBy(ms: number): void {
  const real = connection.now.bind(connection);
  vi.spyOn(connection, "now").mockImplementation(() => real() + ms);
}

test.each([HOUR, -HOUR])(
  "a lease lasts as long as it says, by a clock that is %i ms wrong",
  async (error) => {
    const run = await play({ nodes: [fn("a"), fn("b")] });
    const { partition } = run.game;
    await run.came();
    errBy(error);
    await run.claims("a");
    await run.claims("b", { leaseMs: -1 });
    vi.restoreAllMocks();
    const leases = await connection.redis.zrange(partition.keys.leases, 0, -1, "WITHSCORES");
    expect(Number(leases[1])).toBeLessThanOrEqual(await partition.readTime());
    expect(Math.abs(Number(leases[3]) - (await partition.readTime()) - 30_000)).toBeLessThan(20_000);

    errBy(error);
    await list(run.game, { held: [leases[2] as string], leaseMs: 60_000 });
    vi.restoreAllMocks();
    const renewed = Number(await connection.redis.zscore(partition.keys.leases, leases[2] as string));
    expect(Math.abs(renewed - (await partition.readTime()) - 60_000)).toBeLessThan(20_000);

    errBy(HOUR);
    expect(await reclaimExpired(partition)).toBe(1);
    expect(await run.came()).toEqual(["b"]);
  },
);

test("a timer does not fire before its time, nor does a run time out", async () => {
  const run = await play({
    nodes: [{ id: "w", type: "wait", config: { duration_ms: 600_000 } }],
    timeout_ms: 600_000,
  });
  const { partition } = run.game;
  await run.takesUp();
  await run.ends("w", { outcome: "W", park: { kind: "w", due: connection.now() + 600_000 } });
  const began = await beginGame(connection, run.game.ir);
  errBy(-HOUR);
  const next = { ...began, runId: crypto.randomUUID() };
  const deadline = (await partition.readTime()) + 60_000;
  expect(await start(next, "{}", { deadline })).toBe("started");
  vi.restoreAllMocks();
  errBy(HOUR);
  const timedOut: string[] = [];
  const note = async (runId: string) => void timedOut.push(runId);
  await fireTimers(partition, note);
  await fireTimers(began.partition, note);
  expect(timedOut).toEqual([]);
  expect(await run.came()).toEqual([]);
  expect(await connection.redis.zcard(began.partition.keys.timers)).toBe(2);
});

test("timers that fall due without end leave time for the rest of the reader's round", async () => {
  const { partition } = (await play({ nodes: [fn("a")] })).game;
  let fired = 0;
  const add = () => connection.redis.zadd(partition.keys.timers, 1, `!|time_out|run-${fired}|1`);
  await add();
  const next = await fireTimers(partition, async () => {
    fired += 1;
    if (fired > 1_000) throw new Error("it fires without end");
    await add();
  });
  expect(fired).toBeGreaterThan(0);
  expect(next).toBeLessThanOrEqual(connection.now());
});
