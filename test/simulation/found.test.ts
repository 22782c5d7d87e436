/** What the simulation found: each engine fault as a small case of its own. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { LIMITS } from "../../src/engine/limits.ts";
import type { HandlerContext } from "../../src/index.ts";
import { acceptRuns } from "../../src/postgres/accept_runs.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { controlChannel } from "../../src/redis/keys.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { until, withinLimit } from "../support/until.ts";
import { LOST_STEPS } from "./faults.ts";
import { RoughEngine } from "./rough_engine.ts";

const LEASE_MS = 300;

let engine: TestEngine;
beforeAll(async () => {
  engine = await startEngine({ workers: 2, concurrency: 8, handlers: { noop: () => ({ score: 7 }) } });
});
afterAll(() => engine?.stop());

async function outputsOf(document: object): Promise<Record<string, unknown>> {
  const { runIds } = await engine.client.submit(await engine.client.register(document), {});
  await engine.client.waitAll(runIds);
  const nodes = await engine.client.listNodes(runIds[0] as string);
  return Object.fromEntries(nodes.map(({ node_id, output, error }) => [node_id, error?.code ?? output]));
}

test("a node that is activated through a skipped one sees its ancestors' outputs", async () => {
  const outputs = await outputsOf({
    name: "through-a-skip",
    nodes: [
      { id: "a", type: "function", config: { function_name: "noop" } },
      { id: "b", type: "function", config: { function_name: "noop" } },
      {
        id: "c",
        type: "transform",
        config: { expression: 'nodes["a"].output.score' },
        trigger_rule: "all_done",
      },
    ],
    edges: [
      { from: "a", to: "b", on: "failure" },
      { from: "b", to: "c" },
    ],
  });
  expect(outputs).toEqual({ a: { score: 7 }, b: null, c: 7 });
});

test("all that a node sends is in before what follows from it, whatever the order of its edges", async () => {
  const workflow = await engine.client.register({
    name: "own-arrivals-first",
    nodes: [
      { id: "fails", type: "transform", config: { expression: "1 / 0" } },
      { id: "a", type: "wait", config: { duration_ms: 300 } },
      { id: "skipped", type: "transform", config: { expression: "1" } },
      { id: "c", type: "transform", config: { expression: "1" }, trigger_rule: "one_failed" },
    ],
    // The end of `a` skips a node, whose failed arrival makes `c` fire.
    edges: [
      { from: "fails", to: "skipped" },
      { from: "a", to: "skipped" },
      { from: "skipped", to: "c" },
      { from: "a", to: "c" },
    ],
  });
  const { runIds } = await engine.client.submit(workflow, {});
  await engine.client.wait(runIds[0] as string);
  const nodes = await engine.client.listNodes(runIds[0] as string);
  expect(nodes.map(({ node_id, status, from_nodes }) => [node_id, status, from_nodes]).sort()).toEqual([
    ["a", "COMPLETED", []],
    ["c", "COMPLETED", ["a"]],
    ["fails", "FAILED", []],
    ["skipped", "SKIPPED", []],
  ]);
});

test("a terminal loop node that is skipped in its last iteration has no part in the run's output", async () => {
  const workflow = await engine.client.register({
    name: "skipped-at-last",
    nodes: [
      { id: "a", type: "transform", config: { expression: "loop.iteration" } },
      { id: "again", type: "loop", config: { loop_back_to: "a", max_iterations: 3 } },
      { id: "z", type: "transform", config: { expression: "1" } },
    ],
    edges: [{ from: "a", to: "again", condition: "output < 2" }],
  });
  const { runIds } = await engine.client.submit(workflow, {});
  const { status, output } = await engine.client.wait(runIds[0] as string);
  expect({ status, output }).toEqual({ status: "COMPLETED", output: { z: 1 } });
});

test("a run that is cancelled before it started is final, and the partition's record goes on", async () => {
  const { client, database } = engine;
  const workflow = await client.register({
    name: "unstarted",
    nodes: [{ id: "a", type: "function", config: { function_name: "noop" } }],
    edges: [],
  });
  const runId = crypto.randomUUID();
  // What a submitter leaves behind that dies right after its commit.
  await acceptRuns(database, [{ workflow, runs: [{ runId, partition: 0 }], input: "{}", tags: [] }]);
  await client.cancel(runId);
  expect(await client.waitAll([runId], { signal: withinLimit() })).toEqual({ CANCELLED: 1 });
  const { runIds } = await client.submit(workflow, {});
  expect(await client.waitAll(runIds, { signal: withinLimit() })).toEqual({ COMPLETED: 1 });
  const { rows } = await database.query("select outcome from hitzero.commands where run_id = $1", [runId]);
  expect(rows).toEqual([{ outcome: "applied" }]);
});

test("an accepted run that never started is started while others keep the reader busy", async () => {
  const { client, database } = engine;
  const ids = Array.from({ length: 40 }, (_value, index) => `n${index}`);
  const workflow = await client.register({
    name: "busy",
    nodes: ids.map((id) => ({ id, type: "function", config: { function_name: "noop" } })),
    edges: ids.slice(1).map((to, index) => ({ from: ids[index], to })),
  });
  const runId = crypto.randomUUID();
  await acceptRuns(database, [{ workflow, runs: [{ runId, partition: 0 }], input: "{}", tags: [] }]);
  let over = false;
  const keepBusy = async (): Promise<void> => {
    while (!over) {
      const { runIds } = await client.submit(workflow, { count: 3 });
      await client.waitAll(runIds, { pollMs: 20 });
    }
  };
  const busy = Promise.all([keepBusy(), keepBusy(), keepBusy()]);
  const counts = await client.waitAll([runId], { signal: withinLimit() });
  over = true;
  await busy;
  expect(counts).toEqual({ COMPLETED: 1 });
});

describe("a compensation lasts longer than what it undoes", () => {
  const booked = {
    id: "book",
    type: "function",
    config: { function_name: "noop" },
    compensate_with: { function_name: "undo" },
    retry: { max_attempts: 2, backoff_ms: 1 },
  };
  let hasty: TestEngine | undefined;
  afterEach(async () => {
    await hasty?.stop();
    hasty = undefined;
  });
  let announce: (settings: TestEngine["settings"], runId: string) => Promise<void>;

  /** Undoing fails at first, after several renewals; each of these looks whether the execution is still wanted. */
  async function start(document: object): Promise<string> {
    let tries = 0;
    const undo = async ({ runId, signal }: HandlerContext) => {
      tries += 1;
      await announce((hasty as TestEngine).settings, runId);
      await sleep(2 * LEASE_MS, undefined, { signal });
      if (tries === 1) throw new Error("not yet");
    };
    const fail = () => {
      throw new Error("as told");
    };
    const hang = ({ signal }: HandlerContext) => sleep(600_000, undefined, { signal });
    hasty = await startEngine({ handlers: { noop: () => 1, undo, fail, hang }, leaseMs: LEASE_MS });
    const { runIds } = await hasty.client.submit(await hasty.client.register(document), {});
    return runIds[0] as string;
  }

  const undone = async (runId: string) => {
    const { rows } = await (hasty as TestEngine).database.query(
      `select e.status, e.attempt, count(l.*) filter (where l.event_type = 'node_redelivered')::int as redelivered
       from hitzero.node_executions e left join hitzero.event_log l using (run_id, node_id)
       where e.run_id = $1 and node_id = 'book.compensate' group by e.status, e.attempt`,
      [runId],
    );
    return rows;
  };
  const atOnce = [{ status: "COMPLETED", attempt: 2, redelivered: 0 }];

  test("a map that is over does not withdraw the compensation of its items", async () => {
    announce = async () => {};
    const runId = await start({
      name: "undone",
      nodes: [
        { id: "each", type: "map", config: { items: "[1]", body: { nodes: [booked] } } },
        { id: "pay", type: "function", config: { function_name: "fail" } },
      ],
      edges: [{ from: "each", to: "pay" }],
    });
    const { status } = await (hasty as TestEngine).client.wait(runId, { signal: withinLimit() });
    expect([status, await undone(runId)]).toEqual(["FAILED", atOnce]);
  });

  test("the halt of a run, announced again and again, does not stop its compensation", async () => {
    announce = async ({ redisUrl, namespace }, runId) => {
      const connection = await RedisConnection.open(redisUrl);
      await connection.redis.publish(controlChannel(namespace), runId);
      connection.close();
    };
    const runId = await start({
      name: "undone",
      nodes: [booked, { id: "pay", type: "function", config: { function_name: "hang" } }],
      edges: [{ from: "book", to: "pay" }],
    });
    const { client } = hasty as TestEngine;
    const isPaying = async () => (await client.listNodes(runId)).some(({ node_id }) => node_id === "pay");
    await until(isPaying, "pay is performed");
    await client.cancel(runId);
    const { status } = await client.wait(runId, { signal: withinLimit() });
    expect([status, await undone(runId)]).toEqual(["CANCELLED", atOnce]);
  });
});

