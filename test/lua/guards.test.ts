/** Permits, milestones, withdrawal, maps and compensation in the scripts, each call by hand. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createLog } from "../../src/base/log.ts";
import { storeOutput } from "../../src/engine/worker/token_inputs.ts";
import type { FinishedItem } from "../../src/redis/calls.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { fatesOf } from "../../src/redis/fates.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { compensateNext } from "../../src/redis/scripts/compensate.ts";
import { fireTimers } from "../../src/redis/scripts/fire.ts";
import { reclaimExpired } from "../../src/redis/scripts/reclaim.ts";
import { reviveRun } from "../../src/redis/scripts/revive.ts";
import { giveSignal } from "../../src/redis/scripts/signal.ts";
import { storeItems } from "../../src/redis/scripts/store.ts";
import { sweepRun } from "../../src/redis/scripts/sweep.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import { edges, fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import { withinLimit } from "../support/until.ts";
import { beginGame, finished, state } from "./game.ts";
import { FAILED, Play } from "./play.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

const begin = (document: object) =>
  beginGame(connection, compile({ name: "game", edges: [], ...document }).ir);

const play = async (document: object) => new Play(await begin(document));
const lab = (id: string, more: object = {}) => fn(id, "echo", {}, { holds: ["lab"], ...more });

describe("a permit", () => {
  test("goes to those who wait for it in the order in which they came", async () => {
    const run = await play({ semaphores: { lab: 1 }, nodes: [lab("a"), lab("b"), lab("c")] });
    expect(await run.takesUp()).toEqual({ a: "run", b: "parked", c: "parked" });
    await run.ends("a");
    expect(await run.takesUp()).toEqual({ b: "run" });
    await run.ends("b");
    expect(await run.takesUp()).toEqual({ c: "run" });
  });

  test.each<[string, Partial<FinishedItem>]>([
    ["completion", {}],
    ["failure", FAILED],
    ["the back-off of a retry", { outcome: "R", due: 9_999_999_999_999 }],
  ])("is given back at %s", async (_when, how) => {
    const run = await play({ semaphores: { lab: 1 }, nodes: [lab("a"), lab("b")] });
    await run.takesUp();
    expect(await run.ends("a", how)).toBe("done");
    expect(await run.takesUp()).toEqual({ b: "run" });
  });

  test("is given back at withdrawal, by those who hold one only", async () => {
    const run = await play({
      semaphores: { lab: 1 },
      nodes: [
        lab("a"),
        lab("b"),
        lab("c"),
        fn("x", "echo", {}, { cancels: ["b"] }),
        fn("y", "echo", {}, { cancels: ["a"] }),
      ],
    });
    expect(await run.takesUp()).toMatchObject({ a: "run", b: "parked", c: "parked" });
    await run.ends("x");
    expect([await run.came(), await state(run.game, "ylab")]).toEqual([[], "1"]);
    await run.ends("y");
    expect(await run.takesUp()).toEqual({ c: "run" });
  });

  test.each([
    ["semaphore", { semaphores: { lab: 1 } }, lab],
    ["max_parallel_nodes", { max_parallel_nodes: 1 }, (id: string, more = {}) => fn(id, "echo", {}, more)],
  ])("of %s is handed on by one that is withdrawn before it takes it", async (_which, limit, node) => {
    const run = await play({ ...limit, nodes: [node("a", { cancels: ["b"] }), node("b"), node("c")] });
    await run.takesUp();
    await run.ends("a");
    expect(await run.takesUp()).toMatchObject({ c: "run" });
  });

  test("is handed on by one that is skipped because a milestone has passed", async () => {
    const run = await play({
      semaphores: { lab: 1 },
      nodes: [lab("a"), lab("b", { unless: ["a"] }), lab("c")],
    });
    await run.takesUp();
    await run.ends("a");
    expect(await run.takesUp()).toEqual({ b: "cancelled" });
    expect(await run.takesUp()).toEqual({ c: "run" });
  });

  test("of a lost worker is free again, and handed on", async () => {
    const run = await play({
      semaphores: { lab: 1 },
      nodes: [lab("a"), lab("b"), fn("x", "echo", {}, { cancels: ["a"] })],
    });
    await run.came();
    expect(await run.claims("a", { leaseMs: -1_000 })).toBe("run");
    expect(await run.claims("b")).toBe("parked");
    expect(await reclaimExpired(run.game.partition)).toBe(1);
    expect(await state(run.game, "ylab")).toBe("0");
    await run.ends("x");
    expect(await run.takesUp()).toMatchObject({ b: "run" });
  });

  test("of an execution that lies nowhere is free again when it is handed out anew", async () => {
    const run = await play({ semaphores: { lab: 1 }, nodes: [lab("a"), lab("b")] });
    expect(await run.takesUp()).toEqual({ a: "run", b: "parked" });
    await connection.redis.del(run.game.partition.keys.leases);
    expect(await reviveRun(run.game.partition, run.game)).toMatchObject({ revived: 1, alive: 1 });
    expect(await state(run.game, "ylab")).toBe("0");
    expect(await run.takesUp()).toEqual({ a: "run" });
    expect(await state(run.game, "ylab")).toBe("1");
  });

  test("passes over items whose map is gone, before these are withdrawn", async () => {
    const run = await play({
      semaphores: { lab: 1 },
      nodes: [
        lab("y"),
        { id: "m", type: "map", config: { items: "[]", body: { nodes: [lab("a")] } } },
        fn("x", "echo", {}, { cancels: ["m"] }),
        fn("k"),
        lab("b"),
      ],
      edges: edges("k -> b"),
    });
    await run.takesUp();
    await run.ends("m", { outcome: "W", park: { kind: "m", total: 1, closes: true, blobs: [] } });
    expect(await run.takesUp()).toEqual({ "a@m:0": "parked" });
    await run.ends("k");
    expect(await run.takesUp()).toEqual({ b: "parked" });
    await run.ends("x");
    await run.ends("y");
    expect(await run.takesUp()).toEqual({ b: "run" });
  });

  test("two that are given back together let two go on; one alone is not enough for who needs both", async () => {
    const of = (id: string, ...holds: string[]) => fn(id, "echo", {}, { holds });
    const run = await play({
      semaphores: { p: 1, q: 1 },
      nodes: [of("a", "p", "q"), of("b", "p"), of("c", "q"), of("d", "p", "q"), of("e", "p")],
    });
    expect(await run.takesUp()).toMatchObject({ a: "run", b: "parked", c: "parked", d: "parked" });
    await run.ends("a");
    expect(await run.takesUp()).toEqual({ b: "run", c: "run" });
    await run.ends("b");
    expect(await run.takesUp()).toEqual({ e: "run" });
    await run.ends("c");
    expect(await run.came()).toEqual([]);
    await run.ends("e");
    expect(await run.takesUp()).toEqual({ d: "run" });
  });
});

describe("a milestone", () => {
  const nodes = [fn("a"), fn("b", "echo", {}, { unless: ["a"] })];

  test("that failed or was withdrawn has not passed", async () => {
    const run = await play({ nodes });
    await run.came();
    await run.ends("a", FAILED);
    expect(await run.claims("b")).toBe("run");
    const other = await play({ nodes: [...nodes, fn("x", "echo", {}, { cancels: ["a"] })] });
    await other.came();
    await other.ends("x");
    expect(await other.claims("b")).toBe("run");
  });

  test("is asked for before the first attempt only", async () => {
    const run = await play({ nodes });
    await run.came();
    expect(await run.claims("b", { leaseMs: -1_000 })).toBe("run");
    expect(await reclaimExpired(run.game.partition)).toBe(1);
    await run.ends("a");
    expect(await run.takesUp()).toEqual({ b: "run" });
  });
});

describe("withdrawal", () => {
  test.each([
    [
      "a quorum",
      [fn("a"), fn("b"), fn("join", "echo", {}, { trigger_rule: { quorum: 1 }, cancel_rest: true })],
    ],
    [
      "a node",
      [
        fn("a", "echo", {}, { cancels: ["b"] }),
        fn("b"),
        fn("join", "echo", {}, { trigger_rule: "one_success" }),
      ],
    ],
  ])("by %s comes after all arrivals of the step: it reaches what they have begun", async (_who, nodes) => {
    const run = await play({ nodes, edges: edges("a -> join", "a -> b -> join") });
    await run.takesUp();
    await run.ends("a");
    expect(await run.takesUp()).toEqual({ join: "run", b: "stale" });
  });

  test("by a node that waits comes when its time has come, before its second phase", async () => {
    const run = await play({
      nodes: [
        { id: "w", type: "wait", config: { duration_ms: 1 }, cancels: ["x"] },
        { id: "x", type: "signal", config: { name: "go" }, cancels: ["w"] },
      ],
    });
    const { partition } = run.game;
    await run.takesUp();
    await run.ends("x", { outcome: "W", park: { kind: "s", signal: "go" } });
    await run.ends("w", { outcome: "W", park: { kind: "w", due: connection.now() - 1_000 } });
    await fireTimers(partition, async () => {});
    expect(await run.takesUp()).toEqual({ w: "run" });
    expect(await state(run.game, "n1")).toMatch(/^X:/);
    await run.ends("w");
    expect(await state(run.game, "s")).toBe("C");
  });

  test("of a loop reaches the iteration that it is in", async () => {
    const run = await play({
      nodes: [
        fn("a"),
        { id: "again", type: "loop", config: { loop_back_to: "a", max_iterations: 9, timeout_path: "end" } },
        fn("end"),
        fn("x", "echo", {}, { cancels: ["again"] }),
      ],
      edges: edges("a -> again -> end"),
    });
    await run.takesUp();
    await run.ends("a@again:1");
    await run.takesUp();
    await run.ends("again@again:1", { again: true, arrivals: "", keepAt: "" });
    expect(await run.takesUp()).toEqual({ "a@again:2": "run" });
    await run.ends("x");
    expect([await run.came(), await state(run.game, "s")]).toEqual([[], "C"]);
  });

  test("of a map leaves its items dead: none is begun, none counts, and the run waits until they are withdrawn", async () => {
    const run = await play({
      nodes: [
        { id: "m", type: "map", config: { items: "[1, 2]", body: { nodes: [fn("a")] } } },
        fn("x", "echo", {}, { cancels: ["m"] }),
      ],
    });
    const { game } = run;
    await run.takesUp();
    await run.ends("m", { outcome: "W", park: { kind: "m", total: 2, closes: true, blobs: [] } });
    expect(await run.came()).toEqual(["a@m:0", "a@m:1"]);
    expect(await run.claims("a@m:0")).toBe("run");
    await run.ends("x");
    expect([await run.claims("a@m:1"), await run.ends("a@m:0")]).toEqual(["stale", "stale"]);
    expect(await state(game, "s")).toBe("R");
    const node = game.ir.nodes.findIndex(({ id }) => id === "m");
    await sweepRun(game.partition, game, [[node, ""]]);
    expect(await state(game, "s")).toBe("C");
  });
});

describe("a map", () => {
  test("begins an item when one ends, however it ends; a failure in it is its own matter; nothing of the items is left behind", async () => {
    const nodes = [fn("a"), fn("b", "echo", {}, { unless: ["c"] }), fn("c")];
    const run = await play({
      nodes: [
        {
          id: "m",
          type: "map",
          config: {
            items: "[]",
            max_concurrency: 2,
            tolerated_failures: 2,
            body: { nodes, edges: edges("a -> b") },
          },
        },
      ],
    });
    const { game } = run;
    await run.takesUp();
    await run.ends("m", { outcome: "W", park: { kind: "m", total: 4, closes: true, blobs: [] } });
    const item = async (index: number, how: Partial<FinishedItem>) => {
      await run.takesUp();
      await run.ends(`c@m:${index}`);
      await run.ends(`a@m:${index}`, how);
      return run.takesUp();
    };
    await run.takesUp();
    expect(await item(1, FAILED)).toEqual({ "a@m:2": "run", "c@m:2": "run" });
    expect(await item(0, FAILED)).toEqual({ "a@m:3": "run", "c@m:3": "run" });
    expect(await item(2, {})).toEqual({ "b@m:2": "cancelled" });
    expect(await item(3, {})).toEqual({ "b@m:3": "cancelled" });
    expect(await run.takesUp()).toEqual({ m: "run" });
    const ended = JSON.parse((await state(game, "p0"))?.slice(1) as string);
    expect(ended).toEqual({ total: 4, failed: 2, first: 0, culprit: 1 });
    await run.ends("m");
    expect([await state(game, "s"), await state(game, "u")]).toEqual(["C", null]);
    const { redis } = connection;
    const fields = await redis.hkeys(game.partition.keys.run(game.runId));
    expect(fields.filter((field) => /[@#]|^[Mp]\d/.test(field))).toEqual([]);
    expect(await redis.scard(game.partition.keys.scopes(game.runId))).toBe(0);
  });
});

describe("an open map", () => {
  test("that is about to be asked complete_when takes a signal afterwards", async () => {
    const config = { items: "[]", open: true, name: "more", complete_when: "completed > 9" };
    const run = await play({
      nodes: [{ id: "m", type: "map", config: { ...config, body: { nodes: [fn("a")] } } }],
    });
    const parks = (total: number) =>
      run.ends("m", { outcome: "W", park: { kind: "m", signal: "more", total, blobs: [] } });
    await run.takesUp();
    await parks(1);
    await run.takesUp();
    await run.ends("a@m:0");
    expect([await run.came(), (await state(run.game, "p0"))?.[0]]).toEqual([["m"], "K"]);
    const signal = { seq: 1, name: "more", transient: false, payload: "{}" };
    await giveSignal(run.game.partition, run.game, signal);
    expect(await run.came()).toEqual([]);
    expect(await run.claims("m")).toBe("run");
    await parks(0);
    expect([await run.came(), await state(run.game, "p0")]).toEqual([["m"], "S{}"]);
  });
});

describe("items of a map", () => {
  test("are stored by the worker that was given its token last: another one would take additions back", async () => {
    const run = await play({
      nodes: [{ id: "each", type: "map", config: { items: "[1]", body: { nodes: [fn("a")] } } }],
    });
    await run.takesUp();
    const { partition, runId } = run.game;
    const token = run.token("each");
    const store = (value: string, more: object) =>
      storeItems(partition, { ...token, runId, ...more }, "i0.0", value, 60_000);
    await store("[1]", {});
    await store("[2]", { delivery: token.delivery + 1 });
    await store("[3]", { nonce: "other" });
    expect(await partition.readBlob(runId, "i0.0")).toBe("[1]");
    expect(await connection.redis.pttl(partition.keys.blob(runId, "i0.0"))).toBeGreaterThan(0);
  });

  test("are stored by a worker that has to learn first that the partition was opened again", async () => {
    const run = await play({
      nodes: [{ id: "each", type: "map", config: { items: "[1]", body: { nodes: [fn("a")] } } }],
    });
    await run.takesUp();
    const { partition, runId } = run.game;
    partition.enter("0");
    const item = finished(run.game, run.token("each"), { outcome: "W" });
    const blob = { name: "i0.0", value: "[1]" };
    expect(await storeOutput(partition, item, blob, createLog("silent"), withinLimit())).toBe(true);
    expect(await partition.readBlob(runId, "i0.0")).toBe("[1]");
  });
});

describe("a map that ended early", () => {
  test("begins no more items, though most of them are still to begin", async () => {
    const run = await play({
      nodes: [
        {
          id: "m",
          type: "map",
          config: { items: "[]", open: true, name: "more", body: { nodes: [fn("a")] } },
        },
      ],
    });
    const parks = (park: object) =>
      run.ends("m", { outcome: "W", park: { kind: "m", signal: "more", blobs: [], ...park } });
    await run.takesUp();
    await parks({ total: 200 });
    expect((await run.came()).length).toBeLessThan(200);
    const signal = { seq: 1, name: "more", transient: false, payload: "{}" };
    await giveSignal(run.game.partition, run.game, signal);
    expect(await run.takesUp()).toEqual({ m: "run" });
    await parks({ total: 0, stops: true });
    expect(await run.came()).toEqual(["m"]);
  });
});

describe("compensation", () => {
  test("of a cancelled run goes on; what else is performed for it is told to stop", async () => {
    const undo = { compensate_with: { function_name: "echo" } };
    const run = await play({
      nodes: [fn("a", "echo", {}, undo), fn("b"), fn("x", "echo", {}, { cancels: ["y"] }), fn("y")],
    });
    const { game } = run;
    const { partition, runId } = game;
    const fate = async (key: string) => {
      const [fateOf] = await fatesOf(partition, [
        { ...run.token(key), own: `n${run.token(key).node}`, maps: [] },
      ]);
      return fateOf;
    };
    await run.takesUp();
    await run.ends("a");
    await run.ends("x");
    expect([await fate("b"), await fate("y")]).toEqual(["goes_on", "withdrawn"]);
    expect(await applyCommand(partition, runId, "cancel", 1)).toBe("applied");
    expect(await fate("b")).toBe("halted");
    await run.ends("b", { outcome: "X", arrivals: "" });
    await compensateNext(partition, runId, run.game.ir);
    expect(await run.takesUp()).toEqual({ "a.compensate": "run" });
    expect(await fate("a.compensate")).toBe("goes_on");
    expect(await applyCommand(partition, runId, "cancel", 2)).toBe("final");
    await run.ends("a.compensate");
    expect(await state(game, "s")).toBe("X");
  });

  test("of an iteration that is over is found again when its token is lost", async () => {
    const run = await play({
      nodes: [
        fn("work", "echo", {}, { compensate_with: { function_name: "undo" } }),
        { id: "again", type: "loop", config: { loop_back_to: "work", max_iterations: 2 } },
        fn("f"),
      ],
      edges: edges("work -> again", "again -> f"),
    });
    const { game } = run;
    const { partition, runId } = game;
    for (const iteration of [1, 2]) {
      await run.takesUp();
      await run.ends(`work@again:${iteration}`);
      await run.takesUp();
      const how = { again: iteration === 1, arrivals: iteration === 1 ? "" : "=t" };
      expect(await run.ends(`again@again:${iteration}`, how)).toBe("done");
    }
    await run.takesUp();
    await run.ends("f", FAILED);
    await compensateNext(partition, runId, game.ir);
    await run.takesUp();
    await run.ends("work.compensate@again:2");
    await compensateNext(partition, runId, game.ir);
    expect(await reviveRun(partition, game)).toMatchObject({ revived: 0, alive: 1, compensating: true });
    await connection.redis.xtrim(partition.keys.ready("default"), "MAXLEN", 0);
    expect(await reviveRun(partition, game)).toMatchObject({ revived: 1, alive: 0 });
    expect(await run.takesUp()).toEqual({ "work.compensate@again:1": "run" });
    await run.ends("work.compensate@again:1");
    expect(await state(game, "s")).toBe("F");
  });

  test("begins when nothing is outstanding any more, one at a time however often it is asked for", async () => {
    const undo = { compensate_with: { function_name: "echo" } };
    const run = await play({
      nodes: [fn("a", "echo", {}, undo), fn("b", "echo", {}, undo), fn("f"), fn("g")],
    });
    const { game } = run;
    const next = () => compensateNext(game.partition, game.runId, game.ir);
    await run.takesUp();
    await run.ends("a");
    await run.ends("b");
    await run.ends("f", FAILED);
    await next();
    expect([await run.came(), await state(game, "z")]).toEqual([[], null]);
    await run.ends("g");
    await next();
    await next();
    expect(await run.takesUp()).toEqual({ "b.compensate": "run" });
    await run.ends("b.compensate", FAILED);
    await next();
    await next();
    expect(await run.takesUp()).toEqual({ "a.compensate": "run" });
    expect(await state(game, "s")).toBe("R");
    await run.ends("a.compensate");
    expect(await state(game, "s")).toBe("F");
    await next();
    expect(await run.came()).toEqual([]);
  });
});
