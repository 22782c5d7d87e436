/** The atomic step on a real Redis: calls, replies and state. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compileDocument } from "../../src/cli/shell/documents.ts";
import { claimTraits } from "../../src/engine/worker/node_facts.ts";
import type { FinishedItem, Park } from "../../src/redis/calls.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { fatesOf } from "../../src/redis/fates.ts";
import { Partition } from "../../src/redis/partition.ts";
import { forget } from "../../src/redis/scripts/forget.ts";
import { openFence } from "../../src/redis/scripts/open.ts";
import type { IR } from "../../src/workflow/ir/ir.ts";
import { irOf } from "../support/ir.ts";
import { redisUrl, startPrivateRedis } from "../support/redis.ts";
import {
  advance,
  beginGame,
  claim,
  counter,
  finished,
  type Game,
  ids,
  journal,
  settleRests,
  start,
  state,
  stepsOf,
  tokens,
  type Waiting,
  words,
} from "./game.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

const startGame = (ir: IR, input = "{}", own = connection) => beginGame(own, ir, input);

/** Plays a game through the stream; `outcome` may fail nodes. Answers the ids in order of their resolution. */
async function play(game: Game, how: (id: string) => Partial<FinishedItem> = () => ({})): Promise<string[]> {
  const order: string[] = [];
  for (let ready = await tokens(game); ready.length > 0; ready = await tokens(game)) {
    for (const token of ready) {
      const id = game.ir.nodes[token.node]?.id as string;
      expect((await claim(game, [token])).reply.claims).toEqual([{ word: "run" }]);
      expect(words(await advance(game, [finished(game, token, how(id))]))).toEqual(["done"]);
      order.push(id);
    }
  }
  return order;
}

describe("start", () => {
  test("makes a token for each entry node and counts them", async () => {
    const game = await startGame(irOf("a b c", ["a -> c", "b -> c"]));
    expect(ids(game, await tokens(game))).toEqual(["a", "b"]);
    expect(await counter(game)).toBe(2);
  });

  test("answers in words when it must not start", async () => {
    const game = await startGame(irOf("a", []));
    expect(await start(game)).toBe("exists");
    expect(
      await start({ ...game, runId: crypto.randomUUID() }, "{}", { deadline: connection.now() - 1_000 }),
    ).toBe("late");
    expect(await start({ ...game, runId: crypto.randomUUID(), digest: "unknown" })).toBe("ir_missing");
  });

  test("a late start does not run a finished run again", async () => {
    const game = await startGame(irOf("a", []));
    await play(game);
    await forget(game.partition, 0, [{ runId: game.runId, blobs: [] }]);
    expect(await connection.redis.exists(game.partition.keys.run(game.runId))).toBe(0);
    expect(await start(game)).toBe("gone");
    expect(await tokens(game)).toEqual([]);
  });
});

describe("the fence", () => {
  test.each([
    ["layout", { layout: "0" }],
    ["epoch", { epoch: "2" }],
    ["timeline", { timeline: "another server" }],
    ["installation", { installation: "another database" }],
  ] as const)("another %s is refused and changes nothing", async (why, change) => {
    const game = await startGame(irOf("a b", ["a -> b"]));
    const [token] = await tokens(game);
    await connection.redis.hset(game.partition.keys.meta, change);
    await expect(advance(game, [finished(game, token as Waiting)])).rejects.toMatchObject({
      code: why === "installation" ? "REDIS_FOREIGN" : "PARTITION_FENCED",
      why,
    });
    expect(await counter(game)).toBe(1);
    expect(await tokens(game)).toEqual([]);
  });

  test("without its meta the partition is closed, and no script makes it", async () => {
    const game = await startGame(irOf("a", []));
    const [token] = await tokens(game);
    await connection.redis.del(game.partition.keys.meta);
    await expect(advance(game, [finished(game, token as Waiting)])).rejects.toMatchObject({ why: "closed" });
    await expect(start({ ...game, runId: crypto.randomUUID() })).rejects.toMatchObject({ why: "closed" });
    expect(await connection.redis.exists(game.partition.keys.meta)).toBe(0);
  });

  test("open reopens for a new timeline only when the old one is as expected", async () => {
    const game = await startGame(irOf("a", []));
    await connection.redis.hset(game.partition.keys.meta, "timeline", "before");
    const again = (expected: string) => openFence(game.partition, { epoch: "1", create: false, expected });
    expect(await again("another")).toBe("timeline");
    expect(await again("before")).toBe("opened");
    expect(await openFence(game.partition, { epoch: "1", create: true })).toBe("exists");
    const { connection: server, keys } = game.partition;
    const others = new Partition(server, keys.namespace, 0, "another database");
    expect(await openFence(others, { epoch: "2", create: true })).toBe("installation");
  });

  test.each([
    ["generation", { generation: 2 }],
    ["nonce", { nonce: "another" }],
    ["delivery", { delivery: 2 }],
  ] as const)("an answer with another %s is stale", async (_name, change) => {
    const game = await startGame(irOf("a b", ["a -> b"]));
    const [token] = await tokens(game);
    expect(words(await advance(game, [finished(game, { ...(token as Waiting), ...change })]))).toEqual([
      "stale",
    ]);
    expect(await counter(game)).toBe(1);
  });

  test("an answer for a run that is over and cleared away is gone", async () => {
    const game = await startGame(irOf("a", []));
    const [token] = await tokens(game);
    await forget(game.partition, 0, [{ runId: game.runId, blobs: [] }]);
    expect(words(await advance(game, [finished(game, token as Waiting)]))).toEqual(["gone"]);
  });
});

