/** Starting many runs in one call, on a real Redis: each has its own word, and what one is refused for touches no other. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { callsOf, startRuns } from "../../src/engine/start_run.ts";
import type { CallLimits } from "../../src/redis/call_limits.ts";
import type { StartItem } from "../../src/redis/calls.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { newNonce } from "../../src/redis/nonce.ts";
import { queuesOf } from "../../src/redis/pack.ts";
import { forget } from "../../src/redis/scripts/forget.ts";
import { loadIR } from "../../src/redis/scripts/load_ir.ts";
import { callStart } from "../../src/redis/scripts/start.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import type { IR } from "../../src/workflow/ir/ir.ts";
import { irOf } from "../support/ir.ts";
import { redisUrl } from "../support/redis.ts";
import { advance, beginGame, finished, type Game, journal, settleRests, start, tokens } from "./game.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

const beginOne = (ir = irOf("a", []), limits: Partial<CallLimits> = {}) =>
  beginGame(connection, ir, "{}", limits);

/** Runs that are not started yet, of the game's workflow. */
const newRuns = (
  { digest, ir }: Pick<Game, "digest" | "ir">,
  count: number,
  more: object = {},
): StartItem[] =>
  Array.from({ length: count }, (_none, index) => ({
    runId: crypto.randomUUID(),
    generation: 1,
    digest,
    ir,
    input: JSON.stringify({ index }),
    ...more,
  }));

const deadline = () => connection.now() + 5_000;

/** The runs of the tokens that lie in the streams, and the names of their nodes. */
async function queued(game: Game): Promise<string[]> {
  return (await tokens(game)).map(({ runId, node }) => `${runId} ${game.ir.nodes[node]?.id}`);
}

describe("one call", () => {
  test("starts a hundred runs, each with its tokens, its counter and its input, in one journal entry", async () => {
    const game = await beginOne(irOf("a b c", ["a -> c", "b -> c"]));
    await tokens(game);
    const before = (await journal(game)).length;
    const runs = newRuns(game, 100);
    const words = await callStart(game.partition, { epoch: "1", deadline: deadline(), runs });
    expect(words).toEqual(runs.map(() => "started"));
    const expected = runs.flatMap(({ runId }) => [`${runId} a`, `${runId} b`]);
    expect(await queued(game)).toEqual(expected);
    const entries = await journal(game);
    expect(entries).toHaveLength(before + 1);
    expect(entries.at(-1)?.events.map((event) => "step" in event && event.step.id)).toEqual(
      runs.map(({ runId }) => runId),
    );
    for (const { runId, input } of runs)
      expect(await game.partition.readFields(runId, ["c", "i"])).toEqual(["1,2,1,", `j${input}`]);
  });

  test("answers each run by its own word", async () => {
    const game = await beginOne();
    const [token] = await tokens(game);
    const over = newRuns(game, 1)[0] as StartItem;
    await callStart(game.partition, { epoch: "1", deadline: deadline(), runs: [over] });
    const [its] = await tokens(game);
    await advance(game, [finished(game, its as never)]);
    await forget(game.partition, 0, [{ runId: over.runId, blobs: [] }]);
    const [first, second] = newRuns(game, 2) as [StartItem, StartItem];
    const under = { ...(newRuns(game, 1)[0] as StartItem), runId: game.runId };
    const unknown = newRuns({ ...game, digest: newNonce() }, 1)[0] as StartItem;
    const runs = [first, over, under, unknown, second, first];
    expect(await callStart(game.partition, { epoch: "1", deadline: deadline(), runs })).toEqual([
      "started",
      "gone",
      "exists",
      "ir_missing",
      "started",
      "exists",
    ]);
    expect(await queued(game)).toEqual([`${first.runId} a`, `${second.runId} a`]);
    expect(await game.partition.readFields(game.runId, ["c"])).toEqual(["1,1,1,"]);
    expect(token?.runId).toBe(game.runId);
  });

  test("after its deadline starts none, and leaves no journal entry", async () => {
    const game = await beginOne();
    const entries = await journal(game);
    const runs = newRuns(game, 3);
    const late = { epoch: "1", deadline: connection.now() - 1_000, runs };
    expect(await callStart(game.partition, late)).toEqual(["late", "late", "late"]);
    expect(await journal(game)).toEqual(entries);
  });

  test("settles as many edges of each run as a call of its own would", async () => {
    const wide = irOf("a b c d e", []);
    const game = await beginOne(wide, { edges: 3 });
    expect(await settleRests(game)).toBe(1);
    await tokens(game);
    const runs = newRuns(game, 3);
    await callStart(game.partition, { epoch: "1", deadline: deadline(), runs });
    expect(await queued(game)).toEqual(
      runs.flatMap(({ runId }) => ["a", "b", "c"].map((id) => `${runId} ${id}`)),
    );
    expect(await settleRests(game)).toBe(3);
    expect(await queued(game)).toEqual(runs.flatMap(({ runId }) => ["d", "e"].map((id) => `${runId} ${id}`)));
  });

  test("starts runs of several workflows, each with its own queue, time limit and permits", async () => {
    const game = await beginOne();
    await tokens(game);
    const slow = { ...irOf("x y", []), timeout_ms: 60_000, max_parallel_nodes: 1 } as IR;
    const slowDigest = newNonce();
    await loadIR(game.partition, slowDigest, slow);
    const [plain] = newRuns(game, 1) as [StartItem];
    const [limited] = newRuns({ ir: slow, digest: slowDigest }, 1) as [StartItem];
    await callStart(game.partition, { epoch: "1", deadline: deadline(), runs: [limited, plain] });
    expect(await game.partition.readFields(limited.runId, ["c", "m", "d"])).toEqual([
      "1,2,1,1",
      "1",
      slowDigest,
    ]);
    expect(await game.partition.readFields(plain.runId, ["c", "m", "d"])).toEqual([
      "1,1,1,",
      null,
      game.digest,
    ]);
    const timers = await connection.redis.zrange(game.partition.keys.timers, 0, -1);
    expect(timers).toEqual([`!|time_out|${limited.runId}|1`]);
  });
});

