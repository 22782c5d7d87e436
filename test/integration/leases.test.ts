/** Leases, redelivery, retries and timers through the whole engine. */
import { afterEach, describe, expect, test } from "vitest";
import { LIMITS } from "../../src/engine/limits.ts";
import { Supervisor } from "../../src/engine/reader/supervisor.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { NonRetryableError, RetryAfterError } from "../../src/handlers/errors.ts";
import { handlersOf } from "../../src/handlers/load.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { readReady } from "../../src/redis/ready.ts";
import { reclaimExpired } from "../../src/redis/scripts/reclaim.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { until } from "../support/until.ts";

let engine: TestEngine | undefined;
afterEach(async () => {
  // A drain waits for what still runs.
  for (const open of gates.splice(0)) open();
  await engine?.stop();
  engine = undefined;
});

type Context = {
  attempt: number;
  nodeId: string;
  runId: string;
  idempotencyKey: string;
  signal: AbortSignal;
  params: Record<string, unknown>;
};
const tries: { key: string; attempt: number; at: number }[] = [];
const note = ({ idempotencyKey, attempt }: Context) =>
  tries.push({ key: idempotencyKey, attempt, at: Date.now() });
const gates: (() => void)[] = [];
const handlers = {
  noop: (context: Context) => {
    note(context);
    return { node: context.nodeId };
  },
  flaky: (context: Context) => {
    note(context);
    if (context.attempt < (context.params.until as number))
      throw Object.assign(new Error("not yet"), { code: "E_NOT_YET" });
    return context.attempt;
  },
  never: () => {
    throw new NonRetryableError("it cannot be", { code: "E_NEVER" });
  },
  later: (context: Context) => {
    note(context);
    if (context.attempt === 1) throw new RetryAfterError("come back", context.params.delay as number);
    return "came back";
  },
  slow: (context: Context) => {
    note(context);
    return context.attempt === 1
      ? new Promise((_resolve, reject) =>
          context.signal.addEventListener("abort", () => reject(context.signal.reason)),
        )
      : "in time";
  },
  gate: (context: Context) => {
    note(context);
    return new Promise<string>((resolve, reject) => {
      gates.push(() => resolve("open"));
      context.signal.addEventListener("abort", () => reject(context.signal.reason));
    });
  },
};

const file = (function_name: string, params: object = {}, more: object = {}) => ({
  name: "leases",
  nodes: [
    { id: "a", type: "function", config: { function_name, params }, ...more },
    { id: "b", type: "function", config: { function_name: "noop" } },
  ],
  edges: [{ from: "a", to: "b" }],
});

async function submit(document: object, count = 1): Promise<string[]> {
  const { client } = engine as TestEngine;
  return (await client.submit(await client.register(document), { count })).runIds;
}

async function ended(runId: string) {
  const { client, database } = engine as TestEngine;
  const run = await client.wait(runId);
  const nodes = Object.fromEntries((await client.listNodes(runId)).map((node) => [node.node_id, node]));
  const { rows: events } = await database.query<{
    event_type: string;
    data: Record<string, unknown>;
    level: string;
    at: Date;
  }>("select event_type, level, data, at from hitzero.event_log where run_id = $1 order by seq", [runId]);
  return { run, nodes, events };
}

/** What the reader does when a lease runs out, without waiting for it. */
async function takeLeaseAway(connection: RedisConnection): Promise<void> {
  const partition = (engine as TestEngine).partition(connection);
  await partition.refresh();
  const reclaimed = async () => {
    const [member] = await connection.redis.zrange(partition.keys.leases, 0, 0);
    await connection.redis.zadd(partition.keys.leases, 1, member as string);
    return (await reclaimExpired(partition)) === 1;
  };
  await until(reclaimed, "the lease is taken away");
}

const fast = { retry: { max_attempts: 4, backoff_ms: 20, jitter: false } };

