/** Suspects whose function the worker that comes upon them does not offer, each call by hand. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { claimTraits } from "../../src/engine/worker/node_facts.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { listFunctionStreams, listReadyStreams, readWaiting } from "../../src/redis/function_streams.ts";
import type { FunctionStream, StreamPlace } from "../../src/redis/keys.ts";
import { readReady } from "../../src/redis/ready.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { countUnoffered } from "../../src/redis/scripts/count_unoffered.ts";
import { reclaimExpired } from "../../src/redis/scripts/reclaim.ts";
import { requeueUnclaimed } from "../../src/redis/scripts/requeue.ts";
import { reviveRun } from "../../src/redis/scripts/revive.ts";
import { sweepRun } from "../../src/redis/scripts/sweep.ts";
import { tidyStreams } from "../../src/redis/scripts/tidy.ts";
import { decodeToken, type ExecutionToken, encodeLease } from "../../src/token/token.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import { fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import {
  advance,
  beginGame,
  claim,
  finished,
  type Game,
  list,
  state,
  tokens,
  type Waiting,
  WORKER,
} from "./game.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

const SUSPECTS: StreamPlace = { queue: "default", suspects: true };
const OF_FUNCTION: FunctionStream = { queue: "default", functionName: "new_step", suspects: true };

const kept = (token: ExecutionToken) => encodeLease("default", token);
const lengthOf = ({ partition }: Game, place: StreamPlace) =>
  connection.redis.xlen(partition.keys.stream(place));

async function inStream({ partition }: Game, place: StreamPlace): Promise<Waiting[]> {
  const found = await readReady(connection, [{ ...place, partition }], WORKER, { count: 10, blockMs: 1 });
  return found.map(({ text, entry }) => ({ ...(decodeToken(text) as ExecutionToken), ...place, entry }));
}

/** The process of its worker died. */
async function dies({ partition }: Game, token: ExecutionToken): Promise<void> {
  await connection.redis.zadd(partition.keys.workers, 1, WORKER);
  await connection.redis.zadd(partition.keys.leases, "XX", 1, kept(token));
  expect(await reclaimExpired(partition)).toBe(1);
}

/** A run of one node, with which two workers were lost: its token lies among the suspects. */
async function suspect(): Promise<Game> {
  const { ir } = compile({ name: "game", nodes: [fn("a", "new_step")], edges: [] });
  const game = await beginGame(connection, ir);
  for (let losses = 1; losses <= 2; losses += 1) {
    const [token] = (await tokens(game)) as [Waiting];
    await claim(game, [token]);
    await list(game, { held: [kept(token)] });
    await dies(game, token);
  }
  return game;
}

/** A worker that does not offer its function comes upon it. */
async function move(game: Game, taken: readonly Waiting[]) {
  const { reply } = await advance(game, [], {
    claims: taken.map((token) => ({
      ...token,
      ...claimTraits(game.ir, token.node, token.scope),
      unoffered: "new_step",
    })),
  });
  return { words: reply.claims.map(({ word }) => word), opened: reply.opened };
}

async function moved(): Promise<Game> {
  const game = await suspect();
  await move(game, await inStream(game, SUSPECTS));
  return game;
}

test("is moved to the suspects of its function, without using anything up, and runs alone where it is offered", async () => {
  const game = await suspect();
  const before = await state(game, "n0");
  expect(await move(game, await inStream(game, SUSPECTS))).toEqual({ words: ["moved"], opened: true });
  expect([await state(game, "n0"), await state(game, "f0")]).toEqual([before, "2,0,0,"]);
  expect(await listFunctionStreams(game.partition)).toEqual([OF_FUNCTION]);
  expect(await lengthOf(game, SUSPECTS)).toBe(0);
  expect(await connection.redis.exists(game.partition.keys.ready("default", "new_step"))).toBe(0);
  expect(await connection.redis.zcard(game.partition.keys.leases)).toBe(0);
  const [token] = (await inStream(game, OF_FUNCTION)) as [Waiting];
  expect(token).toMatchObject({ attempt: 1, delivery: 3 });
  const { reply } = await claim(game, [token]);
  expect(reply.tokens).toMatchObject([{ delivery: 3, losses: { lost: 2, alone: 0 } }]);
  await advance(game, [finished(game, token)]);
  expect(await state(game, "s")).toBe("C");
  expect(await lengthOf(game, OF_FUNCTION)).toBe(0);
});

