/** Signals in the scripts, each call by hand: the line of those that wait, and what comes early or late. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { fireTimers } from "../../src/redis/scripts/fire.ts";
import { giveSignal } from "../../src/redis/scripts/signal.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import { fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import { keepSignals } from "../support/signals.ts";
import { beginGame, state } from "./game.ts";
import { FAILED, Play } from "./play.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

const play = async (document: object) =>
  new Play(await beginGame(connection, compile({ name: "game", edges: [], ...document }).ir));

describe("signals", () => {
  const waits = (id: string, name = "go", more: object = {}) => ({
    id,
    type: "signal",
    config: { name, ...more },
  });
  const parks = (run: Play, key: string, more: object = {}) =>
    run.ends(key, { outcome: "W", park: { kind: "s", signal: "go" }, ...more });
  let seq = 0;
  const give = (run: Play, payload: number, more: object = {}) => {
    seq += 1;
    const signal = { seq, name: "go", transient: false, payload: String(payload), ...more };
    return giveSignal(run.game.partition, run.game, signal);
  };
  const linesOf = async ({ game: { partition, runId } }: Play) => {
    const fields = await partition.connection.redis.hkeys(partition.keys.run(runId));
    return fields.filter((field) => /^(sgo|[SEF].*:go|l\d.*)$/.test(field));
  };
  const woken = async (run: Play) => {
    const keys = await run.came();
    const fields = keys.map((key) =>
      state(run.game, `p${run.game.ir.nodes.findIndex(({ id }) => id === key)}`),
    );
    return Object.fromEntries((await Promise.all(fields)).map((by, index) => [keys[index], by]));
  };

  test("go to the oldest waiter, each to one, and wake it once", async () => {
    const run = await play({ nodes: [waits("a"), waits("b")] });
    await run.takesUp();
    await parks(run, "b");
    await parks(run, "a");
    await give(run, 1);
    expect(await woken(run)).toEqual({ b: "S1" });
    await give(run, 2);
    expect(await woken(run)).toEqual({ a: "S2" });
  });

  test("pass over items whose map is gone, before these are withdrawn", async () => {
    const run = await play({
      nodes: [
        { id: "m", type: "map", config: { items: "[]", body: { nodes: [waits("w")] } } },
        fn("x", "echo", {}, { cancels: ["m"] }),
        waits("a"),
      ],
    });
    await run.takesUp();
    await run.ends("m", { outcome: "W", park: { kind: "m", total: 1, closes: true, blobs: [] } });
    await run.takesUp();
    await parks(run, "w@m:0");
    await parks(run, "a");
    await run.ends("x");
    await give(run, 1);
    expect(await woken(run)).toEqual({ a: "S1" });
  });

  test("go on along the line when one in it takes a signal for its scope, or waits no more; nothing of it is left", async () => {
    const body = { nodes: [waits("w")] };
    const run = await play({
      nodes: [
        { id: "m", type: "map", config: { items: "[]", body } },
        waits("a"),
        waits("b"),
        fn("x", "echo", {}, { cancels: ["b"] }),
      ],
    });
    await run.takesUp();
    await run.ends("m", { outcome: "W", park: { kind: "m", total: 3, closes: true, blobs: [] } });
    await run.takesUp();
    for (const key of ["w@m:0", "a", "w@m:1", "b", "w@m:2"]) await parks(run, key);
    await give(run, 1, { scope: "m:1" });
    expect(Object.keys(await woken(run))).toEqual(["w@m:1"]);
    await run.ends("x");
    for (const [payload, key] of ["w@m:0", "a", "w@m:2"].entries()) {
      await give(run, payload);
      expect(Object.keys(await woken(run))).toEqual([key]);
    }
    await give(run, 9);
    await give(run, 8, { scope: "m:0" });
    await give(run, 7, { scope: "" });
    expect(await state(run.game, "sgo")).toMatch(/,3$/);
    // The oldest first, whether it is for the scope or for anybody.
    for (const [key, at, payload] of [
      ["w@m:0", "@m:0", 9],
      ["w@m:0", "@m:0", 8],
      ["a", "", 7],
    ] as const) {
      await run.claims(key);
      await parks(run, key);
      expect(await run.came()).toEqual([key]);
      expect(await state(run.game, `p${run.token(key).node}${at}`)).toBe(`S${payload}`);
    }
    expect(await linesOf(run)).toEqual([]);
  });

  test("pass over any number that are dead, 200 in a call", async () => {
    const maps = Array.from({ length: 12 }, (_value, index) => `m${index}`);
    const run = await play({
      nodes: [
        ...maps.map((id) => ({
          id,
          type: "map",
          config: { items: "[]", body: { nodes: [waits(`${id}_w`)] } },
        })),
        fn("x", "echo", {}, { cancels: maps }),
        waits("a"),
      ],
    });
    await run.takesUp();
    for (const id of maps)
      await run.ends(id, { outcome: "W", park: { kind: "m", total: 20, closes: true, blobs: [] } });
    const waiting = Object.keys(await run.takesUp());
    expect(waiting).toHaveLength(240);
    for (const key of [...waiting, "a"]) await parks(run, key);
    await run.ends("x");
    const calls = vi.spyOn(run.game.partition, "call");
    expect(await give(run, 1)).toBe("applied");
    expect(calls.mock.calls.map(([script]) => script)).toEqual(["signal", "signal"]);
    expect(await woken(run)).toEqual({ a: "S1" });
  });

  test("are given once, though the answer is lost", async () => {
    const run = await play({ nodes: [waits("a"), waits("b")] });
    await run.takesUp();
    await parks(run, "a");
    await parks(run, "b");
    expect([await give(run, 1, { seq: 900_001 }), await give(run, 1, { seq: 900_001 })]).toEqual([
      "applied",
      "repeated",
    ]);
    expect(await woken(run)).toEqual({ a: "S1" });
  });

  test("that come early are kept in order, 1,000 at most, and taken once", async () => {
    const run = await play({ nodes: [waits("a"), waits("b"), waits("c")] });
    await run.takesUp();
    await give(run, 1);
    await parks(run, "a");
    expect(await woken(run)).toEqual({ a: "S1" });
    await parks(run, "b");
    expect(await woken(run)).toEqual({});
    await give(run, 2);
    expect(await woken(run)).toEqual({ b: "S2" });
    expect(await give(run, 3, { transient: true })).toBe("applied");
    expect(await state(run.game, "sgo")).toBeNull();
    const { connection, keys } = run.game.partition;
    await keepSignals(connection.redis, keys.run(run.game.runId), "go", 999);
    expect([await give(run, 4), await give(run, 5)]).toEqual(["applied", "full"]);
    await parks(run, "c");
    expect(await woken(run)).toEqual({ c: "S0" });
  });

  describe("that come when the time to wait is over, and before that is recorded,", () => {
    const timedOut = async () => {
      const run = await play({
        semaphores: { lab: 1 },
        nodes: [{ ...waits("a"), holds: ["lab"] }, fn("b", "echo", {}, { holds: ["lab"] })],
      });
      expect(await run.takesUp()).toEqual({ a: "run", b: "parked" });
      await parks(run, "a", { due: 1 });
      expect(await run.takesUp()).toEqual({ b: "run" });
      await fireTimers(run.game.partition, async () => {});
      return run;
    };

    test("are taken, and the permits of the execution stay its own", async () => {
      const run = await timedOut();
      await run.ends("b");
      expect(await run.takesUp()).toEqual({ a: "run" });
      await give(run, 1);
      expect(await woken(run)).toEqual({ a: "S1" });
      expect([await run.claims("a"), await state(run.game, "ylab")]).toEqual(["run", "1"]);
      await run.ends("a");
      expect(await state(run.game, "ylab")).toBe("0");
    });

    test("find nobody in line once it is", async () => {
      const run = await timedOut();
      await run.ends("b");
      expect(await run.takesUp()).toEqual({ a: "run" });
      expect(await linesOf(run)).toHaveLength(3);
      await run.ends("a", FAILED);
      expect(await linesOf(run)).toEqual([]);
    });

    test("are taken by one that was put aside until a permit is given back", async () => {
      const run = await timedOut();
      expect(await run.takesUp()).toEqual({ a: "parked" });
      await give(run, 1);
      expect(await run.takesUp()).toEqual({ a: "parked" });
      await run.ends("b");
      expect(await run.takesUp()).toEqual({ a: "run" });
    });
  });
});
