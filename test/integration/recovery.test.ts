/** What restarts, losses, take-overs and refusals do to accepted runs. Each test has an engine of its own. */

import { afterEach, describe, expect, test, vi } from "vitest";
import { LIMITS } from "../../src/engine/limits.ts";
import type { StateChange } from "../../src/engine/reader/record_types.ts";
import { Supervisor } from "../../src/engine/reader/supervisor.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { handlersOf } from "../../src/handlers/load.ts";
import { acceptRuns } from "../../src/postgres/accept_runs.ts";
import { Database } from "../../src/postgres/database.ts";
import { listPartitions, moveOffset, takeLease } from "../../src/postgres/partitions.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { PartitionKeys, stateChannel } from "../../src/redis/keys.ts";
import { Partition } from "../../src/redis/partition.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { chainOf, gatedHandlers, partitionRow } from "../support/gated.ts";
import { type PrivateRedis, startPrivateRedis } from "../support/redis.ts";
import { until, withinLimit } from "../support/until.ts";

let engine: TestEngine | undefined;
let redis: PrivateRedis | undefined;
afterEach(async () => {
  await engine?.stop();
  await redis?.stop();
  engine = undefined;
  redis = undefined;
});

const { gates, calls, handlers } = gatedHandlers();
const chain = (...functions: string[]) => chainOf("recovery", functions);

describe("accepted runs", () => {
  test("that were never started are started by the reader", async () => {
    engine = await startEngine({ handlers });
    const workflow = await engine.client.register(chain("noop", "noop"));
    const runId = crypto.randomUUID();
    // What a submitter leaves behind that dies right after its commit.
    const runs = [{ runId, partition: 0 }];
    await acceptRuns(engine.database, [{ workflow, runs, input: '{"n":1}', tags: [] }]);
    expect((await engine.client.wait(runId)).status).toBe("COMPLETED");
  });

  test("that one look does not take are started without waiting for the next look around", async () => {
    // At one for each look around, that is once a second, these would take minutes.
    const RUNS = 120;
    engine = await startEngine({ handlers, limits: { ...LIMITS, unstarted: 1 } });
    const workflow = await engine.client.register(chain("noop"));
    const runs = Array.from({ length: RUNS }, () => ({
      runId: crypto.randomUUID(),
      partition: 0,
    }));
    await acceptRuns(engine.database, [{ workflow, runs, input: "{}", tags: [] }]);
    const signal = withinLimit();
    const runIds = runs.map(({ runId }) => runId);
    expect(await engine.client.waitAll(runIds, { signal })).toEqual({ COMPLETED: RUNS });
  });

  test("that nobody started are started in one call; one whose workflow is not on record fails alone", async () => {
    const calls = vi.spyOn(Partition.prototype, "call");
    const inCalls = () =>
      calls.mock.calls.flatMap(([name, , [json = ""]]) => {
        return name === "start" ? [(JSON.parse(json) as { runs: unknown[] }).runs.length] : [];
      });
    engine = await startEngine({ handlers });
    const { client, database } = engine;
    const workflow = await client.register(chain("noop"));
    const runs = Array.from({ length: 20 }, () => ({ runId: crypto.randomUUID(), partition: 0 }));
    // What a submitter leaves behind that dies right after its commit.
    const [odd, ...others] = runs as [{ runId: string; partition: 0 }];
    await database.transaction(async (connection) => {
      await acceptRuns(connection as never, [{ workflow, runs, input: "{}", tags: [] }]);
      await connection.query("update hitzero.runs set ir_digest = 'none' where run_id = $1", [odd.runId]);
    });
    expect(await client.waitAll(others.map(({ runId }) => runId))).toEqual({ COMPLETED: 19 });
    expect((await client.wait(odd.runId)).status).toBe("FAILED");
    // The second, as the scripts lacked the IR.
    expect(inCalls()).toEqual([19, 19]);
    vi.restoreAllMocks();
  });

  test("wait for a supervisor that comes later, and for a worker", async () => {
    engine = await startEngine({ handlers, workers: 0 });
    await engine.supervisor.stop();
    const connection = await RedisConnection.open(engine.settings.redisUrl);
    await connection.redis.del(engine.partition(connection).keys.meta);
    connection.close();
    const { runIds, waiting } = await engine.client.submit(await engine.client.register(chain("noop")), {
      count: 3,
    });
    expect(waiting).toBe(3);
    const supervisor = new Supervisor(engine.settings);
    const worker = new Worker({ ...engine.settings, handlers: handlersOf(handlers) });
    await supervisor.start();
    await worker.start();
    expect(await engine.client.waitAll(runIds)).toEqual({ COMPLETED: 3 });
    await worker.stop();
    await supervisor.stop();
  });
});

