/** What a step leaves over for later calls, each call by hand, with an edge or two at a time (found by the simulation with small limits). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CallLimits } from "../../src/redis/call_limits.ts";
import type { FinishedItem, Park } from "../../src/redis/calls.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { compensateNext } from "../../src/redis/scripts/compensate.ts";
import { fireTimers } from "../../src/redis/scripts/fire.ts";
import { giveSignal } from "../../src/redis/scripts/signal.ts";
import { wakeParent } from "../../src/redis/scripts/wake.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import { edges, fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import { beginGame, journal, settleRests, state } from "./game.ts";
import { FAILED, Play } from "./play.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

const SMALL: Partial<CallLimits> = { edges: 1, rest: 1, part: 1, wide: 1, results: 1, entries: 1, aside: 1 };

const play = async (document: object) => {
  const { ir } = compile({ name: "game", edges: [], ...document });
  return new Play(await beginGame(connection, ir, "{}", SMALL));
};
const stateOf = (run: Play, id: string) =>
  state(run.game, `n${run.game.ir.nodes.findIndex((node) => node.id === id)}`);
const waits = (id: string, cancels: string[]) => ({ id, type: "wait", config: { duration_ms: 1 }, cancels });
const parks = (run: Play, key: string, kind: "s" | "c") =>
  run.ends(key, { outcome: "W", arrivals: "", park: { kind, signal: "go" } });

/** Its first and its last answer, when it is sent until it is not postponed. */
async function endsAtLast(run: Play, key: string): Promise<string[]> {
  const answers = [await run.ends(key)];
  while (answers.at(-1) === "busy") answers.push(await run.ends(key));
  return [answers[0] as string, answers.at(-1) as string];
}

test("shrinks with each call, also where taking it up costs as much as a call may do", async () => {
  const nodes = Array.from({ length: 7 }, (_, index) => fn(`n${index}`));
  const run = await play({ nodes });
  await settleRests(run.game);
  expect(await run.came()).toHaveLength(7);
});

test("is settled in a run that was halted meanwhile: what would begin is cancelled, what is skipped is skipped", async () => {
  const run = await play({
    fail_fast: true,
    nodes: [fn("a"), fn("b"), fn("c"), fn("d", "echo", {}, { trigger_rule: "all_done" })],
    edges: edges("a -> b", "a -> c", "a -> d"),
  });
  await run.takesUp();
  expect(await run.ends("a", { ...FAILED, halt: true })).toBe("done");
  await settleRests(run.game);
  const fates = await Promise.all(["b", "c", "d"].map((id) => stateOf(run, id)));
  expect(fates).toEqual(["S:upstream_failed:0", "S:upstream_failed:0", expect.stringMatching(/^X:/)]);
  expect(await state(run.game, "s")).toBe("F");
});

describe("keeps no run from its end, where it only tidies:", () => {
  const map = (nodes: object[], more: object = {}) => ({
    id: "m",
    type: "map",
    config: { items: "[]", body: { nodes }, ...more },
  });
  const park: Park = { kind: "m", total: 3, closes: true, blobs: [] };
  const parks: Partial<FinishedItem> = { outcome: "W", arrivals: "", park };

  test("results of a map are dropped behind its end, which no command comes before", async () => {
    const run = await play({ nodes: [map([fn("a")])] });
    const { game } = run;
    await run.takesUp();
    await run.ends("m", parks);
    await settleRests(game);
    for (const key of Object.keys(await run.takesUp())) await run.ends(key);
    await settleRests(game);
    await run.takesUp();
    expect(await run.ends("m")).toBe("done");
    expect(await state(game, "s")).toBe("C");
    const told = await journal(game);
    expect(await applyCommand(game.partition, game.runId, "cancel", 1)).toBe("final");
    expect(await settleRests(game)).toBe(1);
    expect(await journal(game)).toEqual(told);
  });

  test("nor does anything else wait for it then, where the order of steps matters", async () => {
    const run = await play({ nodes: [map([fn("a")], { complete_when: "completed > 9" })] });
    const { game } = run;
    await run.takesUp();
    await run.ends("m", parks);
    await settleRests(game);
    for (const key of Object.keys(await run.takesUp())) await endsAtLast(run, key);
    await settleRests(game);
    expect(await run.takesUp()).toEqual({ m: "run" });
    await run.ends("m", { ...parks, park: { ...park, total: 0 } });
    await settleRests(game);
    await run.takesUp();
    expect(await run.ends("m")).toBe("done");
    expect(await state(game, "s")).toBe("C");
    const told = await journal(game);
    expect(await run.claims("m")).toBe("stale");
    expect(await journal(game)).toEqual(told);
  });

  test("nor does whom a last step withdraws, when all of them are over", async () => {
    const run = await play({ nodes: [fn("a"), fn("b"), fn("c", "echo", {}, { cancels: ["a", "b"] })] });
    const { game } = run;
    await settleRests(game);
    await run.takesUp();
    for (const key of ["a", "b", "c"]) await endsAtLast(run, key);
    expect(await state(game, "s")).toBe("C");
    expect(await applyCommand(game.partition, game.runId, "cancel", 1)).toBe("final");
  });

  test("what undoes an item stays while the item is cleared", async () => {
    const undo = { compensate_with: { function_name: "echo" } };
    const run = await play({
      nodes: [map([fn("a", "echo", {}, undo)]), fn("z")],
      edges: edges("m -> z"),
    });
    const { game } = run;
    await run.takesUp();
    await run.ends("m", { ...parks, park: { ...park, total: 1 } });
    await settleRests(game);
    await run.takesUp();
    await run.ends("a@m:0");
    await run.takesUp();
    await run.ends("m");
    await run.takesUp();
    await run.ends("z", FAILED);
    expect(await state(game, "z")).toBe("F");
    await compensateNext(game.partition, game.runId, game.ir);
    expect(await run.takesUp()).toEqual({ "a.compensate@m:0": "run" });
    expect(await settleRests(game)).toBeGreaterThan(1);
    expect(await run.ends("a.compensate@m:0")).toBe("done");
    expect(await state(game, "s")).toBe("F");
  });
});