test("is moved once, however often the call comes", async () => {
  const game = await suspect();
  const taken = await inStream(game, SUSPECTS);
  await move(game, taken);
  expect(await move(game, taken)).toEqual({ words: ["stale"], opened: false });
  expect(await lengthOf(game, OF_FUNCTION)).toBe(1);
});

test("is charged with a death there as with any other, and is then handed out to all of its queue once more", async () => {
  const game = await moved();
  const [token] = (await inStream(game, OF_FUNCTION)) as [Waiting];
  await claim(game, [token]);
  await list(game, { held: [kept(token)], alone: kept(token) });
  await dies(game, token);
  expect(await state(game, "f0")).toBe("3,1,1,");
  const again = await inStream(game, SUSPECTS);
  expect(again).toMatchObject([{ delivery: 4 }]);
  expect((await move(game, again)).words).toEqual(["moved"]);
});

test("waits for those that read the suspects of its function, and for no other", async () => {
  const game = await moved();
  expect(await list(game, { suspects: [SUSPECTS] })).toMatchObject({ suspects: 0 });
  expect(await list(game, { suspects: [SUSPECTS, OF_FUNCTION] })).toMatchObject({ suspects: 1 });
});

test("of which somebody died before he claimed it goes back to the suspects of its function", async () => {
  const game = await moved();
  const [token] = await inStream(game, OF_FUNCTION);
  for (const place of await listReadyStreams(game.partition))
    await requeueUnclaimed(game.partition, place, 0);
  expect(await inStream(game, OF_FUNCTION)).toMatchObject([{ nonce: token?.nonce }]);
  expect(await lengthOf(game, SUSPECTS)).toBe(0);
});

test("is in reach of the stuck detector", async () => {
  const game = await moved();
  expect(await reviveRun(game.partition, game)).toMatchObject({ revived: 0, alive: 1 });
  await connection.redis.xtrim(game.partition.keys.stream(OF_FUNCTION), "MAXLEN", 0);
  expect(await reviveRun(game.partition, game)).toMatchObject({ revived: 1, alive: 0 });
});

test("stays a suspect over a pause", async () => {
  const game = await suspect();
  await applyCommand(game.partition, game.runId, "pause", 1);
  expect((await move(game, await inStream(game, SUSPECTS))).words).toEqual(["parked"]);
  await applyCommand(game.partition, game.runId, "resume", 2);
  await sweepRun(game.partition, game);
  expect((await move(game, await tokens(game))).words).toEqual(["stale"]);
  expect((await move(game, await inStream(game, SUSPECTS))).words).toEqual(["moved"]);
  expect(await lengthOf(game, OF_FUNCTION)).toBe(1);
});

test("has a clock beside that of the function's other tokens; its stream goes when it is empty", async () => {
  const game = await moved();
  const { partition } = game;
  const count = (waits: number, keptMs?: number) =>
    countUnoffered(partition, [{ ...OF_FUNCTION, waits, offered: false }], keptMs);
  expect(await count(500)).toEqual([{ waited: 500, offered: 0 }]);
  expect(await readWaiting(partition, OF_FUNCTION, 10)).toMatchObject([{ ...OF_FUNCTION, waited: 0 }]);
  const { queue, functionName } = OF_FUNCTION;
  const others = [{ queue, functionName, waits: 1, offered: false }];
  expect(await countUnoffered(partition, others)).toEqual([{ waited: -1, offered: -1 }]);
  await claim(game, await inStream(game, OF_FUNCTION));
  expect(await count(0, 0)).toEqual([{ waited: 500, offered: 0 }]);
  expect(await listFunctionStreams(partition)).toEqual([]);
  expect(await connection.redis.exists(partition.keys.stream(OF_FUNCTION))).toBe(0);
});

test("leaves no consumer of a worker that is gone", async () => {
  const game = await moved();
  const key = game.partition.keys.stream(OF_FUNCTION);
  await connection.redis.xgroup("CREATECONSUMER", key, "workers", "worker-gone");
  expect(await tidyStreams(game.partition, 0, [])).toBeGreaterThan(0);
  expect(await connection.redis.xinfo("CONSUMERS", key, "workers")).toEqual([]);
  expect(await lengthOf(game, OF_FUNCTION)).toBe(1);
});