describe("the counter", () => {
  test("hits zero once, with the last execution", async () => {
    const game = await startGame(irOf("a b c d", ["a -> b", "a -> c", "b -> d", "c -> d"]));
    expect(await play(game)).toEqual(["a", "b", "c", "d"]);
    expect(await counter(game)).toBe(0);
    const zeros = (await journal(game)).flatMap(({ events }) => stepsOf(events).filter(({ zero }) => zero));
    expect(zeros).toHaveLength(1);
  });

  test("shows no false zero inside a step that ends one execution and begins another", async () => {
    const game = await startGame(irOf("a b c", ["a -> b", "b -> c"]));
    await play(game);
    const zeros = (await journal(game)).map(({ events }) => stepsOf(events).map(({ zero }) => zero));
    expect(zeros.flat()).toEqual([undefined, undefined, undefined, "C"]);
  });

  test("zero is found by whichever script gets there: a run without work ends at its start", async () => {
    const game = await startGame(irOf("a b", ["a -> b"]));
    await play(game);
    expect(await state(game, "s")).toBe("C");
  });
});

describe("arrivals", () => {
  test("an AND-join behind an exclusive branch does not hang", async () => {
    const game = await startGame(
      irOf("choose x y join", ["choose -> x", "choose -> y", "x -> join", "y -> join"]),
    );
    const order = await play(game, (id) => (id === "choose" ? { arrivals: "=tn" } : {}));
    expect(order).toEqual(["choose", "x", "join"]);
    expect(await state(game, "n2")).toBe("S:not_taken:");
    expect(await state(game, "s")).toBe("C");
  });

  test("an unhandled failure skips what follows, names its origin, and leaves other branches alone", async () => {
    const game = await startGame(irOf("a b c d e", ["a -> b", "b -> c", "c -> d", "a -> e"]));
    const order = await play(game, (id) =>
      id === "b" ? { outcome: "F", arrivals: "X", unhandled: true, outputInJournal: false } : {},
    );
    expect(order).toEqual(["a", "b", "e"]);
    expect(await state(game, "n2")).toBe("S:upstream_failed:1");
    expect(await state(game, "n3")).toBe("S:upstream_failed:1");
    expect(await state(game, "s")).toBe("F");
    expect(await state(game, "u")).toBe("1");
  });

  test("one_success fires on the first success and absorbs what comes later", async () => {
    const game = await startGame(irOf("a b c", ["a -> c", "b -> c"], { c: "one_success" }));
    const order = await play(game);
    expect(order.filter((id) => id === "c")).toHaveLength(1);
    const fired = (await journal(game)).flatMap(({ events }) =>
      stepsOf(events).flatMap(({ activated }) => activated),
    );
    expect(fired).toContainEqual([2, "", [0]]);
  });

  test("more edges than one call may settle become a settle token that counts", async () => {
    const wide = Array.from({ length: 1_200 }, (_, index) => `n${index}`);
    const ir = irOf(
      `a ${wide.join(" ")} z`,
      wide.flatMap((id) => [`a -> ${id}`, `${id} -> z`]),
    );
    const game = await startGame(ir);
    const [token] = await tokens(game);
    await claim(game, [token as Waiting]);
    const skipAll = finished(game, token as Waiting, { arrivals: `=${"n".repeat(1_200)}` });
    expect(words(await advance(game, [skipAll]))).toEqual(["done"]);
    expect(await counter(game)).toBe(1);
    expect(await settleRests(game)).toBeGreaterThan(1);
    expect(await state(game, "s")).toBe("C");
    expect(await state(game, "n1201")).toBe("S:not_taken:");
  });
});