test("is left only where there is more to settle", async () => {
  const failing = await play({ nodes: [fn("a"), fn("b")], edges: edges("a -> b") });
  await failing.takesUp();
  expect(await failing.ends("a", FAILED)).toBe("done");
  expect(await state(failing.game, "s")).toBe("F");
  const run = await play({ nodes: [fn("x", "echo", {}, { cancels: ["b"] }), fn("b")] });
  await settleRests(run.game);
  await run.takesUp();
  expect(await run.ends("x")).toBe("done");
  // The execution and its withdrawals, each in one call.
  expect(await settleRests(run.game)).toBe(1);
  expect(await state(run.game, "s")).toBe("C");
});

describe("comes before all else of its run, where the outcome hangs on the order of steps:", () => {
  test("what a time withdraws is withdrawn before the node goes on, and its successors are not", async () => {
    const run = await play({
      nodes: [waits("w", ["*"]), fn("a"), fn("b"), fn("c"), fn("z")],
      edges: edges("w -> z"),
    });
    await settleRests(run.game);
    await run.takesUp();
    await run.ends("w", { outcome: "W", arrivals: "", park: { kind: "w", due: 1 } });
    await fireTimers(run.game.partition, async () => {});
    expect(await run.takesUp()).toEqual({ w: "run" });
    expect(await endsAtLast(run, "w")).toEqual(["busy", "done"]);
    await settleRests(run.game);
    expect(await run.takesUp()).toEqual({ z: "run" });
    expect(await run.ends("z")).toBe("done");
    expect(await state(run.game, "s")).toBe("C");
  });

  test("an execution that is still to be withdrawn does not end", async () => {
    const run = await play({
      nodes: [fn("x", "echo", {}, { cancels: ["a", "b", "c"] }), fn("a"), fn("b"), fn("c"), fn("d")],
      edges: edges("x -> d"),
    });
    await settleRests(run.game);
    await run.takesUp();
    await run.ends("x");
    expect(await endsAtLast(run, "c")).toEqual(["busy", "duplicate"]);
    await settleRests(run.game);
    expect(await run.takesUp()).toEqual({ d: "run" });
    expect(await run.ends("d")).toBe("done");
    expect(await state(run.game, "s")).toBe("C");
  });

  test("a claim, a signal and the end of a child wait for it", async () => {
    const run = await play({
      nodes: [
        fn("x", "echo", {}, { cancels: ["a", "b", "c", "s"] }),
        fn("a"),
        fn("b"),
        fn("c"),
        { id: "s", type: "signal", config: { name: "go" } },
        { id: "sub", type: "subworkflow", config: { workflow: "other" } },
      ],
    });
    const { game } = run;
    await settleRests(game);
    await run.takesUp();
    await parks(run, "s", "s");
    await parks(run, "sub", "c");
    await run.ends("x");
    const signal = { seq: 1, name: "go", transient: true, payload: "1" };
    expect(await giveSignal(game.partition, game, signal)).toBe("applied");
    expect(await stateOf(run, "s")).toMatch(/^X:/);
    await wakeParent(game.partition, game, { node: run.token("sub").node, scope: "", ended: "{}" });
    expect(await run.takesUp()).toEqual({ sub: "run" });
  });

  test("an open map is asked whether it is complete before it takes a signal that was kept", async () => {
    const config = {
      items: "[]",
      open: true,
      name: "go",
      complete_when: "completed > 9",
      body: { nodes: [fn("w")] },
    };
    const run = await play({ nodes: [{ id: "m", type: "map", config }] });
    const { game } = run;
    const parksWith = (total: number) =>
      run.ends("m", {
        outcome: "W",
        arrivals: "",
        park: { kind: "m", total, closes: false, blobs: [], signal: "go" },
      });
    const woken = async () => {
      await settleRests(game);
      await run.takesUp();
      const by = (await state(game, `p${run.token("m").node}`)) as string;
      return [by.slice(0, 1), JSON.parse(by.slice(1))];
    };
    const give = (seq: number) =>
      giveSignal(game.partition, game, { seq, name: "go", transient: false, payload: String(seq) });
    await run.takesUp();
    await parksWith(1);
    await settleRests(game);
    await run.takesUp();
    await give(1);
    expect(await woken()).toEqual(["S", 1]);
    await give(2);
    expect(await run.ends("w@m:0")).toBe("done");
    await settleRests(game);
    // These items take more than one call to begin.
    await parksWith(3);
    expect(await woken()).toEqual(["K", { completed: 1, failed: 0, total: 4 }]);
    await parksWith(0);
    expect(await woken()).toEqual(["S", 2]);
  });

  test("a command does not wait for it, and it does not hold the end of a cancelled run up", async () => {
    const run = await play({
      nodes: [fn("x", "echo", {}, { cancels: ["a"] }), ...["a", "b", "c", "d"].map((id) => fn(id))],
      edges: edges("x -> b", "x -> c", "x -> d"),
    });
    await settleRests(run.game);
    await run.takesUp();
    await run.ends("x");
    expect(await applyCommand(run.game.partition, run.game.runId, "cancel", 1)).toBe("applied");
    await settleRests(run.game);
    await run.takesUp();
    expect(await state(run.game, "s")).toBe("X");
  });
});
