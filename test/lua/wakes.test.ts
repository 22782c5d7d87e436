/** What wakes the partition's reader: a script rings for what is not to wait until the reader looks by itself, and for nothing else. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LIMITS, RECORD_LOOK_MS } from "../../src/engine/limits.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { compensateNext } from "../../src/redis/scripts/compensate.ts";
import { giveSignal } from "../../src/redis/scripts/signal.ts";
import { step } from "../../src/redis/scripts/step.ts";
import { sweepRun } from "../../src/redis/scripts/sweep.ts";
import { ANSWER } from "../../src/token/letters.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import { edges, fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import { beginGame, finished, journal, start, stepsOf, WORKER } from "./game.ts";
import { FAILED, Play } from "./play.ts";

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

const play = async (document: object) =>
  new Play(await beginGame(connection, compile({ name: "game", edges: [], ...document }).ir));

/** Did the work append to the journal, and ring? */
async function heard({ game }: Play, work: () => Promise<unknown>): Promise<string> {
  const { keys } = game.partition;
  const last = async () => (await connection.redis.xrevrange(keys.nudge, "+", "-", "COUNT", 1))[0]?.[0];
  const [before, entries] = [await last(), (await journal(game)).length];
  await work();
  expect(await connection.redis.xlen(keys.nudge)).toBeLessThanOrEqual(1);
  const rang = (await last()) !== before ? "rings" : "is silent";
  return (await journal(game)).length > entries ? `an entry ${rang}` : `no entry ${rang}`;
}

const RINGS = "an entry rings";
const SILENT = "an entry is silent";
const park = (kind: "w" | "s" | "c", more: object = {}) =>
  ({ outcome: "W", park: { kind, ...more } }) as const;

test("both sides go by the same numbers", () => {
  const text = readFileSync(new URL("../../lua/lib/writes.lua", import.meta.url), "utf8");
  expect(text).toContain(`local LOOK_MS, FULL_BATCH = ${RECORD_LOOK_MS}, ${LIMITS.record}\n`);
});

describe("a step", () => {
  test("rings with the last one of its run only", async () => {
    const run = await play({ nodes: [fn("a"), fn("b")], edges: edges("a -> b") });
    await run.takesUp();
    expect(await heard(run, () => run.ends("a"))).toBe(SILENT);
    await run.takesUp();
    expect(await heard(run, () => run.ends("b"))).toBe(RINGS);
    expect(await heard(run, () => run.ends("b"))).toBe("no entry is silent");
  });

  test("of the small script rings as the general one does", async () => {
    const run = await play({ nodes: [fn("a"), fn("b")], edges: edges("a -> b") });
    const { game } = run;
    const { partition, ir } = game;
    const small = (key: string) => async () => {
      const call = { worker: WORKER, leaseMs: 30_000, take: 0, reads: [], claims: [] };
      const item = finished(game, run.token(key));
      expect((await step(partition, { ...call, finished: [{ item, ir }] })).letters).toBe(ANSWER.done);
    };
    await run.takesUp();
    expect(await heard(run, small("a"))).toBe(SILENT);
    await run.takesUp();
    expect(await heard(run, small("b"))).toBe(RINGS);
    const other = await play({ nodes: [fn("a"), fn("b")], edges: edges("a -> b") });
    await other.takesUp();
    await connection.redis.hset(other.game.partition.keys.meta, "seq", LIMITS.record - 1);
    const item = finished(other.game, other.token("a"));
    const call = {
      worker: WORKER,
      leaseMs: 30_000,
      take: 0,
      reads: [],
      claims: [],
      finished: [{ item, ir }],
    };
    expect(await heard(other, () => step(other.game.partition, call))).toBe(RINGS);
  });

  test("that fails rings when it halts the run", async () => {
    const run = await play({ fail_fast: true, nodes: [fn("a"), fn("b"), fn("c")], edges: edges("a -> c") });
    await run.takesUp();
    expect(await heard(run, () => run.ends("a", { ...FAILED, halt: true }))).toBe(RINGS);
  });

  test("that fails and halts nothing is silent", async () => {
    const run = await play({ nodes: [fn("a"), fn("b"), fn("c")], edges: edges("a -> c") });
    await run.takesUp();
    expect(await heard(run, () => run.ends("a", FAILED))).toBe(SILENT);
  });

  test("rings when the run begins to undo what it did, and again when it is over", async () => {
    const run = await play({
      nodes: [fn("a", "echo", {}, { compensate_with: { function_name: "echo" } }), fn("b")],
      edges: edges("a -> b"),
    });
    const { game } = run;
    await run.takesUp();
    await run.ends("a");
    await run.takesUp();
    expect(await heard(run, () => run.ends("b", FAILED))).toBe(RINGS);
    expect(await heard(run, () => compensateNext(game.partition, game.runId, game.ir))).toBe(SILENT);
    await run.takesUp();
    expect(await heard(run, () => run.ends("a.compensate"))).toBe(RINGS);
    const steps = (await journal(game)).flatMap(({ events }) => stepsOf(events));
    expect(steps.flatMap(({ compensating, zero }) => compensating ?? zero ?? [])).toEqual([true, "F"]);
  });

  test("rings when a child run is to be started, and not when it waits for a signal", async () => {
    const nodes = ["a", "b", "c"].map((id) => ({ id, type: "wait", config: { duration_ms: 1 } }));
    const run = await play({ nodes });
    await run.takesUp();
    expect(await heard(run, () => run.ends("a", park("s", { signal: "go" })))).toBe(SILENT);
    expect(await heard(run, () => run.ends("b", park("c")))).toBe(RINGS);
  });

  test("rings when a map goes of which items are under way, and when nothing is left of these", async () => {
    const run = await play({
      nodes: [
        { id: "m", type: "map", config: { items: "[1, 2]", body: { nodes: [fn("a")] } } },
        fn("x", "echo", {}, { cancels: ["m"] }),
      ],
    });
    const { game } = run;
    await run.takesUp();
    const items = { kind: "m" as const, total: 2, closes: true, blobs: [] };
    expect(await heard(run, () => run.ends("m", { outcome: "W", park: items }))).toBe(SILENT);
    await run.takesUp();
    expect(await heard(run, () => run.ends("x"))).toBe(RINGS);
    const node = game.ir.nodes.findIndex(({ id }) => id === "m");
    expect(await heard(run, () => sweepRun(game.partition, game, [[node, ""]]))).toBe(RINGS);
  });

  test("that completes a full batch rings", async () => {
    const run = await play({ nodes: [fn("a"), fn("b")], edges: edges("a -> b") });
    await run.takesUp();
    await connection.redis.hset(run.game.partition.keys.meta, "seq", LIMITS.record - 1);
    expect(await heard(run, () => run.ends("a"))).toBe(RINGS);
  });
});

