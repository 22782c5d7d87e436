/** A worker's lane, when the scripts refuse a call: the item at fault stands alone, the others are answered. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLog } from "../../src/base/log.ts";
import { LIMITS } from "../../src/engine/limits.ts";
import { Lane } from "../../src/engine/worker/lane.ts";
import { claimTraits } from "../../src/engine/worker/node_facts.ts";
import { type Rest, Slot } from "../../src/engine/worker/slot.ts";
import type { FinishedItem } from "../../src/redis/calls.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import type { IRNode } from "../../src/workflow/ir/ir.ts";
import { irOf } from "../support/ir.ts";
import { redisUrl } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { beginGame, claim, finished, type Game, ids, tokens, type Waiting, WORKER } from "./game.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection?.close());

/** A lane that notes what becomes of items: ids of nodes. */
function laneOf(game: Game) {
  const answered: Record<string, string> = {};
  const refused: Record<string, string> = {};
  /** Of each token that came: its own node, and that of the claim or finished item at the position that it names. */
  const came: Record<string, string> = {};
  const never = new AbortController().signal;
  const idOf = (slot: Slot | Rest) => (slot as Slot).node.id;
  const lane = new Lane(game.partition, {
    workerId: WORKER,
    queues: ["default"],
    leaseMs: 30_000,
    limits: LIMITS,
    log: createLog("silent"),
    onAnswer: (_lane, { finished, claims, reply }) => {
      for (const token of reply.tokens) {
        const { after, claim: claimed } = token;
        const slot = after === undefined ? claims[claimed as number] : finished[after];
        came[ids(game, [token])[0] as string] = idOf(slot as Slot);
      }
      finished.forEach((entry, index) => {
        answered[idOf(entry)] = reply.finished[index]?.word as string;
      });
      claims.forEach((entry, index) => {
        answered[idOf(entry)] = reply.claims[index]?.word as string;
      });
    },
    onGivenUp: () => expect.unreachable(),
    onRefused: (_lane, batch, error) => {
      expect(batch.finished.length + batch.claims.length).toBe(1);
      refused[idOf([...batch.finished, ...batch.claims][0] as Slot)] = String(error);
    },
    onFailed: () => false,
    stopping: never,
    abandoned: never,
  });
  return { lane, answered, refused, came };
}

function finishedSlot(game: Game, token: Waiting, how: Partial<FinishedItem> = {}): Slot {
  const slot = new Slot(game.partition.number, game.ir, token);
  slot.step = finished(game, token, how);
  return slot;
}

test("one finished item without a time, among others: it is refused alone", async () => {
  const game = await beginGame(connection, irOf("a b c d", []));
  const came = await tokens(game);
  await claim(game, came);
  const { lane, answered, refused } = laneOf(game);
  for (const token of came) {
    const isBad = ids(game, [token])[0] === "c";
    const how = isBad ? { outcome: "R" as const, due: Number.NaN } : {};
    lane.finish(finishedSlot(game, token, how));
  }
  await until(() => lane.idle, "every item has its answer");
  // Plain ones were applied before, by the small step.
  expect(answered).toEqual({ a: "duplicate", b: "duplicate", d: "duplicate" });
  expect(Object.keys(refused)).toEqual(["c"]);
});

test("plain and other executions in one call: each token names the claim, or the finished item, that brought it", async () => {
  const ir = irOf("a b c d e", ["a -> e"]);
  // Not plain, nor is what names nodes that are not offered.
  (ir.nodes[1] as IRNode).unless = [2];
  const game = await beginGame(connection, ir);
  const all = await tokens(game);
  const first = all.filter(({ node }) => node === 0);
  await claim(game, first);
  const { lane, answered, came } = laneOf(game);
  lane.finish(finishedSlot(game, first[0] as Waiting, { hand: true, unoffered: [1] }));
  for (const token of all.filter(({ node }) => node !== 0)) {
    const slot = new Slot(game.partition.number, ir, token);
    slot.claim = { ...token, ...claimTraits(ir, token.node, "") };
    lane.claim(slot);
  }
  await until(() => lane.idle, "every item has its answer");
  expect(answered).toEqual({ a: "done", b: "run", c: "run", d: "run" });
  expect(came).toEqual({ b: "b", c: "c", d: "d", e: "a" });
});

test("claims and finished items of a run whose state is broken are refused, those of another run are not", async () => {
  const game = await beginGame(connection, irOf("a b c", []));
  const came = await tokens(game);
  const [a, b, c] = ["a", "b", "c"].map((id) => came.find((token) => ids(game, [token])[0] === id));
  await claim(game, [a as never]);
  const { partition, runId } = game;
  const other = crypto.randomUUID();
  await connection.redis.copy(partition.keys.run(runId), partition.keys.run(other));
  await connection.redis.hset(partition.keys.run(runId), "c", "many");
  const { lane, answered, refused } = laneOf(game);
  const claimOf = (token: typeof b, run: string) => {
    const identity = { ...(token as Waiting), runId: run };
    const slot = new Slot(partition.number, game.ir, identity);
    slot.claim = { ...identity, ...claimTraits(game.ir, identity.node, "") };
    return slot;
  };
  lane.finish(finishedSlot(game, a as Waiting));
  lane.claim(claimOf(b, runId));
  lane.claim(claimOf(c, other));
  await until(() => lane.idle, "every item has its answer");
  expect(answered).toEqual({ c: "run" });
  expect(Object.keys(refused).sort()).toEqual(["a", "b"]);
});