describe("a run that needs nothing special", () => {
  /** What a start leaves behind, without what differs between two calls and two runs. */
  async function traces(ir: IR, limits: Partial<CallLimits>) {
    const game = await beginOne(ir, limits);
    const { runId, digest } = game;
    const [found] = await tokens(game);
    const same = (value: unknown) =>
      JSON.parse(
        JSON.stringify(value)
          .replaceAll(found?.nonce as string, "nonce")
          .replaceAll(runId, "run")
          .replaceAll(digest, "digest"),
      );
    const streams = queuesOf(ir).map((queue) => game.partition.keys.ready(queue));
    const ready = await Promise.all(streams.map((stream) => connection.redis.xrange(stream, "-", "+")));
    return same({
      state: await connection.redis.hgetall(game.partition.keys.run(runId)),
      ready: ready.map((entries) => entries.map(([, fields]) => fields)),
      journal: (await journal(game)).map(({ events }) => events),
    });
  }

  test.each([
    ["one node", irOf("a", [])],
    ["three, of which one is a join's", irOf("a b c d", ["a -> d", "b -> d"])],
    ["with permits", { ...irOf("a b", []), max_parallel_nodes: 3 } as IR],
    ["an entry node that never fires", irOf("a b", [], { a: "one_failed" })],
  ])("begins as any other does: %s", async (_what, ir) => {
    // With lists in parts of one the script takes the general way.
    expect(await traces(ir, {})).toEqual(await traces(ir, { part: 1 }));
  });
});

describe("startRuns", () => {
  test("loads the IRs that are missing, and starts all", async () => {
    const game = await beginOne();
    const others = ["b", "c"].map((id) => ({ ...game, ir: irOf(id, []), digest: newNonce() }));
    const runs = [game, ...others, game].flatMap((one) => newRuns(one, 2));
    expect(await startRuns(game.partition, "1", runs)).toEqual(runs.map(() => "started"));
    expect(await start(game)).toBe("exists");
  });

  test("a run on which the script breaks is found, and the others are started", async () => {
    const game = await beginOne();
    await tokens(game);
    const broken = { ...irOf("b", []) };
    const digest = newNonce();
    await loadIR(game.partition, digest, broken);
    await connection.redis.hset(game.partition.keys.ir(digest), "oroot", "no JSON");
    const runs = newRuns(game, 7);
    runs.splice(3, 0, newRuns({ ir: broken, digest }, 1)[0] as StartItem);
    const answers = await startRuns(game.partition, "1", runs);
    const expected = runs.map((_run, index) => (index === 3 ? expect.any(Error) : "started"));
    expect(answers).toEqual(expected);
    expect((await tokens(game)).map(({ runId }) => runId).sort()).toEqual(
      runs
        .filter((_run, index) => index !== 3)
        .map(({ runId }) => runId)
        .sort(),
    );
  });
});

describe("a call holds Redis for a bounded time", () => {
  const limits = { starts: 100, edges: 50 };
  const sizes = (runs: StartItem[]) => callsOf(runs, limits).map((call) => call.length);
  const of = (entries: number, count: number, input = "{}") =>
    newRuns(
      { ir: irOf(Array.from({ length: entries }, (_none, index) => `n${index}`).join(" "), []), digest: "d" },
      count,
      {
        input,
      },
    );

  test("a hundred runs with one entry node, fewer with more, and their order stays", () => {
    expect(sizes(of(1, 250))).toEqual([100, 100, 50]);
    expect(sizes(of(40, 5))).toEqual([2, 2, 1]);
    expect(sizes(of(1_000, 3))).toEqual([2, 1]);
    expect(sizes([...of(1, 60), ...of(40, 1), ...of(1, 60)])).toEqual([100 - 39, 60]);
    const runs = [...of(30, 4), ...of(1, 30), ...of(90, 2)];
    expect(callsOf(runs, limits).flat()).toEqual(runs);
  });

  test("a quarter of what has no short way: a run that begins in a loop, or paused", () => {
    const loop = compile({
      name: "looped",
      nodes: [
        { id: "a", type: "function", config: { function_name: "noop" } },
        { id: "again", type: "loop", config: { loop_back_to: "a", max_iterations: 3, condition: "true" } },
      ],
      edges: [{ from: "a", to: "again" }],
    });
    expect(sizes(newRuns(loop, 120))).toEqual([25, 25, 25, 25, 20]);
    expect(
      sizes([...of(1, 20), ...newRuns({ ir: irOf("a", []), digest: "d" }, 21, { paused: true })]),
    ).toEqual([40, 1]);
  });

  test("fewer with large inputs", () => {
    const large = JSON.stringify("x".repeat(1_000_000));
    expect(sizes(of(1, 9, large))).toEqual([4, 4, 1]);
  });
});
