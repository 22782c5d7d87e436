/** Workers of one queue that offer different functions, as during a rolling deploy. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createLog } from "../../src/base/log.ts";
import { examineUnserved } from "../../src/cli/doctor/unserved.ts";
import { IRCache } from "../../src/engine/ir_cache.ts";
import { LIMITS } from "../../src/engine/limits.ts";
import { UnofferedClock } from "../../src/engine/reader/unoffered.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { readNeeds } from "../../src/postgres/health.ts";
import { readInstallation } from "../../src/postgres/partitions.ts";
import { heartbeat } from "../../src/postgres/registry.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { functionField, SETTLE_QUEUE } from "../../src/redis/keys.ts";
import { Partition } from "../../src/redis/partition.ts";
import { functionsOf } from "../../src/workflow/ir/function_of.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { edges, fn } from "../support/flow.ts";
import { until, withinLimit } from "../support/until.ts";

const silent = createLog("silent");
const echo = ({ data }: { data: unknown }) => data;

let engine: TestEngine;
let connection: RedisConnection;
let partition: Partition;
const workers: Worker[] = [];

async function startWorker(handlers: Record<string, never>, more: object = {}): Promise<Worker> {
  const worker = new Worker({ ...engine.settings, handlers, log: silent, ...more });
  workers.push(worker);
  await worker.start();
  return worker;
}

const offering = (...names: string[]) =>
  Object.fromEntries(names.map((name) => [name, echo])) as unknown as Record<string, never>;

async function submit(nodes: object[], more: object = {}, count = 1): Promise<string[]> {
  const workflow = await engine.client.register({ name: "offers", nodes, edges: [], ...more });
  return (await engine.client.submit(workflow, { input: {}, count })).runIds;
}

const ended = (runId: string) => engine.client.wait(runId, { signal: withinLimit() });
const keyOf = (functionName?: string) => partition.keys.ready("default", functionName);
const waiting = (functionName: string, count: number) =>
  until(async () => (await connection.redis.xlen(keyOf(functionName))) === count, `${count} tokens wait`);

/** A reader's clock that looks when it is told to. */
async function clockOf(timeoutMs: number): Promise<UnofferedClock> {
  const { database } = engine;
  await partition.refresh();
  return new UnofferedClock(partition, database, new IRCache(database), {
    readerId: "reader-of-test",
    timeoutMs,
    limits: LIMITS,
    log: silent,
    stopping: new AbortController().signal,
  });
}

async function nodeOf(runId: string, nodeId: string) {
  return (await engine.client.listNodes(runId, { nodeIds: [nodeId] }))[0];
}

beforeAll(async () => {
  engine = await startEngine({ workers: 0, unofferedTimeoutMs: 600_000, unclaimedMs: 500 });
  connection = await RedisConnection.open(engine.settings.redisUrl);
  const installation = await readInstallation(engine.database);
  partition = new Partition(connection, engine.settings.namespace, 0, installation);
  await partition.refresh();
});
/** Lets an execution of `gate` end. */
let open = () => {};
afterEach(async () => {
  open();
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});
afterAll(async () => {
  connection?.close();
  await engine?.stop();
});

describe("a rolling deploy", () => {
  const chain = [
    fn("a", "old"),
    fn("b", "new_step", {}, { compensate_with: { function_name: "undo" } }),
    fn("c", "old"),
  ];

  test("every run completes while one of two workers lacks the new step, each with its first attempt", async () => {
    await startWorker(offering("old"));
    await startWorker(offering("old", "new_step", "undo"));
    const runIds = await submit(chain, { edges: edges("a -> b -> c") }, 20);
    for (const runId of runIds) expect(await ended(runId)).toMatchObject({ status: "COMPLETED" });
    for (const runId of runIds)
      expect(await nodeOf(runId, "b")).toMatchObject({ attempt: 1, retry_count: 0 });
  });

  test("a worker that newly offers it takes up at once what waited; lost compensations too", async () => {
    await startWorker(offering("old"));
    const nodes = [...chain, fn("d", "gone")];
    const runIds = await submit(nodes, { edges: edges("a -> b -> c -> d") }, 3);
    await waiting("new_step", 3);
    const fails = () => {
      throw new Error("the last step fails");
    };
    await startWorker({ new_step: echo, gone: fails } as never);
    await waiting("undo", 3);
    await startWorker(offering("undo"));
    for (const runId of runIds) {
      expect(await ended(runId)).toMatchObject({ status: "FAILED", error: { node_id: "d" } });
      expect(await nodeOf(runId, "b.compensate")).toMatchObject({ status: "COMPLETED", attempt: 1 });
    }
  });

  test("a busy worker that offers it and two idle ones that do not: its token lies still", async () => {
    const gate = () =>
      new Promise<void>((resolve) => {
        open = resolve;
      });
    await startWorker({ gate } as never, { concurrency: 1 });
    const [first] = await submit([fn("a", "gate")]);
    await until(async () => (await nodeOf(first as string, "a"))?.status === "RUNNING", "it is busy");
    await Promise.all([startWorker(offering("old")), startWorker(offering("old"))]);
    const [second] = await submit([fn("a", "gate")]);
    await waiting("gate", 1);
    const place = () => connection.redis.xrange(keyOf("gate"), "-", "+");
    const lies = await place();
    // Both workers are about, and find other work.
    for (const runId of await submit([fn("a", "old")], {}, 40)) await ended(runId);
    expect(await place()).toEqual(lies);
    expect(await connection.redis.xlen(keyOf())).toBe(0);
    open();
    await until(async () => (await nodeOf(second as string, "a"))?.status === "RUNNING", "it is its turn");
    open();
    for (const runId of [first, second]) expect((await ended(runId as string)).status).toBe("COMPLETED");
  });
});