describe("what is left of a large step", () => {
  test("stays small below a long chain", async () => {
    const ids = Array.from({ length: 600 }, (_, index) => `n${index}`);
    const ir = irOf(
      ids.join(" "),
      ids.slice(1).map((to, index) => `n${index} -> ${to}`),
    );
    const game = await startGame(ir);
    const [token] = await tokens(game);
    await claim(game, [token as Waiting]);
    await advance(game, [finished(game, token as Waiting, { arrivals: "=n" })]);
    const rest = (await connection.redis.hgetall(game.partition.keys.run(game.runId))) as Record<
      string,
      string
    >;
    const [kept] = Object.entries(rest).filter(([field]) => field.startsWith("w"));
    expect(JSON.parse(kept?.[1] as string).w).toHaveLength(1);
    expect(await settleRests(game)).toBeGreaterThan(1);
    expect(await state(game, "s")).toBe("C");
  });

  test("lies in parts when it is deep, and none is forgotten", async () => {
    // Each node of the spine has a tooth, which is settled once the spine below is done with.
    const spine = Array.from({ length: 500 }, (_, index) => `s${index}`);
    const teeth = spine.map((_, index) => `t${index}`);
    const ir = irOf(
      `${spine.join(" ")} ${teeth.join(" ")}`,
      spine.flatMap((id, index) => [
        ...(index < 499 ? [`${id} -> s${index + 1}`] : []),
        `${id} -> t${index}`,
      ]),
    );
    const game = await startGame(ir);
    const [token] = await tokens(game);
    await claim(game, [token as Waiting]);
    await advance(game, [finished(game, token as Waiting, { arrivals: "=nn" })]);
    expect(await settleRests(game)).toBeGreaterThan(5);
    expect(await state(game, "s")).toBe("C");
    expect(await state(game, "n999")).toBe("S:not_taken:");
    const fields = await connection.redis.hkeys(game.partition.keys.run(game.runId));
    expect(fields.filter((field) => field.startsWith("w"))).toEqual([]);
  });
});

test("a wide join names no sources: its worker finds them in the arrivals", async () => {
  const wide = Array.from({ length: 120 }, (_, index) => `n${index}`);
  const ir = irOf(
    `a ${wide.join(" ")} z`,
    wide.flatMap((id) => [`a -> ${id}`, `${id} -> z`]),
    { z: "all_done" },
  );
  const game = await startGame(ir);
  const [first] = await tokens(game);
  await claim(game, [first as Waiting]);
  await advance(game, [finished(game, first as Waiting, { arrivals: `=n${"t".repeat(119)}` })]);
  await settleUntilQueued(game, 119);
  const [join] = await tokens(game);
  const { reply } = await claim(game, [join as Waiting]);
  expect(reply.tokens[0]).toMatchObject({ node: 121, wide: true, sources: [], inputs: [] });
  expect(await state(game, `e${2 * 0 + 1}`)).toBe("n");
  expect(await state(game, `e${2 * 1 + 1}`)).toBe("t");
});

/** Finishes everything that is queued, rests of steps included, until this many executions were finished. */
async function settleUntilQueued(game: Game, wanted: number): Promise<void> {
  for (let done = 0; done < wanted; ) {
    await settleRests(game);
    for (const token of await tokens(game)) {
      await claim(game, [token]);
      await advance(game, [finished(game, token)]);
      done += 1;
    }
  }
}

