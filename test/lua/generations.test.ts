/** Whatever belongs to another generation of a run, as what a worker kept of it from before it was rebuilt, changes nothing of it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { claimTraits } from "../../src/engine/worker/node_facts.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { RUN } from "../../src/redis/run_state.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { fireTimers } from "../../src/redis/scripts/fire.ts";
import { noteRunning } from "../../src/redis/scripts/note_running.ts";
import { reclaimExpired } from "../../src/redis/scripts/reclaim.ts";
import { step } from "../../src/redis/scripts/step.ts";
import { storeItems } from "../../src/redis/scripts/store.ts";
import { ANSWER } from "../../src/token/letters.ts";
import { irOf } from "../support/ir.ts";
import { redisUrl } from "../support/redis.ts";
import {
  advance,
  beginGame,
  claim,
  finished,
  type Game,
  journal,
  type Waiting,
  WORKER,
  words,
} from "./game.ts";
import { Play } from "./play.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

/** `b` is held by the worker, `c` lies in its stream; the run is of the next generation by now. */
async function rebuilt(generation = "2"): Promise<{ game: Game; held: Waiting; queued: Waiting }> {
  const game = await beginGame(connection, irOf("b c d", ["b -> d", "c -> d"]));
  const run = new Play(game);
  await run.came();
  await run.claims("b");
  // A rest of a step, with nothing in it.
  const key = game.partition.keys.run(game.runId);
  const counts = (await connection.redis.hget(key, RUN.counts)) as string;
  await connection.redis.hset(key, RUN.counts, counts.replace(/^1/, generation), "w1.1.x", '{"w":[]}');
  return { game, held: run.token("b"), queued: run.token("c") };
}

/** All that the calls could change of the run. */
async function all({ partition, runId }: Game) {
  const { redis } = connection;
  return {
    fields: await redis.hgetall(partition.keys.run(runId)),
    entries: (await journal({ partition, runId } as Game)).length,
    blobs: await redis.keys(`${partition.keys.blob(runId, "")}*`),
  };
}

const calls: [string, (made: Awaited<ReturnType<typeof rebuilt>>) => Promise<unknown>, unknown][] = [
  [
    "advance, with what ended",
    async ({ game, held }) => words(await advance(game, [finished(game, held)])),
    ["stale"],
  ],
  [
    "advance, with a rest of a step",
    async ({ game, queued }) => {
      const { runId, digest, generation, queue, entry } = queued;
      return words(
        await advance(game, [{ runId, digest, generation, queue, entry, work: "w1.1.x", limited: false }]),
      );
    },
    ["stale"],
  ],
  [
    "advance, with a claim",
    async ({ game, queued }) => (await claim(game, [queued])).reply.claims.map(({ word }) => word),
    ["stale"],
  ],
  [
    "step",
    async ({ game: { partition, ir }, held, queued }) => {
      const game = { partition, ir } as Game;
      const { letters } = await step(partition, {
        ...{ worker: WORKER, leaseMs: 30_000, take: 1, reads: ["default"] },
        finished: [{ item: finished(game, held), ir }],
        claims: [{ item: { ...queued, ...claimTraits(ir, queued.node, "") }, ir }],
      });
      return letters;
    },
    // The general step goes on with these, and answers as above.
    ANSWER.slow + ANSWER.slow,
  ],
  [
    "note_running",
    ({ game, held }) => noteRunning(game.partition, WORKER, [{ ...held, startedAt: 1 }]),
    undefined,
  ],
  ["store", ({ game, held }) => storeItems(game.partition, held, "i0.0", "[1]", 60_000), undefined],
  [
    "reclaim",
    async ({ game }) => {
      const { leases, workers } = game.partition.keys;
      const members = await connection.redis.zrange(leases, 0, -1);
      expect(members).toHaveLength(1);
      await connection.redis.zadd(workers, 1, WORKER);
      await connection.redis.zadd(leases, "XX", ...members.flatMap((member) => [1, member]));
      return reclaimExpired(game.partition);
    },
    0,
  ],
  [
    "command, of a time limit",
    async ({ game: { partition, runId } }) => {
      const answers: string[] = [];
      await connection.redis.zadd(partition.keys.timers, 1, `!|time_out|${runId}|1`);
      await fireTimers(partition, async (id, generation) => {
        answers.push(await applyCommand(partition, id, "time_out", 0, generation));
      });
      return answers;
    },
    ["stale"],
  ],
];

describe("another generation changes nothing by", () => {
  test.each(calls)("%s", async (_name, call, answer) => {
    const made = await rebuilt();
    const before = await all(made.game);
    expect(await call(made)).toEqual(answer);
    expect(await all(made.game)).toEqual(before);
  });

  // So that the calls above are refused for nothing else.
  test.each(calls)("%s; its own does", async (_name, call) => {
    const made = await rebuilt("1");
    const before = await all(made.game);
    await call(made);
    expect(await all(made.game)).not.toEqual(before);
  });
});