const fn = (id: string, more: object = {}) => ({
  id,
  type: "function",
  config: { function_name: "noop" },
  ...more,
});

test("a map whose complete_when cannot be evaluated fails, and its items under way are withdrawn", async () => {
  engine = await startEngine({ handlers: { noop: () => 1 } });
  const { client } = engine;
  const workflow = await client.register({
    name: "faulty-look",
    nodes: [
      {
        id: "each",
        type: "map",
        config: {
          items: "[0, 60000]",
          complete_when: "input.missing > completed",
          body: {
            nodes: [{ id: "hold", type: "wait", config: { until: "input.instants[index]" } }],
          },
        },
      },
    ],
    edges: [],
  });
  const instants = [0, 60_000].map((ms) => new Date(Date.now() + ms).toISOString());
  const { runIds } = await client.submit(workflow, { input: { instants } });
  expect(await client.waitAll(runIds, { signal: withinLimit() })).toEqual({ FAILED: 1 });
  const nodes = await client.listNodes(runIds[0] as string);
  expect(Object.fromEntries(nodes.map(({ node_id, scope, status }) => [node_id + scope, status]))).toEqual({
    "holdeach:0": "COMPLETED",
    "holdeach:1": "CANCELLED",
    each: "FAILED",
  });
  expect(nodes.find(({ node_id }) => node_id === "each")?.error).toMatchObject({ code: "EXPRESSION_FAILED" });
});

