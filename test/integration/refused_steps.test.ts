/** A call that a script refuses: the execution at fault fails, or its run ends; whoever was in the same call, and the partition, go on. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import type { Partition } from "../../src/redis/partition.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { edges, fn } from "../support/flow.ts";
import { until } from "../support/until.ts";

const gates = new Map<string, () => void>();
const handlers = {
  fine: () => "fine",
  gate: ({ runId, nodeId }: { runId: string; nodeId: string }) =>
    new Promise((resolve) => gates.set(`${runId}/${nodeId}`, () => resolve("open"))),
};

let engine: TestEngine;
let connection: RedisConnection;
let partition: Partition;
beforeAll(async () => {
  engine = await startEngine({ handlers, leaseMs: 600, unclaimedMs: 600 });
  connection = await RedisConnection.open(engine.settings.redisUrl);
  partition = engine.partition(connection);
  await partition.refresh();
});
afterAll(async () => {
  connection?.close();
  await engine?.stop();
});

async function submit(document: object, count = 1): Promise<string[]> {
  return (await engine.client.submit(await engine.client.register(document), { count })).runIds;
}

/** Both servers agree about the end of a run that could not go on. */
async function endedAsRefused(runId: string): Promise<void> {
  const run = await engine.client.wait(runId);
  expect(run).toMatchObject({ status: "FAILED", error: { code: "STEP_REFUSED" } });
  const { rows } = await engine.database.query(
    "select seq, code, raw from hitzero.refused_entries where run_id = $1",
    [runId],
  );
  expect(rows).toMatchObject([{ seq: null, code: "STEP_REFUSED" }]);
  await until(
    async () => (await connection.redis.exists(partition.keys.run(runId))) === 0,
    "Redis forgot it",
  );
}

/** The state of the run breaks while its node is at its gate. */
async function broken(document: object, field: string, value: string, count = 1): Promise<string[]> {
  const runIds = await submit(document, count);
  await until(() => runIds.every((id) => gates.has(`${id}/a`)), "all are at their gate");
  await connection.redis.hset(partition.keys.run(runIds[0] as string), field, value);
  for (const id of runIds) (gates.get(`${id}/a`) as () => void)();
  return runIds;
}

test("the execution at fault fails with STEP_REFUSED, which an edge may handle; the others in its call are done", async () => {
  const document = {
    name: "handled",
    nodes: [fn("a", "gate", {}, { compensate_with: { function_name: "fine" } }), fn("b", "fine")],
    edges: [{ from: "a", to: "b", on: "failure" }],
  };
  // What a completed step with a compensation reads, and a failed one does not.
  const runIds = await broken(document, "K", "junk", 4);
  expect(await engine.client.waitAll(runIds)).toEqual({ COMPLETED: 4 });
  const [a, b] = await engine.client.listNodes(runIds[0] as string);
  expect(a).toMatchObject({ status: "FAILED", error: { code: "STEP_REFUSED" } });
  expect(b).toMatchObject({ node_id: "b", status: "COMPLETED" });
});

test("a run that cannot even fail ends, the others go on", async () => {
  const document = { name: "ends", nodes: [fn("a", "gate"), fn("b", "fine")], edges: edges("a -> b") };
  const [bad, ...others] = await broken(document, "c", "many", 4);
  await endedAsRefused(bad as string);
  expect(await engine.client.waitAll(others)).toEqual({ COMPLETED: 3 });
});

test("the reader's calls: what one run breaks does not stop timers, cancels and the upkeep of the others", async () => {
  const document = {
    name: "waits",
    nodes: [{ id: "a", type: "wait", config: { duration_ms: 3_600_000 } }, fn("b", "fine")],
    edges: edges("a -> b"),
  };
  const runIds = await submit(document, 3);
  const waiting = async () =>
    (
      await engine.database.query(
        "select 1 from hitzero.node_executions where run_id = any ($1::uuid[]) and status = 'WAITING'",
        [runIds],
      )
    ).rows.length;
  await until(async () => (await waiting()) === 3, "all wait");
  const [swept, timed, other] = runIds as [string, string, string];
  // A command that breaks on the run's state; a timer of nobody that breaks the call for all that are due.
  await connection.redis.hset(partition.keys.run(swept), "c", "many");
  await engine.client.cancel(swept);
  await endedAsRefused(swept);
  const members = await connection.redis.zrange(partition.keys.timers, 0, -1);
  const own = (runId: string) => members.find((member) => member.includes(runId)) as string;
  await connection.redis.zadd(partition.keys.timers, 1, "junk", 1, own(timed), 1, own(other));
  expect(await engine.client.waitAll([timed, other])).toEqual({ COMPLETED: 2 });
  expect(await connection.redis.zscore(partition.keys.timers, "junk")).toBeNull();
});

test("leases: of tokens that cannot be handed out again those at fault go, the rest is", async () => {
  const document = { name: "lost", nodes: [fn("a", "gate")], edges: [] };
  const [bad, other] = (await submit(document, 2)) as [string, string];
  await until(() => gates.has(`${bad}/a`) && gates.has(`${other}/a`), "both are at their gate");
  const ends = [gates.get(`${bad}/a`), gates.get(`${other}/a`)];
  gates.delete(`${other}/a`);
  await engine.workers[0]?.abandon();
  await connection.redis.hset(partition.keys.run(bad), "c", "many");
  await connection.redis.zadd(partition.keys.leases, 1, "junk");
  await endedAsRefused(bad);
  expect(
    await until(
      async () => (await connection.redis.zscore(partition.keys.leases, "junk")) === null,
      "it is gone",
    ),
  ).toBe(true);
  for (const end of ends) end?.();
});