describe("Redis", () => {
  test("restarts with its history: scripts are loaded again, the partition is opened again, runs end once", async () => {
    redis = await startPrivateRedis(["appendfsync always"]);
    engine = await startEngine({ handlers, redisUrl: redis.url, workers: 2 });
    const workflow = await engine.client.register(chain("count", "gate", "count"));
    const { runIds } = await engine.client.submit(workflow, { count: 5 });
    await until(() => gates.length === 5, "five runs are at their gate");
    await redis.kill9();
    for (const open of gates.splice(0)) open();
    await redis.restart();
    expect(await engine.client.waitAll(runIds)).toEqual({ COMPLETED: 5 });
    expect(calls.sort()).toEqual(runIds.flatMap((id) => [`${id}/n0/`, `${id}/n2/`]).sort());
  });

  test("without memory starts nothing, and goes on with what it has", async () => {
    redis = await startPrivateRedis();
    engine = await startEngine({ handlers, redisUrl: redis.url });
    const workflow = await engine.client.register(chain("gate", "noop"));
    const [held] = (await engine.client.submit(workflow, {})).runIds as [string];
    await until(() => gates.length === 1, "a run is at its gate");
    const connection = await RedisConnection.open(redis.url);
    await connection.redis.config("SET", "maxmemory", "1");
    const accepted = crypto.randomUUID();
    const plain = await engine.client.register(chain("noop"));
    const runs = [{ runId: accepted, partition: 0 }];
    await acceptRuns(engine.database, [{ workflow: plain, runs, input: "{}", tags: [] }]);
    // Old enough for the reader, which finds it in each of its rounds.
    await engine.database.query(
      "update hitzero.open_runs set submitted_at = submitted_at - interval '1 minute' where run_id = $1",
      [accepted],
    );
    await engine.client.cancel(held);
    expect((await engine.client.wait(held)).status).toBe("CANCELLED");
    expect((await engine.client.getRun(accepted)).status).toBe("PENDING");
    await connection.redis.config("SET", "maxmemory", "0");
    connection.close();
    expect((await engine.client.wait(accepted)).status).toBe("COMPLETED");
    for (const open of gates.splice(0)) open();
  });

  test("that lost its data finds the partition closed while started runs are on record", async () => {
    redis = await startPrivateRedis();
    engine = await startEngine({ handlers, redisUrl: redis.url });
    const { runIds } = await engine.client.submit(await engine.client.register(chain("gate", "noop")), {});
    await until(() => gates.length > 0, "the run is at its gate");
    await until(
      async () => (await engine?.client.getRun(runIds[0] as string))?.status === "RUNNING",
      "the run is on record",
    );
    const connection = await RedisConnection.open(redis.url);
    await connection.redis.flushall();
    const reason = await until(
      async () =>
        ((await partitionRow((engine as TestEngine).database)).closed_reason as string | null) ?? undefined,
      "the loss is on record",
    );
    expect(reason).toContain("HISTORY_LOST");
    for (const open of gates.splice(0)) open();
    expect(await connection.redis.keys("*:meta")).toEqual([]);
    connection.close();
    expect((await engine.client.getRun(runIds[0] as string)).status).toBe("RUNNING");
    await engine.workers[0]?.abandon();
  });

  test("that was rewound and has grown again is known by the nonce of the recorded entry", async () => {
    engine = await startEngine({ handlers });
    const workflow = await engine.client.register(chain("noop"));
    const { runIds } = await engine.client.submit(workflow, {});
    await engine.client.waitAll(runIds);
    const gated = await engine.client.submit(await engine.client.register(chain("gate")), {});
    await until(
      async () => (await engine?.client.getRun(gated.runIds[0] as string))?.status === "RUNNING",
      "a run is on record",
    );
    await engine.supervisor.stop();
    const connection = await RedisConnection.open(engine.settings.redisUrl);
    const partition = engine.partition(connection);
    await partition.refresh();
    const { recorded_seq } = await partitionRow(engine.database);
    const key = partition.keys.journal;
    await connection.redis.del(key);
    await connection.redis.xadd(key, `${recorded_seq}-0`, "call", "another", "at", "1");
    connection.close();
    const supervisor = new Supervisor(engine.settings);
    await supervisor.start();
    const reason = await until(
      async () =>
        ((await partitionRow((engine as TestEngine).database)).closed_reason as string | null) ?? undefined,
      "the loss is on record",
    );
    expect(reason).toContain("another than the one recorded");
    await supervisor.stop();
    for (const open of gates.splice(0)) open();
    await engine.workers[0]?.abandon();
  });

  test("a reply that is lost is asked for again, and the handler does not run twice", async () => {
    redis = await startPrivateRedis();
    engine = await startEngine({ handlers, redisUrl: redis.url, workers: 1 });
    calls.length = 0;
    const workflow = await engine.client.register(
      chain("count", "count", "count", "count", "count", "count", "count", "count"),
    );
    const { runIds } = await engine.client.submit(workflow, { count: 50 });
    const connection = await RedisConnection.open(redis.url);
    // The server drops the workers' connections again and again: whatever was under way loses its reply.
    const ended = engine.client.waitAll(runIds);
    for (let cuts = 0; cuts < 20; cuts += 1) {
      await connection.redis.client("KILL", "TYPE", "normal", "SKIPME", "yes");
      await until(
        async () => Number(await connection.redis.eval("return #redis.call('KEYS', '*')", 0)) > 0,
        "Redis answers",
      );
    }
    expect(await ended).toEqual({ COMPLETED: 50 });
    connection.close();
    expect(calls).toHaveLength(400);
    expect(new Set(calls).size).toBe(400);
  });
});

