/** The library as its users hold it: nothing but what src/index.ts exports. */
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import {
  Client,
  defineHandlers,
  type HandlerContext,
  HitzeroError,
  InvalidInputError,
  NonRetryableError,
  RetryAfterError,
  type RunRow,
  type StateChange,
  Supervisor,
  Worker,
} from "../../src/index.ts";
import { Database } from "../../src/postgres/database.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { redisUrl, testNamespace } from "../support/redis.ts";
import { until } from "../support/until.ts";

const gates = new Map<string, () => void>();
const handlers = defineHandlers({
  async double({ data }) {
    return { value: Number((data as { value: number }).value) * 2 };
  },
  async again({ attempt }: HandlerContext) {
    if (attempt === 1) throw new RetryAfterError("not yet", 10);
    return { attempt };
  },
  refuse() {
    throw new NonRetryableError("never", { code: "NEVER" });
  },
  gate: ({ runId, signal }) =>
    new Promise<string>((resolve, reject) => {
      gates.set(runId, () => resolve("open"));
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    }),
});

let database: TestDatabase;
let settings: { redisUrl: string; databaseUrl: string; namespace: string };
let client: Client;
let worker: Worker;
let supervisor: Supervisor;

beforeAll(async () => {
  database = await createTestDatabase();
  settings = { redisUrl: redisUrl(), databaseUrl: database.url, namespace: testNamespace() };
  supervisor = new Supervisor(settings);
  worker = new Worker({ ...settings, handlers });
  await Promise.all([supervisor.start(), worker.start()]);
  client = await Client.connect(settings);
});
afterAll(async () => {
  await client?.close();
  await worker?.stop();
  await supervisor?.stop();
  await database?.drop();
});

const call = (id: string, function_name: string, more: object = {}) => ({
  id,
  type: "function",
  config: { function_name },
  ...more,
});

test("handlers are typed by what they are given", () => {
  expectTypeOf(handlers.double).parameter(0).toEqualTypeOf<HandlerContext>();
  expectTypeOf(handlers.gate).returns.toEqualTypeOf<Promise<string>>();
  expect(Object.keys(handlers)).toEqual(["double", "again", "refuse", "gate"]);
});

test("a whole run: register, submit, wait with changes, list, nodes, events", async () => {
  const workflow = await client.register({
    name: "doubled",
    nodes: [
      call("twice", "double"),
      call("later", "again", { retry: { max_attempts: 2 } }),
      call("refused", "refuse", { retry: { max_attempts: 5 } }),
      { id: "sum", type: "transform", trigger_rule: "all_done", config: { expression: "data.twice.value" } },
    ],
    edges: [
      { from: "twice", to: "sum" },
      { from: "later", to: "sum" },
      { from: "refused", to: "sum", on: "always" },
    ],
    output: 'nodes["sum"].output',
  });
  expect(await client.unserved(workflow.ir)).toEqual({ queues: [], functions: [] });
  expect(await client.liveProcesses()).toEqual({ workers: 1, supervisors: 1 });
  const { runIds } = await client.submit(workflow, {
    input: { value: 21 },
    tags: ["library"],
    idempotencyKey: "one",
  });
  const runId = runIds[0] as string;
  const changes: StateChange[] = [];
  const run: RunRow = await client.wait(runId, { onChange: (change) => changes.push(change) });
  expect(run).toMatchObject({ status: "COMPLETED", output: 42, tags: ["library"], idempotency_key: "one" });
  const nodes = await client.listNodes(runId);
  expect(Object.fromEntries(nodes.map((row) => [row.node_id, [row.status, row.attempt]]))).toEqual({
    twice: ["COMPLETED", 1],
    later: ["COMPLETED", 2],
    refused: ["FAILED", 1],
    sum: ["COMPLETED", 1],
  });
  const events = await client.listEvents(runId);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_event, index) => index + 1));
  expect(events.at(-1)).toMatchObject({ event_type: "run_completed", level: "INFO" });
  expect((await client.listEvents(runId, { level: "ERROR" })).map(({ node_id }) => node_id)).toEqual([
    "refused",
  ]);
  expect(await client.listEvents(runId, { after: events.length - 1, limit: 5 })).toHaveLength(1);
  const starts = await client.listStarts(runId, ["later"]);
  expect(starts).toMatchObject([{ node_id: "later", attempt: 2, worker_id: worker.id }]);
  const again = await client.submit(workflow, { input: { value: 21 }, idempotencyKey: "one" });
  expect(again).toMatchObject({ runIds: [runId], existing: true });
  expect((await client.listRuns({ tag: "library" })).map(({ run_id }) => run_id)).toEqual([runId]);
});