test("the next item goes to the worker that ended one; a repeated call is answered with it until its reply is known", async () => {
  const body = { nodes: [{ id: "work", type: "function", config: { function_name: "noop" } }] };
  const { ir } = compileDocument(
    {
      name: "mapped",
      nodes: [{ id: "each", type: "map", config: { items: "input.items", max_concurrency: 1, body } }],
    },
    "mapped.json",
  );
  const [each, work] = ["each", "work"].map((id) => ir.nodes.findIndex((node) => node.id === id));
  const game = await startGame(ir);
  const [map] = await tokens(game);
  await claim(game, [map as Waiting]);
  const park: Park = { kind: "m", total: 3, closes: true, blobs: [] };
  await advance(game, [finished(game, map as Waiting, { outcome: "W", arrivals: "", park, mapped: true })]);
  const [item] = await tokens(game);
  expect(item).toMatchObject({ node: work, scope: "each:0" });
  await claim(game, [item as Waiting]);
  const done = finished(game, item as Waiting, { mapped: true, handItems: true });
  const first = await advance(game, [done]);
  expect(first.reply.tokens).toMatchObject([{ node: work, scope: "each:1", after: 0 }]);
  const again = await advance(game, [done]);
  expect(words(again)).toEqual(["duplicate"]);
  expect(again.reply.tokens).toEqual(first.reply.tokens);
  expect(await tokens(game)).toEqual([]);

  const next = { ...(item as Waiting), scope: "each:1", nonce: first.reply.tokens[0]?.nonce as string };
  const former = `n${work}@each:0`;
  expect(await state(game, former)).toMatch(/^C:/);
  await advance(game, [finished(game, next, { mapped: true, forgets: former })]);
  expect(await state(game, former)).toBeNull();
  // Without the worker's leave the last item goes through the stream, and nothing is left of the one before.
  expect(await tokens(game)).toMatchObject([{ node: work, scope: "each:2" }]);
  expect(await state(game, `n${work}@each:1`)).toBeNull();
  expect(await state(game, `M${each}`)).toMatch(/^3,3,1,2,/);
});

test("what undoes the work of an item goes on though its map is over", async () => {
  const game = await startGame(irOf("a", []));
  const { partition, runId } = game;
  const state = { x: "cancel", z: "X", "n1@each:0": "A:nonce:1:2:worker:0" };
  await connection.redis.hset(partition.keys.run(runId), state);
  const performing = { runId, nonce: "nonce", delivery: 1, own: "n1@each:0", maps: ["M5"] };
  expect(await fatesOf(partition, [performing])).toEqual(["goes_on"]);
  expect(await fatesOf(partition, [{ ...performing, nonce: "other" }])).toEqual(["withdrawn"]);
  await connection.redis.hdel(partition.keys.run(runId), "x", "z");
  expect(await fatesOf(partition, [performing])).toEqual(["withdrawn"]);
});

describe("a lost reply", () => {
  test("is answered with duplicate and the tokens that are still owed", async () => {
    const game = await startGame(irOf("a b c", ["a -> b", "b -> c"]));
    const [token] = await tokens(game);
    await claim(game, [token as Waiting]);
    const item = finished(game, token as Waiting, { hand: true });
    const first = await advance(game, [item]);
    const again = await advance(game, [item]);
    expect(words(first)).toEqual(["done"]);
    expect(words(again)).toEqual(["duplicate"]);
    expect(again.reply.tokens).toEqual(first.reply.tokens);
    expect(again.reply.tokens).toHaveLength(1);
    expect(await counter(game)).toBe(1);
    expect(await journal(game)).toHaveLength(2);
  });

  test("owes nothing once the handed-over execution is resolved", async () => {
    const game = await startGame(irOf("a b", ["a -> b"]));
    const [token] = await tokens(game);
    await claim(game, [token as Waiting]);
    const item = finished(game, token as Waiting, { hand: true });
    const [next] = (await advance(game, [item])).reply.tokens;
    await advance(game, [finished(game, { ...(token as Waiting), node: 1, nonce: next?.nonce as string })]);
    const again = await advance(game, [item]);
    expect(words(again)).toEqual(["duplicate"]);
    expect(again.reply.tokens).toEqual([]);
  });

  test("of a claim: the same worker gets the token again, another does not", async () => {
    const game = await startGame(irOf("a", []));
    const list = await tokens(game);
    expect((await claim(game, list)).reply.tokens).toHaveLength(1);
    expect((await claim(game, list)).reply.tokens).toHaveLength(1);
    const other = await advance(game, [], {
      worker: "worker-2",
      claims: list.map((token) => ({ ...token, ...claimTraits(game.ir, token.node, token.scope) })),
    });
    expect(other.reply.claims).toEqual([{ word: "stale" }]);
  });
});