test("waiting does not depend on announcements: nobody may publish, the run still ends for who waits", async () => {
  redis = await startPrivateRedis();
  engine = await startEngine({ handlers, redisUrl: redis.url });
  const connection = await RedisConnection.open(redis.url);
  await connection.redis.call("ACL", "SETUSER", "default", "-publish");
  connection.close();
  const { runIds } = await engine.client.submit(await engine.client.register(chain("gate", "noop")), {});
  await until(() => gates.length > 0, "the run is at its gate");
  const changes: unknown[] = [];
  const waiting = engine.client.wait(runIds[0] as string, { onChange: (change) => changes.push(change) });
  for (const open of gates.splice(0)) open();
  expect((await waiting).status).toBe("COMPLETED");
  expect(changes).toEqual([]);
});

describe("readers", () => {
  test("a reader whose term is over cannot write", async () => {
    engine = await startEngine({ workers: 0 });
    await engine.supervisor.stop();
    const row = await takeLease(engine.database, 0, "first", -1);
    expect(row).toBeDefined();
    expect(await takeLease(engine.database, 0, "second", 10_000)).toBeDefined();
    const move = engine.database.transaction((client) =>
      moveOffset(client, row as never, { seq: 1, call: "x" }, 1_000),
    );
    await expect(move).rejects.toMatchObject({ code: "LEASE_LOST" });
  });

  test("a lease that is held is nobody else's; one that ran out is", async () => {
    engine = await startEngine({ workers: 0 });
    const { database } = engine;
    await until(async () => (await partitionRow(database)).reader_id, "the supervisor has the lease");
    expect(await takeLease(database, 0, "another", 10_000)).toBeUndefined();
    await engine.supervisor.stop();
    expect(await takeLease(engine.database, 0, "another", 10_000)).toBeDefined();
  });

  test("a transaction that stands still does not block the next reader", async () => {
    engine = await startEngine({ workers: 0 });
    await engine.supervisor.stop();
    const stopped = new Database(engine.settings.databaseUrl, {
      settings: { idle_in_transaction_session_timeout: "300" },
    });
    let release: (() => void) | undefined;
    const held = stopped.transaction(async (client) => {
      await client.query("update hitzero.partitions set recorded_call = 'stale' where partition = 0");
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      await client.query("select 1");
    });
    const outcome = held.then(
      () => "committed",
      () => "ended by the server",
    );
    const end = await until(() => release, "the transaction holds the partition's row");
    const row = await until(
      () => takeLease((engine as TestEngine).database, 0, "standby", 10_000),
      "the standby has the lease",
    );
    expect(row.recorded_call).not.toBe("stale");
    end();
    expect(await outcome).toBe("ended by the server");
    await stopped.close();
  });

  test("a run's end is announced, and the run cleared away, only when its final status is committed", async () => {
    engine = await startEngine({ handlers });
    const { client, database, settings } = engine;
    // A deferred trigger runs within COMMIT: what happens before its end finds the old row.
    await database.query(
      `create function hitzero.linger() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return null; end $$;
       create constraint trigger linger after update on hitzero.runs deferrable initially deferred
         for each row execute function hitzero.linger()`,
    );
    const connection = await RedisConnection.open(settings.redisUrl);
    const listener = await connection.duplicate();
    gates.length = 0;
    const { runIds } = await client.submit(await client.register(chain("gate")), {});
    const runId = runIds[0] as string;
    const announced: Promise<string>[] = [];
    listener.redis.on("message", (_channel: string, text: string) => {
      const { new_state, node_id } = JSON.parse(text) as StateChange;
      const isEnd = node_id === undefined && new_state === "COMPLETED";
      if (isEnd) announced.push(client.getRun(runId).then(({ status }) => status));
    });
    await listener.redis.subscribe(stateChannel(runId));
    await until(() => gates.length === 1, "the handler is at its gate");
    (gates[0] as () => void)();
    const runKey = new PartitionKeys(settings.namespace, 0, "1").run(runId);
    await until(async () => (await connection.redis.exists(runKey)) === 0, "the run is cleared away");
    expect((await client.getRun(runId)).status).toBe("COMPLETED");
    await until(() => announced.length === 1, "its end is announced");
    expect(await announced[0]).toBe("COMPLETED");
    connection.close();
    listener.close();
  });

  test("what a reader committed and did not clean up, the next one cleans up", async () => {
    engine = await startEngine({ handlers });
    const { runIds } = await engine.client.submit(await engine.client.register(chain("noop")), {});
    await engine.client.waitAll(runIds);
    await engine.supervisor.stop();
    const connection = await RedisConnection.open(engine.settings.redisUrl);
    const partition = engine.partition(connection);
    await partition.refresh();
    const runKey = partition.keys.run(runIds[0] as string);
    await connection.redis.hset(runKey, "s", "C"); // as if the reader had died between commit and clean-up
    const supervisor = new Supervisor(engine.settings);
    await supervisor.start();
    await until(async () => (await connection.redis.exists(runKey)) === 0, "the run is cleared away");
    connection.close();
    await supervisor.stop();
  });
});

test("partitions: runs spread over three, each with its own journal, and all end", async () => {
  engine = await startEngine({ handlers, workers: 0 });
  await engine.supervisor.stop();
  await engine.database.query("insert into hitzero.partitions (partition) values (1), (2)");
  expect(await listPartitions(engine.database)).toEqual([0, 1, 2]);
  const supervisors = [new Supervisor(engine.settings), new Supervisor(engine.settings)];
  const worker = new Worker({ ...engine.settings, handlers: handlersOf(handlers) });
  for (const service of [...supervisors, worker]) await service.start();
  const { Client } = await import("../../src/engine/client/client.ts");
  const client = await Client.connect(engine.settings);
  const { runIds } = await client.submit(await client.register(chain("noop", "noop")), { count: 60 });
  expect(await client.waitAll(runIds)).toEqual({ COMPLETED: 60 });
  const { rows } = await engine.database.query("select distinct partition from hitzero.runs");
  expect(rows).toHaveLength(3);
  await client.close();
  for (const service of [worker, ...supervisors]) await service.stop();
});