test("1,000 runs that two clients submit at once end once each", async () => {
  const other = await Client.connect(settings);
  const workflow = await client.register({ name: "at_once", nodes: [call("twice", "double")], edges: [] });
  const calls = Array.from({ length: 1_000 }, (_none, value) =>
    (value % 2 === 0 ? client : other).submit(workflow, { input: { value } }),
  );
  const runIds = (await Promise.all(calls)).flatMap((submission) => submission.runIds);
  expect(new Set(runIds).size).toBe(1_000);
  expect(await client.waitAll(runIds)).toEqual({ COMPLETED: 1_000 });
  const outputs: unknown[] = [];
  for await (const { output } of client.listResults(runIds)) outputs.push(output);
  expect(outputs).toEqual(runIds.map((_id, value) => ({ value: 2 * value })));
  const pool = new Database(settings.databaseUrl);
  const { rows } = await pool.query(
    `select count(*) as runs, sum(e.executions) as executions, min(e.executions) as least
     from hitzero.runs r, lateral (select count(*) as executions from hitzero.node_executions where run_id = r.run_id) e
     where workflow_name = 'at_once'`,
  );
  expect(rows).toEqual([{ runs: 1_000, executions: 1_000, least: 1 }]);
  await Promise.all([pool.close(), other.close()]);
});

test("cancel, pause and resume; a run that is over refuses them", async () => {
  const workflow = await client.register({ name: "gated", nodes: [call("gate", "gate")], edges: [] });
  const begin = async () => {
    const runId = (await client.submit(workflow)).runIds[0] as string;
    await until(() => gates.has(runId), "the gate is reached");
    return runId;
  };
  const [cancelled, paused] = [await begin(), await begin()];
  expect(await client.waitForCommand((await client.cancel(cancelled)).commandId)).toBe("applied");
  expect((await client.wait(cancelled)).status).toBe("CANCELLED");
  await expect(client.cancel(cancelled)).rejects.toMatchObject({
    code: "RUN_FINAL",
    message: expect.stringContaining("CANCELLED"),
    exitCode: 2,
  });
  await client.waitForCommand((await client.pause(paused)).commandId);
  expect((await client.getRun(paused)).status).toBe("PAUSED");
  gates.get(paused)?.();
  await client.waitForCommand((await client.resume(paused)).commandId);
  expect(await client.wait(paused)).toMatchObject({ status: "COMPLETED", output: "open" });
  expect((await client.listRuns({ status: "CANCELLED" })).map(({ run_id }) => run_id)).toEqual([cancelled]);
});

test("wait ends when its signal is aborted, with the run as it is", async () => {
  const workflow = await client.register({ name: "gated", nodes: [call("gate", "gate")], edges: [] });
  const runId = (await client.submit(workflow)).runIds[0] as string;
  await until(() => gates.has(runId), "the gate is reached");
  const ending = new AbortController();
  const waiting = client.wait(runId, { signal: ending.signal });
  ending.abort();
  expect((await waiting).completed_at).toBeNull();
  gates.get(runId)?.();
  await client.wait(runId);
});

describe("lifetimes", () => {
  test("a second start and a second stop are the first one; a stop during the start waits for it", async () => {
    for (const make of [() => new Supervisor(settings), () => new Worker({ ...settings, handlers })]) {
      const process = make();
      await Promise.all([process.start(), process.start()]);
      await process.start();
      await Promise.all([process.stop(), process.stop()]);
      await process.stop();
      const hurried = make();
      const starting = hurried.start();
      await hurried.stop();
      await starting;
    }
    expect(await client.liveProcesses()).toEqual({ workers: 1, supervisors: 1 });
  });

  test("one that was stopped before does not start; one that could not start can be stopped", async () => {
    for (const make of [
      (databaseUrl: string) => new Supervisor({ ...settings, databaseUrl }),
      (databaseUrl: string) => new Worker({ ...settings, databaseUrl, handlers }),
    ]) {
      const stopped = make(settings.databaseUrl);
      await stopped.stop();
      await expect(stopped.start()).rejects.toMatchObject({ code: "ALREADY_STOPPED" });
      const missing = new URL(settings.databaseUrl);
      missing.pathname = "/there_is_none";
      const failing = make(missing.href);
      await expect(failing.start()).rejects.toMatchObject({ code: "DATABASE_MISSING", exitCode: 3 });
      await failing.stop();
    }
  });
});

