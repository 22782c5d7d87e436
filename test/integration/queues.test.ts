/** Runs whose nodes lie in several queues: each worker reads some of them, and none hangs on what another reads. */
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createLog } from "../../src/base/log.ts";
import { pause } from "../../src/base/wait.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { handlersOf } from "../../src/handlers/load.ts";
import { PartitionKeys } from "../../src/redis/keys.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { edges, fn } from "../support/flow.ts";
import { until, withinLimit } from "../support/until.ts";

const handlers = { echo: () => 1 };
const IN_REPORTS = { queue: "reports" };

let engine: TestEngine;

async function submit(document: object): Promise<string> {
  const workflow = await engine.client.register({ name: "queues", edges: [], ...document });
  return (await engine.client.submit(workflow, { input: {} })).runIds[0] as string;
}

async function run(document: object) {
  const runId = await submit(document);
  const { status } = await engine.client.wait(runId, { signal: withinLimit() });
  const nodes = await engine.client.listNodes(runId);
  return { status, nodes: Object.fromEntries(nodes.map((row) => [row.node_id, row.status])) };
}

describe("workers that read a queue each", () => {
  beforeAll(async () => {
    engine = await startEngine({ handlers, queues: [["default"], ["reports"]] });
  });
  afterAll(() => engine?.stop());

  test("what is skipped at its claim goes on in a queue that its worker does not read", async () => {
    const { status, nodes } = await run({
      nodes: [
        fn("a"),
        { id: "later", type: "wait", config: { duration_ms: 200 } },
        fn("b", "echo", {}, { unless: ["a"] }),
        fn("c", "echo", {}, { ...IN_REPORTS, trigger_rule: "all_done" }),
      ],
      edges: edges("later -> b -> c"),
    });
    expect(status).toBe("COMPLETED");
    expect(nodes).toMatchObject({ b: "SKIPPED", c: "COMPLETED" });
  });

  test("what a time withdraws goes on in a queue that its worker does not read", async () => {
    const { status, nodes } = await run({
      nodes: [
        { id: "w", type: "wait", config: { duration_ms: 1 }, cancels: ["s"] },
        { id: "s", type: "signal", config: { name: "never" } },
        fn("c", "echo", {}, { ...IN_REPORTS, trigger_rule: "all_done" }),
      ],
      edges: edges("s -> c"),
    });
    expect(status).toBe("COMPLETED");
    expect(nodes).toEqual({ w: "COMPLETED", s: "CANCELLED", c: "COMPLETED" });
  });
});

describe("a worker of one queue, and none of the others", () => {
  beforeAll(async () => {
    engine = await startEngine({ handlers, queues: [["reports"]] });
  });
  afterAll(() => engine?.stop());

  test("130 entry nodes in it begin, also those that a later step is to settle", async () => {
    const nodes = Array.from({ length: 130 }, (_, index) => fn(`n${index}`, "echo", {}, IN_REPORTS));
    expect((await run({ nodes })).status).toBe("COMPLETED");
  });

  test("begins what lies in it of a run that waits for the others", async () => {
    const nodes = Array.from({ length: 130 }, (_, index) =>
      fn(`n${index}`, "echo", {}, index === 0 ? { queue: "unread" } : IN_REPORTS),
    );
    const runId = await submit({ nodes });
    const completed = async () =>
      (await engine.client.listNodes(runId)).filter(({ status }) => status === "COMPLETED").length;
    await until(async () => (await completed()) === 129, "all but the unread one are completed");
    await engine.client.cancel(runId);
    expect((await engine.client.wait(runId, { signal: withinLimit() })).status).toBe("CANCELLED");
  });
});

describe("a token that lies in its stream twice, as after a claim that put it aside and whose answer was lost", () => {
  beforeAll(async () => {
    engine = await startEngine({ handlers, queues: [["other"]] });
  });
  afterAll(() => engine?.stop());

  test("is performed once by the worker that claims both entries", async () => {
    const performed: string[] = [];
    const { client, settings } = engine;
    const workflow = await client.register({ name: "twice", nodes: [fn("a", "perform")], edges: [] });
    const runId = (await client.submit(workflow, { input: {} })).runIds[0] as string;
    const redis = new Redis(settings.redisUrl);
    const stream = new PartitionKeys(settings.namespace, 0, "1").ready("default");
    await until(async () => (await redis.xlen(stream)) === 1, "its token is ready");
    const [[, fields]] = (await redis.xrange(stream, "-", "+")) as [[string, string[]]];
    await redis.xadd(stream, "*", ...fields);
    const worker = new Worker({
      ...settings,
      handlers: handlersOf({
        perform: async () => {
          performed.push("a");
          await pause(50);
          return 1;
        },
      }),
      queues: ["default"],
      concurrency: 4,
      leaseMs: 10_000,
      log: createLog("silent" as never),
    });
    await worker.start();
    expect((await client.wait(runId, { signal: withinLimit() })).status).toBe("COMPLETED");
    await worker.stop();
    expect(await redis.xlen(stream)).toBe(0);
    redis.disconnect();
    expect(performed).toEqual(["a"]);
  });
});