describe("a timer", () => {
  const nodes = [fn("a"), { id: "w", type: "wait", config: { duration_ms: 1 } }];
  const due = (ms: number) => connection.now() + ms;

  test("rings when it is due before the reader looks by itself", async () => {
    const run = await play({ nodes });
    await run.takesUp();
    expect(await heard(run, () => run.ends("a", { outcome: "R", due: due(5) }))).toBe(RINGS);
    expect(await heard(run, () => run.ends("w", park("w", { due: due(-1_000) })))).toBe(RINGS);
  });

  test("is silent when that look comes first", async () => {
    const run = await play({ nodes });
    await run.takesUp();
    expect(await heard(run, () => run.ends("a", { outcome: "R", due: due(600_000) }))).toBe(SILENT);
    expect(await heard(run, () => run.ends("w", park("w", { due: due(600_000) })))).toBe(SILENT);
  });

  test("of a run with a short time limit rings", async () => {
    for (const [limit, expected] of [
      [5, RINGS],
      [600_000, SILENT],
    ] as const) {
      const run = await play({ nodes });
      const ir = { ...run.game.ir, timeout_ms: limit };
      const other = { ...run.game, runId: crypto.randomUUID(), ir };
      expect(await heard(run, () => start(other))).toBe(expected);
    }
  });
});

describe("a command", () => {
  test("rings when it takes effect", async () => {
    const run = await play({ nodes: [fn("a")] });
    const { partition, runId } = run.game;
    const give = (kind: "pause" | "resume" | "cancel", seq: number) => () =>
      applyCommand(partition, runId, kind, seq);
    expect(await heard(run, give("pause", 1))).toBe(RINGS);
    expect(await heard(run, give("pause", 2))).toBe("no entry is silent");
    expect(await heard(run, give("resume", 3))).toBe(RINGS);
    expect(await heard(run, give("cancel", 4))).toBe(RINGS);
  });

  test("rings also when it is a signal, or the run has not started", async () => {
    const run = await play({ nodes: [{ id: "s", type: "signal", config: { name: "go" } }] });
    const { partition } = run.game;
    const signal = { seq: 1, name: "go", transient: false, payload: "{}" };
    expect(await heard(run, () => giveSignal(partition, run.game, signal))).toBe(RINGS);
    expect(await heard(run, () => applyCommand(partition, crypto.randomUUID(), "cancel", 2))).toBe(RINGS);
  });
});
