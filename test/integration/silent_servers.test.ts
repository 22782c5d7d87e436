/** A whole engine whose servers fall silent: who cannot renew a lease lets go, what waits ends, and a stop is a stop. */
import { test as base, expect } from "vitest";
import { READER_LEASE_MS } from "../../src/engine/limits.ts";
import { Supervisor } from "../../src/engine/reader/supervisor.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { fn } from "../support/flow.ts";
import { type Link, startLink } from "../support/link.ts";
import { redisUrl } from "../support/redis.ts";
import { until, withinLimit } from "../support/until.ts";

// Beside each other: most of the time they wait for a limit or a lease to run out.
const test = base.concurrent;
/** Hears what is to be closed when the test is over, the last first. */
type Closes = (close: () => Promise<void>) => void;

async function linkTo(url: string, closes: Closes): Promise<Link> {
  const link = await startLink(url);
  closes(() => link.close());
  return link;
}

/** A supervisor with ways of its own to both servers, and when it gets the lease. */
async function superviseOver(engine: TestEngine, closes: Closes) {
  const { settings, client, database } = engine;
  const [postgres, redis] = [await linkTo(settings.databaseUrl, closes), await linkTo(redisUrl(), closes)];
  const supervisor = new Supervisor({ ...settings, databaseUrl: postgres.url, redisUrl: redis.url });
  closes(() => supervisor.stop());
  await supervisor.start();
  const lease = async () => {
    const { rows } = await database.query<{ reader: string | null; term: number; left_ms: number }>(
      `select reader_id as reader, term, 1000 * extract(epoch from lease_expires_at - clock_timestamp())::float8 as left_ms
         from hitzero.partitions`,
    );
    return rows[0] as (typeof rows)[number];
  };
  const workflow = await client.register({ name: "cut_off", nodes: [fn("a")], edges: [] });
  return {
    supervisor,
    postgres,
    redis,
    lease,
    completeRun: async () => {
      const [runId] = (await client.submit(workflow)).runIds as [string];
      expect((await client.wait(runId, { signal: withinLimit() })).status).toBe("COMPLETED");
    },
    takeLease: async () => {
      await engine.supervisor.stop();
      await until(async () => (await lease()).reader === supervisor.id, "it has the lease");
    },
    /** Its next call in Redis has no end: it asks nothing of Postgres by itself. */
    isStuck: () =>
      until(
        async () => (await lease()).left_ms < READER_LEASE_MS * 0.6,
        "its reader does not renew the lease",
      ),
  };
}

test("a supervisor that Postgres does not answer lets go of Redis, whatever it is at; another goes on; it stops when it is told to", async ({
  onTestFinished: closes,
}) => {
  const engine = await startEngine({ handlers: { echo: () => "done" } });
  closes(() => engine.stop());
  const { supervisor, postgres, redis, ...it } = await superviseOver(engine, closes);
  await it.takeLease();
  await it.completeRun();
  const { term } = await it.lease();
  redis.crawl();
  await it.isStuck();
  await until(async () => (await it.lease()).left_ms > READER_LEASE_MS * 0.6, "its lease is renewed");
  expect(await it.lease()).toMatchObject({ reader: supervisor.id, term });

  postgres.silence("to_client");
  const standby = new Supervisor(engine.settings);
  closes(() => standby.stop());
  await standby.start();
  await it.completeRun();
  expect((await it.lease()).reader).toBe(standby.id);
  await until(() => redis.open === 0, "nothing of it is left in Redis");

  redis.silence("to_client");
  await supervisor.stop();
  await until(() => postgres.open === 0, "nor in Postgres");
});

test.for(["reads", "connects"])(
  "a supervisor that waits for Redis without end while it %s stops when it is told to, and gives its lease back",
  async (what, { onTestFinished: closes }) => {
    const engine = await startEngine({ handlers: { echo: () => "done" } });
    closes(() => engine.stop());
    const { supervisor, redis, ...it } = await superviseOver(engine, closes);
    if (what === "connects") redis.crawl();
    await it.takeLease();
    if (what === "reads") {
      await it.completeRun();
      redis.crawl();
    }
    await it.isStuck();
    await supervisor.stop();
    expect((await it.lease()).reader).toBe(null);
    await until(() => redis.open === 0, "nothing of it is left in Redis");
  },
);

