/** A worker's lane, when the scripts refuse a call: the item at fault stands alone, the others are answered. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLog } from "../../src/base/log.ts";
import { LIMITS } from "../../src/engine/limits.ts";
import { claimTraits } from "../../src/engine/worker/held.ts";
import { Lane } from "../../src/engine/worker/lane.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { irOf } from "../support/ir.ts";
import { redisUrl } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { beginGame, claim, finished, type Game, ids, tokens, WORKER } from "./game.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection?.close());

/** A lane that notes what becomes of items: ids of nodes. */
function laneOf(game: Game) {
  const answered: Record<string, string> = {};
  const refused: Record<string, string> = {};
  const never = new AbortController().signal;
  const idOf = ({ item }: { item: object }) => ids(game, [item as { node: number }])[0] as string;
  const lane = new Lane(game.partition, {
    workerId: WORKER,
    queues: ["default"],
    leaseMs: 30_000,
    limits: LIMITS,
    log: createLog("silent"),
    onAnswer: (_lane, { finished, claims, reply }) => {
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
      refused[idOf([...batch.finished, ...batch.claims][0] as { item: object })] = String(error);
    },
    onFailed: () => false,
    stopping: never,
    abandoned: never,
  });
  return { lane, answered, refused };
}

test("one finished item without a time, among others: it is refused alone", async () => {
  const game = await beginGame(connection, irOf("a b c d", []));
  const came = await tokens(game);
  await claim(game, came);
  const { lane, answered, refused } = laneOf(game);
  for (const token of came) {
    const isBad = ids(game, [token])[0] === "c";
    const how = isBad ? { outcome: "R" as const, due: Number.NaN } : {};
    lane.finish({ ir: game.ir, item: finished(game, token, how) });
  }
  await until(() => lane.idle, "every item has its answer");
  // Plain ones were applied before, by the small step.
  expect(answered).toEqual({ a: "duplicate", b: "duplicate", d: "duplicate" });
  expect(Object.keys(refused)).toEqual(["c"]);
});

test("claims and finished items of a run whose state is broken are refused, those of another run are not", async () => {
  const game = await beginGame(connection, irOf("a b c", []));
  const came = await tokens(game);
  const [a, b, c] = ["a", "b", "c"].map((id) => came.find((token) => ids(game, [token])[0] === id));
  await claim(game, [a as never]);
  const { partition, runId } = game;
  const other = crypto.randomUUID();
  await connection.redis.copy(partition.keys.run(runId), partition.keys.run(other));
  await connection.redis.hset(partition.keys.run(runId), "q", "many");
  const { lane, answered, refused } = laneOf(game);
  const claimOf = (token: typeof b, run: string) => ({
    ir: game.ir,
    item: {
      ...(token as NonNullable<typeof b>),
      runId: run,
      ...claimTraits(game.ir, token?.node as number, ""),
    },
  });
  lane.finish({ ir: game.ir, item: finished(game, a as NonNullable<typeof a>) });
  lane.claim(claimOf(b, runId));
  lane.claim(claimOf(c, other));
  await until(() => lane.idle, "every item has its answer");
  expect(answered).toEqual({ c: "run" });
  expect(Object.keys(refused).sort()).toEqual(["a", "b"]);
});