test("an item whose node takes no edge gives its output, where a map that ends early may give null for the rest", async () => {
  const none = { from: "a", on: "failure" };
  const body = {
    nodes: [fn("a"), fn("b"), fn("c")],
    edges: [
      { ...none, to: "b" },
      { ...none, to: "c" },
    ],
  };
  const config = { items: "[1, 2, 3]", max_concurrency: 1, complete_when: "completed >= 1", body };
  const { each } = await outputsOf({
    name: "empty-items",
    nodes: [{ id: "each", type: "map", config }],
    edges: [],
  });
  const [first, ...rest] = each as unknown[];
  expect(first).toEqual({ a: 1 });
  for (const result of rest) expect([{ a: 1 }, null]).toContainEqual(result);
});

test("a wait takes only what is text of RFC 3339 for an instant", async () => {
  const outputs = await outputsOf({
    name: "no-instants",
    nodes: ["2001-01-01", "5", "Jan 1 2001"].map((text, index) => ({
      id: `w${index}`,
      type: "wait",
      config: { until: JSON.stringify(text) },
    })),
    edges: [],
  });
  expect(outputs).toEqual({ w0: "WAIT_NOT_A_TIME", w1: "WAIT_NOT_A_TIME", w2: "WAIT_NOT_A_TIME" });
});

