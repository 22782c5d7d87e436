/** What the simulation found: each engine fault as a small case of its own. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { HandlerContext } from "../../src/index.ts";
import { acceptRuns } from "../../src/postgres/runs.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { controlChannel } from "../../src/redis/keys.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { until, withinLimit } from "../support/until.ts";

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
  await acceptRuns(database, { workflow, runs: [{ runId, partition: 0, input: "{}" }], tags: [] });
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
