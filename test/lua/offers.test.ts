/** Function streams: tokens whose function a worker does not offer, each call by hand. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { claimTraits } from "../../src/engine/worker/node_facts.ts";
import { CALL_LIMITS } from "../../src/redis/call_limits.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { listFunctionStreams, readWaiting } from "../../src/redis/function_streams.ts";
import { SETTLE_QUEUE } from "../../src/redis/keys.ts";
import { readReady } from "../../src/redis/ready.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { countUnoffered } from "../../src/redis/scripts/count_unoffered.ts";
import { ensureQueues } from "../../src/redis/scripts/ensure_queues.ts";
import { requeueUnclaimed } from "../../src/redis/scripts/requeue.ts";
import { reviveRun } from "../../src/redis/scripts/revive.ts";
import { tidyStreams } from "../../src/redis/scripts/tidy.ts";
import { decodeToken, type ExecutionToken } from "../../src/token/token.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import { functionOf } from "../../src/workflow/ir/function_of.ts";
import type { IRNode } from "../../src/workflow/ir/ir.ts";
import { edges, fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import { advance, beginGame, finished, type Game, ids, state, tokens, type Waiting, words } from "./game.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

const begin = (document: object) =>
  beginGame(connection, compile({ name: "game", edges: [], ...document }).ir);

/** One node that runs `name`. */
const beginOne = (name: string, more: object = {}) => begin({ nodes: [fn("a", name)], ...more });

/** Claims as a worker that offers only `offered`. */
async function claimAs(game: Game, list: readonly Waiting[], offered: readonly string[] = []) {
  const { reply } = await advance(game, [], {
    claims: list.map((token) => {
      const name = functionOf(game.ir.nodes[token.node] as IRNode) as string;
      const traits = claimTraits(game.ir, token.node, token.scope);
      return { ...token, ...traits, ...(offered.includes(name) ? {} : { unoffered: name }) };
    }),
  });
  return { words: reply.claims.map(({ word }) => word), opened: reply.opened };
}

async function inStream(game: Game, functionName: string, queue = "default"): Promise<Waiting[]> {
  const streams = [{ partition: game.partition, queue, functionName }];
  const found = await readReady(connection, streams, "worker-that-offers", { count: 100, blockMs: 1 });
  return found.map(({ text, entry }) => ({
    ...(decodeToken(text) as ExecutionToken),
    entry,
    queue,
    functionName,
  }));
}

const lengthOf = (game: Game, name?: string) =>
  connection.redis.xlen(game.partition.keys.ready("default", name));