describe("retries", () => {
  test("a failing handler is tried again under its policy; each try is an event", async () => {
    engine = await startEngine({ handlers });
    // Long enough to show behind the time that a busy machine takes to record it.
    const retry = { max_attempts: 4, backoff_ms: 200, jitter: false };
    const [runId] = await submit(file("flaky", { until: 3 }, { retry }));
    const { run, nodes, events } = await ended(runId as string);
    expect(run.status).toBe("COMPLETED");
    expect(nodes.a).toMatchObject({
      status: "COMPLETED",
      attempt: 3,
      retry_count: 2,
      output: 3,
      error: null,
    });
    const retries = events.filter(({ event_type }) => event_type === "node_retrying");
    expect(
      retries.map(({ level, data }) => [level, data.attempt, (data.error as { code: string }).code]),
    ).toEqual([
      ["WARN", 1, "E_NOT_YET"],
      ["WARN", 2, "E_NOT_YET"],
    ]);
    const waits = retries.map(({ data, at }) => Date.parse(data.due as string) - at.getTime());
    expect(waits[0]).toBeGreaterThan(0);
    expect(waits[1]).toBeGreaterThan(waits[0] as number);
    const mine = tries.filter(({ key }) => key === `${runId}/a/`);
    expect(mine.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
  });

  test("the last failure is the node's", async () => {
    engine = await startEngine({ handlers });
    const [runId] = await submit(file("flaky", { until: 99 }, fast));
    const { run, nodes } = await ended(runId as string);
    expect(run.status).toBe("FAILED");
    expect(nodes.a).toMatchObject({
      status: "FAILED",
      attempt: 4,
      retry_count: 3,
      error: { code: "E_NOT_YET", attempt: 4 },
    });
    expect(nodes.b).toMatchObject({ status: "SKIPPED", reason: "upstream_failed: a" });
  });

  test("NonRetryableError fails at once; RetryAfterError chooses the delay; a timeout is tried again", async () => {
    engine = await startEngine({ handlers });
    const [never] = await submit(file("never", {}, fast));
    expect((await ended(never as string)).nodes.a).toMatchObject({
      status: "FAILED",
      attempt: 1,
      error: { code: "E_NEVER" },
    });
    const [later] = await submit(
      file("later", { delay: 300 }, { retry: { max_attempts: 2, backoff_ms: 60_000 } }),
    );
    expect((await ended(later as string)).nodes.a).toMatchObject({
      status: "COMPLETED",
      attempt: 2,
      output: "came back",
    });
    const [first, second] = tries.filter(({ key }) => key === `${later}/a/`);
    expect((second?.at as number) - (first?.at as number)).toBeGreaterThanOrEqual(290);
    const [slow] = await submit(file("slow", {}, { ...fast, timeout_ms: 50 }));
    expect((await ended(slow as string)).nodes.a).toMatchObject({
      status: "COMPLETED",
      attempt: 2,
      output: "in time",
    });
  });

  test("a retry that waits survives its worker", async () => {
    engine = await startEngine({ handlers });
    const [runId] = await submit(
      file("flaky", { until: 2 }, { retry: { max_attempts: 2, backoff_ms: 500, jitter: false } }),
    );
    await until(
      async () => (await engine?.client.listNodes(runId as string))?.[0]?.status === "RETRYING",
      "the first try failed",
    );
    await engine.workers[0]?.stop();
    const second = new Worker({ ...engine.settings, handlers: handlersOf(handlers) });
    await second.start();
    expect((await ended(runId as string)).nodes.a).toMatchObject({
      status: "COMPLETED",
      attempt: 2,
      worker_id: second.id,
    });
    await second.stop();
  });
});

describe("a worker that is lost", () => {
  test("has its tokens handed out again, with no attempt used up; its late answer is stale", async () => {
    engine = await startEngine({ handlers, leaseMs: 600 });
    const [first] = engine.workers;
    const runIds = await submit(file("gate"), 3);
    await until(() => gates.length === 3, "three handlers are at their gate");
    await first?.abandon();
    const second = new Worker({ ...engine.settings, handlers: handlersOf(handlers), leaseMs: 600 });
    await second.start();
    await until(() => gates.length === 6, "the second worker has them");
    for (const open of gates.splice(0)) open();
    for (const runId of runIds) {
      const { run, nodes, events } = await ended(runId);
      expect(run.status).toBe("COMPLETED");
      expect(nodes.a).toMatchObject({ attempt: 1, retry_count: 0, worker_id: second.id });
      expect(events.filter(({ event_type }) => event_type === "node_redelivered")).toHaveLength(1);
      expect(events.filter(({ event_type }) => event_type === "node_completed")).toHaveLength(2);
    }
    await second.stop();
  });

  test("renewal keeps what lasts longer than a lease; a lost lease aborts the handler", async () => {
    engine = await startEngine({ handlers, leaseMs: 300 });
    const [runId] = await submit(file("gate"));
    await until(() => gates.length === 1, "the handler is at its gate");
    const connection = await RedisConnection.open(engine.settings.redisUrl);
    const { keys } = engine.partition(connection);
    const [, first] = await connection.redis.zrange(keys.leases, 0, -1, "WITHSCORES");
    await until(
      async () =>
        Number((await connection.redis.zrange(keys.leases, 0, -1, "WITHSCORES"))[1]) > Number(first) + 600,
      "renewed twice over",
    );
    expect(tries.filter(({ key }) => key === `${runId}/a/`)).toHaveLength(1);
    // Somebody takes the lease away: what was held is aborted, and the execution is performed anew.
    await takeLeaseAway(connection);
    await until(() => gates.length === 2, "it was handed out again");
    connection.close();
    for (const open of gates.splice(0)) open();
    expect((await ended(runId as string)).nodes.a).toMatchObject({ status: "COMPLETED", attempt: 1 });
  });

  test("is not one whose loop is blocked: a thread renews its record", async () => {
    engine = await startEngine({ handlers, leaseMs: 600 });
    const [worker] = engine.workers;
    const connection = await RedisConnection.open(engine.settings.redisUrl);
    const { keys } = engine.partition(connection);
    const livesOn = async () => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500);
      const [aliveUntil, [seconds]] = await Promise.all([
        connection.redis.zscore(keys.workers, worker?.id as string),
        connection.redis.time(),
      ]);
      return Number(aliveUntil) > Number(seconds) * 1_000;
    };
    await until(livesOn, "the thread is connected, and renews");
    await worker?.stop();
    expect(await connection.redis.exists(keys.workers, keys.listings)).toBe(0);
    connection.close();
  });

  test("between delivery and claim leaves its entries to be put back", async () => {
    engine = await startEngine({ handlers, workers: 0, unclaimedMs: 300 });
    const [runId] = await submit(file("noop"));
    const connection = await RedisConnection.open(engine.settings.redisUrl);
    const partition = engine.partition(connection);
    expect(
      await readReady(connection, [{ partition, queue: "default" }], "lost", { count: 10, blockMs: 1_000 }),
    ).toHaveLength(1);
    connection.close();
    const worker = new Worker({ ...engine.settings, handlers: handlersOf(handlers) });
    await worker.start();
    expect((await ended(runId as string)).run.status).toBe("COMPLETED");
    await worker.stop();
  });

  test("five times in a row makes no dead letter of what it performed", async () => {
    gates.length = 0;
    engine = await startEngine({ handlers, workers: 0 });
    const [runId] = await submit(file("gate"));
    const begin = async () => {
      const worker = new Worker({
        ...(engine as TestEngine).settings,
        handlers: handlersOf(handlers),
        leaseMs: 300,
      });
      await worker.start();
      return worker;
    };
    for (let losses = 1; losses <= 5; losses += 1) {
      const worker = await begin();
      await until(() => gates.length === losses, `the handler runs for the ${losses}. time`);
      await worker.abandon();
    }
    const last = await begin();
    await until(() => gates.length === 6, "the handler runs again");
    for (const open of gates.splice(0)) open();
    const { run, nodes, events } = await ended(runId as string);
    expect(run.status).toBe("COMPLETED");
    expect(nodes.a).toMatchObject({ status: "COMPLETED", attempt: 1, retry_count: 0, worker_id: last.id });
    const lost = events.filter(({ event_type }) => event_type === "node_redelivered");
    // A loss right after the token was handed out, before the worker listed it, counts for nobody.
    const counts = lost.map(({ data }) => [Number(data.workers_lost ?? 0), Number(data.lost_alone ?? 0)]);
    expect(counts).toHaveLength(5);
    for (const [workers, alone] of counts) expect(alone).toBe(Math.max(0, (workers as number) - 2));
    await last.stop();
  });
});