test("a worker that Redis does not answer for a lease stops its handlers, and another performs them", async ({
  onTestFinished: closes,
}) => {
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
  closes(() => engine.stop());
  const { client, settings } = engine;
  const redis = await linkTo(redisUrl(), closes);
  const options = { handlers, leaseMs: 1_500, drainTimeoutMs: 1_000 };
  const cutOff = new Worker({ ...settings, ...options, redisUrl: redis.url });
  closes(() => cutOff.stop());
  await cutOff.start();
  const workflow = await client.register({ name: "hold", nodes: [fn("a", "hold")], edges: [] });
  const [runId] = (await client.submit(workflow)).runIds as [string];
  await until(async () => (await client.listNodes(runId))[0]?.status === "RUNNING", "it performs");
  redis.silence("to_client");
  await until(() => told.length > 0, "the handler is told to stop");
  const other = new Worker({ ...settings, ...options });
  closes(() => other.stop());
  await other.start();
  const run = await client.wait(runId, { signal: withinLimit() });
  expect([told, run.status]).toEqual([["LEASE_LOST"], "COMPLETED"]);
  expect((await client.listNodes(runId))[0]).toMatchObject({ attempt: 1, output: "done by another" });
  await cutOff.stop();
});

test("a sub-workflow that begins while its worker has no Postgres waits for it; cancel, time limit and stop end the wait", async ({
  onTestFinished: closes,
}) => {
  const gates: (() => void)[] = [];
  const handlers = {
    gate: () => new Promise<void>((resolve) => gates.push(resolve)),
    echo: () => "done",
  };
  const engine = await startEngine({ workers: 0 });
  closes(() => engine.stop());
  const { client, settings } = engine;
  const postgres = await linkTo(settings.databaseUrl, closes);
  const options = { leaseMs: 3_000, concurrency: 4, drainTimeoutMs: 600_000 };
  const worker = new Worker({ ...settings, ...options, handlers, databaseUrl: postgres.url });
  closes(() => worker.stop());
  await worker.start();
  const connection = await RedisConnection.open(redisUrl());
  closes(async () => connection.close());
  const partition = engine.partition(connection);
  await partition.refresh();
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
  const leaseOf = async (runId: string) => {
    const flat = await connection.redis.zrange(partition.keys.leases, 0, -1, "WITHSCORES");
    const at = flat.findIndex((member) => member.includes(runId));
    return at === -1 ? undefined : { token: flat[at], end: Number(flat[at + 1]) };
  };
  await until(() => firstIsOver(waits), "another waits");
  const before = await until(() => leaseOf(waits), "it is held");
  // Neither holds its place at the worker any more.
  const [third, fourth] = (await client.submit(plain, { count: 2 })).runIds as [string, string];
  await until(() => gates.length === 6, "others are performed in their places");
  for (const open of gates.slice(4)) open();
  const later = await until(async () => {
    const lease = await leaseOf(waits);
    return lease !== undefined && lease.end > before.end + options.leaseMs && lease;
  }, "leases go by");
  // It was not handed out again meanwhile.
  expect(later.token).toBe(before.token);

  postgres.speak();
  expect(await ended(waits)).toEqual(["COMPLETED", null]);
  expect(await ended(left)).toEqual(["COMPLETED", null]);
  expect(await ended(third)).toEqual(["COMPLETED", null]);
  expect(await ended(fourth)).toEqual(["COMPLETED", null]);

  const [again] = (await client.submit(plain)).runIds as [string];
  await until(() => gates.length === 7, "one more");
  postgres.refuse();
  gates[6]?.();
  await until(() => firstIsOver(again), "it waits again");
  await worker.stop();
  const other = new Worker({ ...settings, handlers });
  closes(() => other.stop());
  await other.start();
  expect(await ended(again)).toEqual(["COMPLETED", null]);
});
