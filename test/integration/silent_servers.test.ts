/** A whole engine whose servers fall silent: who cannot renew a lease lets go, what waits ends, and a stop is a stop. */
import { afterEach, expect, test } from "vitest";
import { Supervisor } from "../../src/engine/supervisor.ts";
import { Worker } from "../../src/engine/worker.ts";
import { startEngine } from "../support/engine.ts";
import { fn } from "../support/flow.ts";
import { startLink } from "../support/link.ts";
import { redisUrl } from "../support/redis.ts";
import { until, withinLimit } from "../support/until.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function linkTo(url: string) {
  const link = await startLink(url);
  closers.push(() => link.close());
  return link;
}

test("a supervisor that Postgres does not answer lets go of Redis; another goes on; it stops when it is told to", async () => {
  const engine = await startEngine({ handlers: { echo: () => "done" } });
  closers.push(() => engine.stop());
  const { client, settings, database } = engine;
  const [postgres, redis] = [await linkTo(settings.databaseUrl), await linkTo(redisUrl())];
  const cutOff = new Supervisor({ ...settings, databaseUrl: postgres.url, redisUrl: redis.url });
  closers.push(() => cutOff.stop());
  await cutOff.start();
  await engine.supervisor.stop();
  const readerId = async () =>
    (await database.query<{ reader_id: string }>("select reader_id from hitzero.partitions")).rows[0]
      ?.reader_id;
  await until(async () => (await readerId()) === cutOff.id && redis.open > 0, "it reads");

  postgres.silence("to_client");
  const standby = new Supervisor(settings);
  closers.push(() => standby.stop());
  await standby.start();
  const workflow = await client.register({ name: "cut_off", nodes: [fn("a")], edges: [] });
  const [runId] = (await client.submit(workflow)).runIds as [string];
  expect((await client.wait(runId, { signal: withinLimit() })).status).toBe("COMPLETED");
  expect(await readerId()).toBe(standby.id);
  await until(() => redis.open === 0, "nothing of it is left in Redis");

  redis.silence("to_client");
  await cutOff.stop();
  await until(() => postgres.open === 0, "nor in Postgres");
});

test("a worker that Redis does not answer for a lease stops its handlers, and another performs them", async () => {
  const told: unknown[] = [];
  const handlers = {
    hold: ({ signal }: { signal: AbortSignal }) =>
      new Promise((resolve, reject) => {
        if (told.length > 0) return resolve("done by another");
        signal.addEventListener("abort", () => {
          told.push((signal.reason as { code: string }).code);
          reject(signal.reason);
        });
      }),
  };
  const engine = await startEngine({ workers: 0 });
  closers.push(() => engine.stop());
  const { client, settings } = engine;
  const redis = await linkTo(redisUrl());
  const options = { handlers, leaseMs: 1_500, drainTimeoutMs: 1_000 };
  const cutOff = new Worker({ ...settings, ...options, redisUrl: redis.url });
  closers.push(() => cutOff.stop());
  await cutOff.start();
  const workflow = await client.register({ name: "hold", nodes: [fn("a", "hold")], edges: [] });
  const [runId] = (await client.submit(workflow)).runIds as [string];
  await until(async () => (await client.listNodes(runId))[0]?.status === "RUNNING", "it performs");
  redis.silence("to_client");
  await until(() => told.length > 0, "the handler is told to stop");
  const other = new Worker({ ...settings, ...options });
  closers.push(() => other.stop());
  await other.start();
  const run = await client.wait(runId, { signal: withinLimit() });
  expect([told, run.status]).toEqual([["LEASE_LOST"], "COMPLETED"]);
  expect((await client.listNodes(runId))[0]).toMatchObject({ attempt: 1, output: "done by another" });
  await cutOff.stop();
});

test("a sub-workflow that begins while its worker has no Postgres waits for it; cancel, time limit and stop end the wait", async () => {
  const gates: (() => void)[] = [];
  const handlers = {
    gate: () => new Promise<void>((resolve) => gates.push(resolve)),
    echo: () => "done",
  };
  const engine = await startEngine({ workers: 0 });
  closers.push(() => engine.stop());
  const { client, settings } = engine;
  const postgres = await linkTo(settings.databaseUrl);
  const worker = new Worker({ ...settings, handlers, databaseUrl: postgres.url, leaseMs: 1_500 });
  closers.push(() => worker.stop());
  await worker.start();
  await client.register({ name: "child", nodes: [fn("c")], edges: [] });
  const parent = (name: string, more: object = {}) =>
    client.register({
      name,
      nodes: [
        fn("first", "gate"),
        { id: "sub", type: "subworkflow", config: { workflow: "child" }, ...more },
      ],
      edges: [{ from: "first", to: "sub" }],
    });
  const [plain, limited] = [await parent("plain"), await parent("limited", { timeout_ms: 400 })];
  const [waits, cancelled, left] = (await client.submit(plain, { count: 3 })).runIds as [
    string,
    string,
    string,
  ];
  const [timedOut] = (await client.submit(limited)).runIds as [string];
  await until(() => gates.length === 4, "all are at their first node");
  postgres.refuse();
  for (const open of gates) open();
  const ended = async (runId: string) => {
    const run = await client.wait(runId, { signal: withinLimit() });
    return [run.status, run.error?.code ?? null];
  };
  expect((await ended(timedOut))[0]).toBe("FAILED");
  const sub = (await client.listNodes(timedOut)).find(({ node_id }) => node_id === "sub");
  expect(sub?.error?.code).toBe("TIMED_OUT");
  const firstIsOver = async (runId: string) =>
    (await client.listNodes(runId)).some(
      ({ node_id, status }) => node_id === "first" && status === "COMPLETED",
    );
  await until(() => firstIsOver(cancelled), "the sub-workflow node waits");
  await client.cancel(cancelled);
  expect((await ended(cancelled))[0]).toBe("CANCELLED");

  postgres.speak();
  expect(await ended(waits)).toEqual(["COMPLETED", null]);
  expect(await ended(left)).toEqual(["COMPLETED", null]);

  const [again] = (await client.submit(plain)).runIds as [string];
  await until(() => gates.length === 5, "one more");
  postgres.refuse();
  gates[4]?.();
  await until(() => firstIsOver(again), "it waits again");
  await worker.stop();
  const other = new Worker({ ...settings, handlers });
  closers.push(() => other.stop());
  await other.start();
  expect(await ended(again)).toEqual(["COMPLETED", null]);
});