test("a run with very many executions is summed up where they lie", async () => {
  const body = { nodes: [call("work", "double")] };
  const workflow = await client.register({
    name: "many",
    nodes: [{ id: "each", type: "map", config: { items: "input.items", body } }],
  });
  const { runIds } = await client.submit(workflow, { input: { items: [] } });
  const runId = runIds[0] as string;
  await client.wait(runId);
  const pool = new Database(settings.databaseUrl);
  await pool.query(
    `insert into hitzero.node_executions (run_id, node_id, scope, attempt, status, error, started_at, ended_at)
     select $1, 'work', 'each:' || item, 1, case when item % 5000 = 4999 then 'FAILED' else 'COMPLETED' end,
       case when item % 5000 = 4999 then '{"code": "E", "message": "m"}'::jsonb end,
       now() + item * interval '1 ms', now() + item * interval '1 ms' from generate_series(0, 19999) as item`,
    [runId],
  );
  await pool.close();
  const { rows, counts } = await client.summarizeNodes(runId, 10);
  expect(rows.map(({ node_id, scope, status }) => [node_id, scope, status])).toEqual([
    ["each", "", "COMPLETED"],
    ["work", "each:0", "COMPLETED"],
    ["work", "each:4999", "FAILED"],
  ]);
  expect(Object.fromEntries(counts)).toEqual({
    each: { COMPLETED: 1 },
    work: { COMPLETED: 19_996, FAILED: 4 },
  });
  const listed = await client.listNodes(runId, { outputs: false, limit: 3 });
  expect(listed.map(({ scope }) => scope)).toEqual(["", "each:0", "each:1"]);
});

test("errors are coded, and name the place", async () => {
  const faulty = client.register({
    name: "faulty",
    nodes: [call("a", "double")],
    edges: [{ from: "a", to: "b" }],
  });
  await expect(faulty).rejects.toBeInstanceOf(InvalidInputError);
  await expect(faulty).rejects.toMatchObject({ faults: [{ code: "UNKNOWN_NODE", path: "$.edges[0].to" }] });
  await expect(client.find("unheard_of")).rejects.toBeInstanceOf(HitzeroError);
  await expect(client.redrive({ runId: "nothing", nodeId: "a" })).rejects.toMatchObject({
    code: "DEAD_LETTER_NOT_FOUND",
  });
  await expect(Client.connect({ ...settings, redisUrl: "http://localhost" })).rejects.toMatchObject({
    code: "REDIS_URL_INVALID",
  });
  expect(await client.listDeadLetters()).toEqual([]);
});

describe("what a program gives in place of flags is held to their bounds", () => {
  test.each([
    [{ queues: ["a b"] }, "BAD_QUEUE"],
    [{ queues: [] }, "BAD_QUEUE"],
    [{ concurrency: 0 }, "BAD_SETTING"],
    [{ concurrency: 1_001 }, "BAD_SETTING"],
    [{ leaseMs: Number.NaN }, "BAD_SETTING"],
    [{ drainTimeoutMs: -1 }, "BAD_SETTING"],
    [{ namespace: "A B" }, "BAD_NAMESPACE"],
  ])("a worker with %j: %s", (options, code) => {
    expect(() => new Worker({ ...settings, handlers, ...options })).toThrow(
      expect.objectContaining({ code }),
    );
  });

  test("a supervisor and a client, too", async () => {
    const late = { ...settings, unofferedTimeoutMs: 0.5 };
    expect(() => new Supervisor(late)).toThrow(expect.objectContaining({ code: "BAD_SETTING" }));
    const elsewhere = { ...settings, namespace: "" };
    await expect(Client.connect(elsewhere)).rejects.toMatchObject({ code: "BAD_NAMESPACE" });
  });
});

test.each([2_147_483_648, 1e23, 0, -1, 1.5, Number.NaN, "abc" as never])(
  "version %s of a workflow is not registered",
  async (version) => {
    await client.register({ name: "versioned", nodes: [call("a", "double")], edges: [] });
    const refusal = { code: "WORKFLOW_NOT_FOUND", message: expect.stringContaining(`version ${version}`) };
    await expect(client.find("versioned", version)).rejects.toMatchObject(refusal);
    await expect(client.activate({ workflowName: "versioned", version })).rejects.toMatchObject(refusal);
  },
);