describe("a run without activity", () => {
  /** A run at its gate, and its state in Redis; `before` submits others first. */
  async function atGate(before: () => Promise<unknown> = async () => {}) {
    gates.length = 0;
    engine = await startEngine({ handlers, stuckMs: 500, limits: { ...LIMITS, quiet: 2 } });
    await before();
    const [runId] = await submit(file("gate"));
    await until(() => gates.length === 1, "the handler is at its gate");
    await until(
      async () => (await engine?.client.getRun(runId as string))?.status === "RUNNING",
      "it is on record",
    );
    const connection = await RedisConnection.open(engine.settings.redisUrl);
    const { keys } = engine.partition(connection);
    return { runId: runId as string, connection, keys };
  }

  test("is handed out again when its token lies nowhere", async () => {
    const { runId, connection, keys } = await atGate();
    await connection.redis.del(keys.leases);
    connection.close();
    await until(() => gates.length === 2, "it was handed out again");
    for (const open of gates.splice(0)) open();
    const { run, nodes } = await ended(runId);
    expect(run.status).toBe("COMPLETED");
    expect(nodes.a).toMatchObject({ attempt: 1 });
  });

  const waiting = (name: string, node: object) => ({ name, nodes: [{ id: "waits", ...node }], edges: [] });
  const isWaiting = (runId: string) => async () => {
    const { rows } = await (engine as TestEngine).database.query<{ quiet: boolean }>(
      `select max(at) < now() - interval '1 second' as quiet from hitzero.event_log where run_id = $1`,
      [runId],
    );
    return rows[0]?.quiet === true;
  };

  test("is found behind more runs that rightly wait than are looked at together", async () => {
    const older: string[] = [];
    const { runId, connection, keys } = await atGate(async () => {
      const approval = waiting("approved", { type: "approval", config: { name: "ok" } });
      for (let count = 0; count < 5; count += 1) older.push(...(await submit(approval)));
      for (const one of older) await until(isWaiting(one), "it is quiet");
    });
    await connection.redis.hdel(keys.run(runId), "n0");
    await connection.redis.del(keys.leases);
    connection.close();
    expect((await ended(runId)).run).toMatchObject({ status: "FAILED", error: { code: "STUCK" } });
    for (const open of gates.splice(0)) open();
    for (const one of older) expect((await engine?.client.getRun(one))?.status).toBe("RUNNING");
  });

  test("fails beside one whose queue nobody reads, which does not", async () => {
    let unread = "";
    const { runId, connection, keys } = await atGate(async () => {
      const lonely = { type: "function", queue: "nobody", config: { function_name: "gate" } };
      [unread = ""] = await submit(waiting("unread", lonely));
      await until(isWaiting(unread), "it is quiet");
    });
    // Somebody read the queue once.
    await connection.redis.sadd(keys.queues, "nobody");
    await connection.redis.hdel(keys.run(runId), "n0");
    await connection.redis.del(keys.leases);
    expect((await ended(runId)).run).toMatchObject({ status: "FAILED", error: { code: "STUCK" } });
    expect((await engine?.client.getRun(unread))?.status).toBe("RUNNING");
    expect(await connection.redis.xlen(keys.ready("nobody"))).toBe(1);
    connection.close();
    for (const open of gates.splice(0)) open();
  });

  test("is left alone while its worker holds it", async () => {
    const { runId, connection } = await atGate();
    const { rows } = await (engine as TestEngine).database.query<{ at: Date }>("select now() as at");
    const later = async () =>
      Number(
        (
          await (engine as TestEngine).database.query("select extract(epoch from now() - $1) as s", [
            rows[0]?.at,
          ])
        ).rows[0]?.s,
      ) > 1.5;
    await until(later, "three times the limit has passed");
    connection.close();
    expect(gates).toHaveLength(1);
    expect((await (engine as TestEngine).client.getRun(runId)).status).toBe("RUNNING");
    for (const open of gates.splice(0)) open();
    expect((await ended(runId)).run.status).toBe("COMPLETED");
  });

  test("fails when nothing of it is left, and says what it waited for", async () => {
    const { runId, connection, keys } = await atGate();
    await connection.redis.hdel(keys.run(runId), "n0");
    await connection.redis.del(keys.leases);
    connection.close();
    const { run } = await ended(runId);
    expect(run).toMatchObject({
      status: "FAILED",
      error: { code: "STUCK", message: expect.stringMatching(/no activity .* a, b/) },
    });
    for (const open of gates.splice(0)) open();
  });
});

test("a supervisor that is gone is followed by another within its lease; timers go on", async () => {
  engine = await startEngine({ handlers });
  const [runId] = await submit(
    file("flaky", { until: 2 }, { retry: { max_attempts: 2, backoff_ms: 300, jitter: false } }),
  );
  await engine.supervisor.stop();
  const second = new Supervisor(engine.settings);
  await second.start();
  expect((await ended(runId as string)).run.status).toBe("COMPLETED");
  await second.stop();
});