describe("a token whose function the worker does not offer", () => {
  test("is moved to the stream of that function, without using anything up, and runs where it is offered", async () => {
    const game = await beginOne("new_step");
    const before = await state(game, "n0");
    expect(await claimAs(game, await tokens(game))).toEqual({ words: ["moved"], opened: true });
    expect(await state(game, "n0")).toBe(before);
    expect(await lengthOf(game)).toBe(0);
    expect(await listFunctionStreams(game.partition)).toEqual([
      { queue: "default", functionName: "new_step" },
    ]);
    expect(await connection.redis.zcard(game.partition.keys.leases)).toBe(0);
    const [token] = await inStream(game, "new_step");
    expect(token).toMatchObject({ attempt: 1, delivery: 1 });
    expect(await claimAs(game, [token as Waiting], ["new_step"])).toEqual({ words: ["run"], opened: false });
    expect(words(await advance(game, [finished(game, token as Waiting)]))).toEqual(["done"]);
    expect(await state(game, "s")).toBe("C");
    expect(await lengthOf(game, "new_step")).toBe(0);
  });

  test("is moved once, however often the call comes, and never into the stream that it lies in", async () => {
    const game = await beginOne("new_step");
    const taken = await tokens(game);
    await claimAs(game, taken);
    expect(await claimAs(game, taken)).toEqual({ words: ["stale"], opened: false });
    expect(await lengthOf(game, "new_step")).toBe(1);
    // Two names that are one stream, say: it runs there, and fails for want of its handler.
    expect((await claimAs(game, await inStream(game, "new_step"))).words).toEqual(["run"]);
    expect(await lengthOf(game, "new_step")).toBe(0);
  });

  test.each(["with space", "a/b", "ünï|code", "%22", "\ud800", "x".repeat(64)])(
    "may have any name: %j",
    async (name) => {
      const game = await beginOne("plain");
      (game.ir.nodes[0] as IRNode).config.function_name = name;
      await claimAs(game, await tokens(game));
      expect(await listFunctionStreams(game.partition)).toEqual([{ queue: "default", functionName: name }]);
      expect(await inStream(game, name)).toHaveLength(1);
    },
  );

  test.each<["cancel" | "pause", string, string]>([
    ["cancel", "cancelled", "X"],
    ["pause", "parked", "A"],
  ])("of a run that was told to %s is %s instead", async (kind, word, kept) => {
    const game = await beginOne("new_step");
    await applyCommand(game.partition, game.runId, kind, 1);
    expect((await claimAs(game, await tokens(game))).words).toEqual([word]);
    expect(await lengthOf(game, "new_step")).toBe(0);
    expect((await state(game, "n0"))?.[0]).toBe(kept);
  });

  test("lets another have the permit that it was handed back for", async () => {
    const game = await begin({
      semaphores: { lab: 1 },
      nodes: [
        fn("a", "old", {}, { holds: ["lab"] }),
        fn("b", "new_step", {}, { holds: ["lab"] }),
        fn("c", "old", {}, { holds: ["lab"] }),
      ],
    });
    const [a, b, c] = (await tokens(game)) as [Waiting, Waiting, Waiting];
    // Everybody still had the new step when they were put aside.
    expect((await claimAs(game, [a, b, c], ["old", "new_step"])).words).toEqual(["run", "parked", "parked"]);
    await advance(game, [finished(game, a)]);
    const back = await tokens(game);
    expect(ids(game, back)).toEqual(["b"]);
    expect((await claimAs(game, back, ["old"])).words).toEqual(["moved"]);
    const next = await tokens(game);
    expect(ids(game, next)).toEqual(["c"]);
    expect((await claimAs(game, next, ["old"])).words).toEqual(["run"]);
  });

  test("runs, to fail, when there are as many streams as may be", async () => {
    const game = await beginOne("new_step");
    const full = Array.from({ length: CALL_LIMITS.functionStreams }, (_none, index) => [
      `q/f${index}`,
      "0,0",
    ]);
    await connection.redis.hset(game.partition.keys.functions, ...full.flat());
    expect((await claimAs(game, await tokens(game))).words).toEqual(["run"]);
    expect(await lengthOf(game, "new_step")).toBe(0);
  });

  test("is not handed over", async () => {
    const game = await begin({
      nodes: [fn("a"), fn("b", "new_step"), fn("c")],
      edges: edges("a -> b", "a -> c"),
    });
    const [a] = (await tokens(game)) as [Waiting];
    await claimAs(game, [a], ["echo"]);
    const { reply } = await advance(game, [finished(game, a, { hand: true, unoffered: [1] })], { take: 2 });
    expect(ids(game, reply.tokens)).toEqual(["c"]);
    expect(ids(game, await tokens(game))).toEqual(["b"]);
  });

  test("of which somebody died before he claimed it goes back into the stream of its function", async () => {
    const game = await beginOne("new_step");
    await claimAs(game, await tokens(game));
    const [token] = await inStream(game, "new_step");
    expect(await requeueUnclaimed(game.partition, { queue: "default", functionName: "new_step" }, 0)).toBe(1);
    const [again] = await inStream(game, "new_step");
    expect(again).toMatchObject({ nonce: token?.nonce });
    expect(await lengthOf(game)).toBe(0);
  });

  test("is in reach of the stuck detector", async () => {
    const game = await beginOne("new_step");
    await claimAs(game, await tokens(game));
    expect(await reviveRun(game.partition, game)).toMatchObject({ revived: 0, alive: 1 });
    // Another's token in its queue is not its own.
    await connection.redis.xtrim(game.partition.keys.ready("default", "new_step"), "MAXLEN", 0);
    await connection.redis.xadd(game.partition.keys.ready("default"), "*", "t", "another");
    expect(await reviveRun(game.partition, game)).toMatchObject({ revived: 1, alive: 0 });
  });
});