describe("tokens", () => {
  test("stay in reach until their execution is resolved: claimed ones are leased", async () => {
    const game = await startGame(irOf("a", []));
    const list = await tokens(game);
    const pending = (await connection.redis.xpending(game.partition.keys.ready("default"), "workers")) as [
      number,
    ];
    expect(pending[0]).toBe(1);
    await claim(game, list);
    expect(await connection.redis.zrange(game.partition.keys.leases, 0, -1)).toEqual([
      expect.stringContaining(`default|${game.runId}|1|`),
    ]);
    await advance(game, [finished(game, list[0] as Waiting)]);
    expect(await connection.redis.zcard(game.partition.keys.leases)).toBe(0);
  });

  test("are at most 200 bytes", async () => {
    const game = await startGame(irOf("a", []));
    const [entry] = (await connection.redis.xrange(game.partition.keys.ready("default"), "-", "+")) as [
      [string, string[]],
    ];
    const digest = "0".repeat(64 - game.digest.length);
    expect(`${entry[1][1]}${digest}`.length).toBeLessThanOrEqual(200);
  });

  test("bring the outputs of the arrivals taken; the worker's own need not come back", async () => {
    const game = await startGame(irOf("a b c", ["a -> c", "b -> c"]));
    const [a, b] = await tokens(game);
    await claim(game, [a as Waiting, b as Waiting]);
    await advance(game, [finished(game, a as Waiting)]);
    const { reply, payloads } = await advance(game, [finished(game, b as Waiting, { hand: true })]);
    const [token] = reply.tokens;
    expect(token?.sources).toEqual([0, 1]);
    expect(token?.inputs.map((at) => (at === -1 ? "own" : payloads[at]))).toEqual(['j"a"', "own"]);
  });

  test("that were streamed bring the run's input too", async () => {
    const game = await startGame(irOf("a", []), '{"n":1}');
    const { reply, payloads } = await claim(game, await tokens(game));
    expect(payloads[reply.tokens[0]?.input as number]).toBe('j{"n":1}');
  });
});

describe("the journal", () => {
  test("holds one entry for each call, numbered densely, with events numbered densely in their run", async () => {
    const game = await startGame(irOf("a b c d", ["a -> b", "a -> c", "b -> d", "c -> d"]));
    await play(game, (id) => (id === "a" ? { arrivals: "=tn" } : {}));
    const entries = await journal(game);
    expect(entries.map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    const numbers = entries.flatMap(({ events }) =>
      stepsOf(events).flatMap(({ q, skipped }) => [q, ...skipped.map(() => 0)]),
    );
    expect(numbers).toEqual([1, 2, 0, 4, 5]);
    expect(entries.at(-1)?.events[0]).toMatchObject({ kind: "finished", step: { zero: "C", q: 5 } });
  });

  test("a large output is a blob that the step makes permanent", async () => {
    const game = await startGame(irOf("a", []));
    const [token] = await tokens(game);
    await game.partition.storeBlob(game.runId, "big", '"x"', 60_000);
    await advance(game, [finished(game, token as Waiting, { output: "bbig", blob: "big" })]);
    expect(await connection.redis.pttl(game.partition.keys.blob(game.runId, "big"))).toBe(-1);
    await forget(game.partition, 0, [{ runId: game.runId, blobs: ["big"] }]);
    expect(await connection.redis.exists(game.partition.keys.blob(game.runId, "big"))).toBe(0);
  });
});

describe("low memory", () => {
  test("refuses starts and lets steps end", async () => {
    const server = await startPrivateRedis();
    const own = await RedisConnection.open(server.url);
    try {
      const game = await startGame(irOf("a", []), "{}", own);
      const [token] = await tokens(game);
      await own.redis.config("SET", "maxmemory", "1");
      await expect(start({ ...game, runId: crypto.randomUUID() })).rejects.toThrow(/OOM/);
      expect(words(await advance(game, [finished(game, token as Waiting)]))).toEqual(["done"]);
    } finally {
      own.close();
      await server.stop();
    }
  });
});
