/**
 * The simulation: random workflows run by the real engine (real Redis, Postgres, supervisor, two workers), each record compared
 * with the reference interpreter. HITZERO_SIMULATION_RUNS and HITZERO_SIMULATION_SEED choose how many and which.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { compareRecord, type RecordedNode, type RunRecord } from "./compare.ts";
import type { Json } from "./expression.ts";
import { type SimulatedCase, simulatedCase } from "./generator.ts";
import * as handlers from "./handlers.ts";

const runs = Number(process.env.HITZERO_SIMULATION_RUNS ?? 300);
const seed = Number(process.env.HITZERO_SIMULATION_SEED ?? Math.floor(Math.random() * 2 ** 31));

let engine: TestEngine;
beforeAll(async () => {
  engine = await startEngine({ workers: 2, concurrency: 4, handlers });
});
afterAll(() => engine?.stop());

/** What Postgres holds of a run, with each execution's place in the order of events. */
async function recordOf(runId: string): Promise<RunRecord> {
  const run = await engine.client.getRun(runId);
  const { rows } = await engine.database.query<{ node_id: string; seq: number; event_type: string }>(
    "select node_id, seq, event_type from hitzero.event_log where run_id = $1 order by seq",
    [runId],
  );
  expect(rows.map(({ seq }) => seq)).toEqual(rows.map((_row, index) => index + 1));
  const order = new Map(rows.map(({ node_id, seq }) => [node_id, seq]));
  const nodes = (await engine.client.listNodes(runId)).map(
    (node): RecordedNode => ({
      node_id: node.node_id,
      status: node.status,
      reason: node.reason,
      output: node.output as Json,
      error: node.error,
      from_nodes: node.from_nodes,
      resolved_order: order.get(node.node_id) ?? null,
    }),
  );
  return { status: run.status, error: run.error as RunRecord["error"], output: run.output as Json, nodes };
}

async function disagreements({ workflow, input, behaviours, file }: SimulatedCase): Promise<string[]> {
  const registered = await engine.client.register({ ...file, name: "simulated" });
  const { runIds } = await engine.client.submit(registered, { input });
  const runId = runIds[0] as string;
  await engine.client.waitAll([runId], { pollMs: 5 });
  return compareRecord(workflow, input, behaviours, await recordOf(runId));
}

test(`${runs} random workflows agree with the reference (seed ${seed})`, { timeout: 300_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(simulatedCase(), async (simulated) => {
      expect(await disagreements(simulated)).toEqual([]);
    }),
    { numRuns: runs, seed, endOnFailure: false, interruptAfterTimeLimit: 240_000 },
  );
});

test("nothing of a finished run stays in Redis but its tombstone", async () => {
  const { RedisConnection } = await import("../../src/redis/connection.ts");
  const connection = await RedisConnection.open(engine.settings.redisUrl);
  try {
    const keys = await connection.redis.keys(`{${engine.settings.namespace}:*`);
    const kinds = new Set(keys.map((key) => key.split(":")[2]));
    expect([...kinds].sort()).toEqual(["gone", "ir", "journal", "meta", "queues", "ready"]);
    const ready = keys.find((key) => key.includes(":ready:")) as string;
    expect(await connection.redis.xlen(ready)).toBe(0);
    expect(
      await connection.redis.xlen(keys.find((key) => key.includes(":journal:")) as string),
    ).toBeLessThanOrEqual(1);
  } finally {
    connection.close();
  }
});