describe("the clock of a function stream", () => {
  const stream = { queue: "default", functionName: "new_step" };
  const count = (game: Game, waits: number, offered = false) =>
    countUnoffered(game.partition, [{ ...stream, waits, offered }]).then(([one]) => one);

  test("counts from a token's arrival, and anew when somebody offered the function", async () => {
    const game = await begin({ nodes: [fn("a", "new_step"), fn("b", "new_step")] });
    const [a, b] = (await tokens(game)) as [Waiting, Waiting];
    await claimAs(game, [a]);
    expect(await count(game, 500)).toEqual({ waited: 500, offered: 0 });
    await claimAs(game, [b]);
    expect(await count(game, 100)).toEqual({ waited: 600, offered: 0 });
    expect((await readWaiting(game.partition, stream, 10)).map(({ waited }) => waited)).toEqual([0, 500]);
    expect(await count(game, 0, true)).toEqual({ waited: 600, offered: 600 });
    expect(await count(game, 50)).toEqual({ waited: 650, offered: 600 });
  });

  test("is that of an empty stream no more: the stream is removed, and made anew when it is needed", async () => {
    const game = await begin({ nodes: [fn("a", "new_step"), fn("b", "new_step")] });
    const [a, b] = (await tokens(game)) as [Waiting, Waiting];
    await claimAs(game, [a]);
    await claimAs(game, await inStream(game, "new_step"), ["new_step"]);
    expect(await count(game, 0)).toEqual({ waited: 0, offered: 0 });
    expect(await listFunctionStreams(game.partition)).toHaveLength(1);
    await countUnoffered(game.partition, [{ ...stream, waits: 0, offered: true }], 0);
    expect(await listFunctionStreams(game.partition)).toEqual([]);
    expect(await connection.redis.exists(game.partition.keys.ready("default", "new_step"))).toBe(0);
    expect(await count(game, 1)).toEqual({ waited: -1, offered: -1 });
    expect(await claimAs(game, [b])).toEqual({ words: ["moved"], opened: true });
    expect(await inStream(game, "new_step")).toHaveLength(1);
  });
});

describe("consumers of workers that are gone", () => {
  const consumersOf = async (key: string) =>
    ((await connection.redis.xinfo("CONSUMERS", key, "workers")) as string[][]).map((facts) => facts[1]);

  test("are removed, but never one with a pending entry, which is handed out", async () => {
    const game = await beginOne("echo");
    const { partition } = game;
    await ensureQueues(partition, ["default"]);
    const key = partition.keys.ready("default");
    const read = (consumer: string) =>
      readReady(connection, [{ partition, queue: "default" }], consumer, { count: 1, blockMs: 1 });
    expect(await read("holds")).toHaveLength(1);
    for (let worker = 0; worker < 20; worker += 1)
      await connection.redis.xgroup("CREATECONSUMER", key, "workers", `worker-${worker}`);
    expect(await consumersOf(key)).toHaveLength(21);
    expect(await tidyStreams(partition, 60_000, [])).toBe(0); // nobody is gone for so long
    expect(await tidyStreams(partition, 0, [])).toBe(20);
    expect(await consumersOf(key)).toEqual(["holds"]);
    expect(await requeueUnclaimed(partition, { queue: "default" }, 0)).toBe(1);
    expect(await tidyStreams(partition, 0, [])).toBe(2); // and that of the reader
    const [again] = await tokens(game);
    expect((await claimAs(game, [again as Waiting], ["echo"])).words).toEqual(["run"]);
  });

  test("of a queue that is empty go with it; a token there keeps it", async () => {
    const { partition } = await beginOne("echo");
    await ensureQueues(partition, ["default", "host-1", "host-2", "host-3"]);
    await connection.redis.xadd(partition.keys.ready("host-2"), "*", "t", "token");
    // A worker noted it, and died before it made the stream.
    await connection.redis.sadd(partition.keys.queues, "host-4");
    expect(await requeueUnclaimed(partition, { queue: "host-4" }, 0)).toBe(0);
    await tidyStreams(partition, 0, ["default", "host-1", "host-2", "host-4", SETTLE_QUEUE]);
    expect((await partition.queues()).sort()).toEqual(["default", "host-2", "host-3", SETTLE_QUEUE]);
    expect(await connection.redis.exists(partition.keys.ready("host-1"))).toBe(0);
    // A worker that comes back finds that out by reading, and makes it again.
    const stream = { partition, queue: "host-1" };
    await expect(readReady(connection, [stream], "back", { count: 1, blockMs: 1 })).rejects.toThrow("closed");
    await ensureQueues(partition, ["host-1"]);
    expect(await readReady(connection, [stream], "back", { count: 1, blockMs: 1 })).toEqual([]);
  });
});
