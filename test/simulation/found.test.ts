/** What the simulation found: each engine fault as a small case of its own. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { acceptRuns } from "../../src/postgres/runs.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { until, withinLimit } from "../support/until.ts";

let engine: TestEngine | undefined;
afterEach(async () => {
  await engine?.stop();
  engine = undefined;
});

async function outputsOf(document: object): Promise<Record<string, unknown>> {
  engine = await startEngine({ handlers: { noop: () => ({ score: 7 }) } });
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

test("a run that is cancelled before it started is final, and the partition's record goes on", async () => {
  engine = await startEngine({ handlers: { noop: () => 1 } });
  const { client, database } = engine;
  const workflow = await client.register({
    name: "unstarted",
    nodes: [{ id: "a", type: "function", config: { function_name: "noop" } }],
    edges: [],
  });
  const runId = crypto.randomUUID();
  // What a submitter leaves behind that dies right after its commit.
  await acceptRuns(database, { workflow, runs: [{ runId, partition: 0, input: "{}" }], tags: [] });
  await client.cancel(runId);
  expect(await client.waitAll([runId], { signal: withinLimit() })).toEqual({ CANCELLED: 1 });
  const { runIds } = await client.submit(workflow, {});
  expect(await client.waitAll(runIds, { signal: withinLimit() })).toEqual({ COMPLETED: 1 });
  const { rows } = await database.query("select outcome from hitzero.commands where run_id = $1", [runId]);
  expect(rows).toEqual([{ outcome: "applied" }]);
});

test("an accepted run that never started is started while others keep the reader busy", async () => {
  engine = await startEngine({ workers: 2, concurrency: 8, handlers: { noop: () => 1 } });
  const { client, database } = engine;
  const ids = Array.from({ length: 40 }, (_value, index) => `n${index}`);
  const workflow = await client.register({
    name: "busy",
    nodes: ids.map((id) => ({ id, type: "function", config: { function_name: "noop" } })),
    edges: ids.slice(1).map((to, index) => ({ from: ids[index], to })),
  });
  const runId = crypto.randomUUID();
  await acceptRuns(database, { workflow, runs: [{ runId, partition: 0, input: "{}" }], tags: [] });
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

test("an item that is over gives an empty object where a map that ends early gives null for the rest", async () => {
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
  expect((each as unknown[])[0]).toEqual({});
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

test("undoing the work of a map's item may take longer than a lease", async () => {
  const leaseMs = 300;
  engine = await startEngine({
    leaseMs,
    handlers: { noop: () => 1, slow: () => sleep(4 * leaseMs, "undone") },
  });
  const { client } = engine;
  const undo = { compensate_with: { function_name: "slow" } };
  const workflow = await client.register({
    name: "undone-slowly",
    nodes: [
      { id: "each", type: "map", config: { items: "[1]", body: { nodes: [fn("a", undo)] } } },
      { id: "bad", type: "transform", config: { expression: "data[7]" } },
    ],
    edges: [{ from: "each", to: "bad" }],
  });
  const { runIds } = await client.submit(workflow, {});
  expect(await client.waitAll(runIds, { signal: withinLimit() })).toEqual({ FAILED: 1 });
  const nodes = await client.listNodes(runIds[0] as string, { outputs: true });
  expect(nodes.find(({ node_id }) => node_id === "a.compensate")).toMatchObject({
    status: "COMPLETED",
    output: "undone",
  });
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