test("a run is undone though its last step was to withdraw what a map left behind", async () => {
  engine = await startEngine({ handlers: { noop: () => 1 } });
  const { client } = engine;
  const undo = { compensate_with: { function_name: "noop" } };
  const body = {
    nodes: [
      fn("done", undo),
      { id: "hold", type: "wait", config: { until: "input.instants[index]" } },
      fn("last"),
    ],
    edges: [
      { from: "done", to: "hold" },
      { from: "hold", to: "last" },
    ],
  };
  const workflow = await client.register({
    name: "undone-late",
    nodes: [
      { id: "each", type: "map", config: { items: "[1, 2]", complete_when: "completed >= 1", body } },
      { id: "bad", type: "transform", config: { expression: "data[7]" } },
    ],
    edges: [{ from: "each", to: "bad" }],
  });
  const instants = [0, 60_000].map((ms) => new Date(Date.now() + ms).toISOString());
  const { runIds } = await client.submit(workflow, { count: 10, input: { instants } });
  expect(await client.waitAll(runIds, { signal: withinLimit() })).toEqual({ FAILED: 10 });
  const nodes = await client.listNodes(runIds[0] as string);
  const undone = nodes.filter(({ node_id }) => node_id === "done.compensate");
  expect(undone.map(({ scope, status }) => `${scope} ${status}`).sort()).toEqual([
    "each:0 COMPLETED",
    "each:1 COMPLETED",
  ]);
});

test("what a map withdrew itself is on record as its own, also when a map around it ends early", async () => {
  engine = await startEngine({ handlers: { noop: () => 1 } });
  const { client } = engine;
  const early = { complete_when: "completed >= 1" };
  const inner = {
    items: "[1, 2]",
    ...early,
    body: { nodes: [{ id: "hold", type: "wait", config: { until: "input.instants[index]" } }] },
  };
  const outer = {
    items: "[1, 2]",
    ...early,
    body: { nodes: [{ id: "inner", type: "map", config: inner }] },
  };
  const workflow = await client.register({
    name: "nested-early",
    nodes: [{ id: "outer", type: "map", config: outer }],
    edges: [],
  });
  const instants = [0, 60_000].map((ms) => new Date(Date.now() + ms).toISOString());
  const { runIds } = await client.submit(workflow, { count: 10, input: { instants } });
  expect(await client.waitAll(runIds, { signal: withinLimit() })).toEqual({ COMPLETED: 10 });
  for (const runId of runIds) {
    const nodes = await client.listNodes(runId);
    const completed = nodes.filter(({ node_id, status }) => node_id === "inner" && status === "COMPLETED");
    for (const { scope } of completed)
      expect(nodes.find((node) => node.scope === `${scope}/inner:1`)).toMatchObject({
        status: "CANCELLED",
        reason: "withdrawn: inner",
      });
  }
});

test("a signal that was kept withdraws what its node cancels, as one that finds it waiting", async () => {
  const gates: (() => void)[] = [];
  engine = await startEngine({
    handlers: { noop: () => 1, gate: () => new Promise<void>((resolve) => gates.push(resolve)) },
  });
  const { client } = engine;
  const workflow = await client.register({
    name: "kept-choice",
    nodes: [
      fn("hold", { config: { function_name: "gate" } }),
      {
        id: "paid",
        type: "signal",
        config: { name: "paid", timeout_ms: 600_000 },
        cancels: ["refused", "expired"],
      },
      { id: "refused", type: "signal", config: { name: "refused", timeout_ms: 600_000 } },
      { id: "expired", type: "wait", config: { duration_ms: 600_000 } },
    ],
    edges: [{ from: "hold", to: "paid" }],
  });
  const { runIds } = await client.submit(workflow, {});
  const runId = runIds[0] as string;
  const waiting = async () =>
    (await client.listNodes(runId)).filter(({ status }) => status === "WAITING").length === 2;
  await until(async () => gates.length === 1 && (await waiting()), "the others wait");
  await client.signal(runId, { name: "paid" });
  await until(
    async () => (await client.listEvents(runId)).some(({ event_type }) => event_type === "signal_given"),
    "the signal is kept",
  );
  for (const open of gates) open();
  expect(await client.waitAll(runIds, { signal: withinLimit() })).toEqual({ COMPLETED: 1 });
  const nodes = await client.listNodes(runId);
  expect(Object.fromEntries(nodes.map(({ node_id, reason, status }) => [node_id, reason ?? status]))).toEqual(
    {
      hold: "COMPLETED",
      paid: "COMPLETED",
      refused: "withdrawn: paid",
      expired: "withdrawn: paid",
    },
  );
  const connection = await RedisConnection.open(engine.settings.redisUrl);
  try {
    const keys = await connection.redis.keys(`{${engine.settings.namespace}:*:timers*`);
    expect(keys, "timers go with what they were for").toEqual([]);
  } finally {
    connection.close();
  }
});