describe("a suspect", () => {
  let hold = () => {};
  afterEach(() => hold());
  const begins = () =>
    new Promise<void>((resolve) => {
      hold = resolve;
    });
  const key = (place: object) => partition.keys.stream({ queue: "default", suspects: true, ...place });
  const lies = (functionName?: string) => connection.redis.xrange(key({ functionName }), "-", "+");

  /** Workers are lost with an execution of `name`; those that are left know nothing of it. Returns its run. */
  async function becomesSuspect(name: string, suspects: "here" | "only"): Promise<string> {
    const more = { leaseMs: 300 };
    await startWorker(offering("old"), more);
    if (suspects === "only") await startWorker(offering("old"), { ...more, suspects });
    const [runId = ""] = await submit([fn("a", name), fn("b", "old")], { edges: edges("a -> b") });
    // A loss is not charged when the lost worker said that nothing had begun. So: as many as it takes.
    const isSuspect = async () => (await lies(name)).length === 1;
    while (!(await isSuspect())) {
      let called = false;
      const handler = () => {
        called = true;
        return begins();
      };
      const handlers = { [name]: handler };
      const lost = new Worker({ ...engine.settings, ...more, handlers, log: silent, suspects: () => {} });
      await lost.start();
      await until(async () => called || isSuspect(), "its handler begins");
      await lost.abandon();
      const gone = "update hitzero.worker_registry set stopped_at = now() where worker_id = $1";
      await engine.database.query(gone, [lost.id]);
    }
    return runId;
  }

  test.each(["here", "only"] as const)(
    "of workers that perform suspects %s is taken up by a later one that offers its function; until then it lies still",
    async (suspects) => {
      const name = `fickle_${suspects}`;
      const runId = await becomesSuspect(name, suspects);
      const before = await lies(name);
      for (const other of await submit([fn("a", "old")], {}, 20))
        expect(await ended(other)).toMatchObject({ status: "COMPLETED" });
      expect([await lies(name), await lies()]).toEqual([before, []]);
      const found = await engine.client.waitingForWorkers(
        await engine.client.getRun(runId),
        (await engine.client.register({ name: "found", nodes: [fn("a", name)], edges: [] })).ir,
      );
      expect(found).toMatchObject([{ nodeId: "a", functionName: name }]);
      await startWorker(offering(name), { suspects });
      expect(await ended(runId)).toMatchObject({ status: "COMPLETED" });
      expect(await nodeOf(runId, "a")).toMatchObject({ attempt: 1, retry_count: 0 });
    },
  );

  test("that nobody offers fails after a while", async () => {
    const name = "fickle_lost";
    const runId = await becomesSuspect(name, "only");
    const clock = await clockOf(5);
    await until(async () => {
      await clock.look({ due: true });
      return (await lies(name)).length === 0;
    }, "its time is over");
    const message = `no live worker of queue default has offered the function ${name} for 0.005 s`;
    expect(await ended(runId)).toMatchObject({ status: "FAILED", error: { code: "HANDLER_NOT_FOUND" } });
    expect(await nodeOf(runId, "a")).toMatchObject({ attempt: 1, error: { message } });
  });
});

test("who waits for which worker is told: by the client, by doctor, and what the record needs as the code knows it", async () => {
  await startWorker(offering("old"));
  const nodes = [
    fn("a", "untold"),
    { ...fn("b", "old"), queue: "unread" },
    fn("c", "old"),
    { id: "d", type: "transform", config: { expression: "data" } },
    {
      id: "again",
      type: "loop",
      config: { loop_back_to: "d", function_name: "untold_loop", max_iterations: 1 },
    },
  ];
  const document = { name: "told", nodes, edges: edges("d -> again") };
  const workflow = await engine.client.register(document);
  const [runId = ""] = (await engine.client.submit(workflow, { input: {} })).runIds;
  const unserved = {
    queues: ["unread"],
    functions: [
      { queue: "default", functionName: "untold" },
      { queue: "default", functionName: "untold_loop" },
    ],
  };
  expect(await engine.client.unserved(workflow.ir)).toEqual(unserved);
  const needs = (await readNeeds(engine.database)).filter(({ functionName }) => functionName !== null);
  expect(needs).toEqual(
    functionsOf(workflow.ir).toSorted((left, right) =>
      `${left.queue} ${left.functionName}` < `${right.queue} ${right.functionName}` ? -1 : 1,
    ),
  );
  await waiting("untold_loop", 1);
  await waiting("untold", 1);
  const run = await engine.client.getRun(runId);
  const found = await engine.client.waitingForWorkers(run, workflow.ir);
  expect(found.map(({ nodeId, scope, queue, functionName }) => [nodeId, scope, queue, functionName])).toEqual(
    [
      ["b", "", "unread", undefined],
      ["a", "", "default", "untold"],
      ["again", "again:1", "default", "untold_loop"],
    ],
  );
  const checks = await examineUnserved(engine.database, [partition]);
  expect(checks.map(({ name, status, message }) => [name, status, message])).toEqual([
    ["functions", "fail", expect.stringMatching(/no live worker offers: untold, untold_loop$/)],
    ["queues", "fail", expect.stringMatching(/no live worker reads: unread$/)],
    ["waiting for untold", "warn", expect.stringContaining(`function untold: a of run ${runId} (for `)],
    ["waiting for untold_loop", "warn", expect.stringContaining(`: again @ again:1 of run ${runId} (for `)],
    ["waiting for unread", "warn", expect.stringContaining(`queue unread: b of run ${runId} (for `)],
  ]);
  expect(checks.filter(({ status, hint }) => status !== "ok" && hint === "")).toEqual([]);
  await engine.client.command(runId, "cancel");
  await ended(runId);
});

describe("a function that nobody offers", () => {
  let database: TestEngine["database"];
  let clock: UnofferedClock;

  beforeEach(async () => {
    ({ database } = engine);
    clock = await clockOf(5);
  });
  const look = async (times: number) => {
    for (let look = 0; look < times; look += 1) {
      await clock.look({ due: true });
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };

  test("fails its nodes after a while, whatever their retry; failure edges work", async () => {
    await startWorker(offering("old"));
    const [runId = ""] = await submit(
      [fn("a", "lost_one", {}, { retry: { max_attempts: 5 } }), fn("b", "old")],
      {
        edges: [{ from: "a", to: "b", on: "failure" }],
      },
    );
    await waiting("lost_one", 1);
    await look(3);
    expect(await ended(runId)).toMatchObject({ status: "COMPLETED" });
    const message = "no live worker of queue default has offered the function lost_one for 0.005 s";
    expect(await nodeOf(runId, "a")).toMatchObject({
      status: "FAILED",
      attempt: 1,
      error: { code: "HANDLER_NOT_FOUND", message },
    });
    expect(await nodeOf(runId, "b")).toMatchObject({ status: "COMPLETED" });
  });

  test("waits while all workers are down, and while one offers it that has no hands free", async () => {
    const worker = await startWorker(offering("old"));
    const [runId = ""] = await submit([fn("a", "lost_two")]);
    await waiting("lost_two", 1);
    await worker.stop();
    // On a busy machine the engine's own reader has counted meanwhile.
    const field = functionField({ queue: "default", functionName: "lost_two" });
    await connection.redis.hset(partition.keys.functions, field, "0,0");
    await look(3);
    await waiting("lost_two", 1);
    const registration = { kind: "worker" as const, host: "here", pid: 1, version: "0", concurrency: 1 };
    const live = (workerId: string, queues: string[], functions: string[]) =>
      heartbeat(database, { ...registration, workerId, queues, functions });
    await live("offers", ["default"], ["lost_two"]);
    await live("does-not", ["default"], ["old"]);
    await live("elsewhere", ["other"], []);
    await look(3);
    await waiting("lost_two", 1);
    await database.query("update hitzero.worker_registry set stopped_at = now() where worker_id = 'offers'");
    await look(3);
    expect(await ended(runId)).toMatchObject({ status: "FAILED", error: { code: "HANDLER_NOT_FOUND" } });
    await database.query("update hitzero.worker_registry set stopped_at = now()");
  });
});

test("workers that come and go leave nothing in Redis", async () => {
  const own = await startEngine({ workers: 0, unclaimedMs: 20 });
  try {
    const { redis } = connection;
    const { keys } = own.partition(connection);
    for (const queue of ["host-1", "host-2", "host-3"]) {
      const worker = new Worker({ ...own.settings, handlers: offering("old"), queues: ["default", queue] });
      await worker.start();
      const nodes = [fn("a", "old"), { ...fn("b", "old"), queue }];
      const workflow = await own.client.register({ name: "hosts", nodes, edges: [] });
      const { runIds } = await own.client.submit(workflow, { input: {} });
      await own.client.wait(runIds[0] as string, { signal: withinLimit() });
      await worker.stop();
    }
    await until(async () => {
      const consumers = (await redis.xinfo("CONSUMERS", keys.ready("default"), "workers")) as string[][];
      const names = consumers.map((facts) => facts[1]).filter((name) => name !== "reader");
      const queues = (await redis.smembers(keys.queues)).sort();
      const streams = await redis.exists(keys.ready("host-1"), keys.ready("host-2"), keys.ready("host-3"));
      return names.length === 0 && queues.join() === ["default", SETTLE_QUEUE].join() && streams === 0;
    }, "nothing is left of the workers");
  } finally {
    await own.stop();
  }
});