test("timers fire though the reader is interrupted whenever it looks around", async () => {
  const rates = { ...LOST_STEPS, scripts: { sweep: { call: 1, reply: 0 } } };
  const rough = await RoughEngine.start(1, () => ({}), { rates });
  try {
    const { client } = rough;
    const submit = async (name: string, node: object) => {
      const workflow = await client.register({ name, nodes: [{ id: "a", ...node }], edges: [] });
      const { runIds } = await client.submit(workflow, {});
      return runIds[0] as string;
    };
    const unswept = await submit("unswept", { type: "signal", config: { name: "never" } });
    await until(async () => (await client.listNodes(unswept))[0]?.status === "WAITING", "it waits");
    await client.cancel(unswept);
    await until(async () => rough.faults.total > 0, "the reader is interrupted");
    const timed = await submit("timed", { type: "wait", config: { duration_ms: 50 } });
    expect(await client.waitAll([timed], { signal: withinLimit() })).toEqual({ COMPLETED: 1 });
    expect((await client.getRun(unswept))?.status).toBe("RUNNING");
    await rough.cease();
    expect(await client.waitAll([unswept], { signal: withinLimit() })).toEqual({ CANCELLED: 1 });
  } finally {
    await rough.stop();
  }
});

test("an open map is asked whether it is complete before it takes a kept signal, however few items begin at once", async () => {
  const gates: (() => void)[] = [];
  const gated = await startEngine({
    handlers: { noop: () => 1, gate: () => new Promise<void>((resolve) => gates.push(resolve)) },
    // One reads the map, and performs one thing after the other.
    queues: [["default"], ["slow"]],
    concurrency: 1,
    limits: { ...LIMITS, edges: 1, rest: 1, entries: 1 },
  });
  try {
    const { client } = gated;
    const slow = (id: string) => ({ ...fn(id, { config: { function_name: "gate" } }), queue: "slow" });
    const submit = async (document: object) => {
      const { runIds } = await client.submit(await client.register({ edges: [], ...document }), {});
      return runIds[0] as string;
    };
    await submit({ name: "before", nodes: [slow("hold")] });
    await until(async () => gates.length === 1, "the worker is busy");
    const config = {
      items: "[1]",
      open: true,
      name: "more",
      complete_when: "completed >= 1",
      body: { nodes: [fn("a")] },
    };
    const runId = await submit({
      name: "asked-first",
      nodes: [{ id: "each", type: "map", queue: "slow", config }, slow("hold")],
    });
    await client.signal(runId, { name: "more", payload: { items: [2, 3, 4] } });
    await client.signal(runId, { name: "more", payload: { items: [5], complete: true } });
    const given = async () =>
      (await client.listEvents(runId)).filter(({ event_type }) => event_type === "signal_given").length;
    await until(async () => (await given()) === 2, "both signals are kept");
    gates[0]?.();
    // The map took the first signal, and its worker comes to that after this node.
    await until(async () => gates.length === 2, "the map waits");
    const isOver = async () =>
      (await client.listNodes(runId)).some(
        ({ node_id, status }) => node_id === "a" && status === "COMPLETED",
      );
    await until(isOver, "its first item is over");
    gates[1]?.();
    expect(await client.waitAll([runId], { signal: withinLimit() })).toEqual({ COMPLETED: 1 });
    const each = (await client.listNodes(runId)).find(({ node_id }) => node_id === "each");
    expect(each?.output).toHaveLength(4);
  } finally {
    await gated.stop();
  }
});
