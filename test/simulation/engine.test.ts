/**
 * The simulation: random workflows run by the real engine (real Redis, Postgres, supervisor, two workers), each record compared
 * with the reference interpreter. HITZERO_SIMULATION_RUNS and HITZERO_SIMULATION_SEED choose how many and which.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { compareRecord } from "./compare.ts";
import { type EngineRecord, readRecords } from "./engine_record.ts";
import { type SimulatedCase, simulatedCase } from "./generator.ts";
import * as handlers from "./handlers.ts";

const runs = Number(process.env.HITZERO_SIMULATION_RUNS ?? 300);
const seed = Number(process.env.HITZERO_SIMULATION_SEED ?? Math.floor(Math.random() * 2 ** 31));
/** Workflows that run at once. When one disagrees, all are made smaller as long as one still does. */
const group = Math.min(runs, 10);

let engine: TestEngine;
beforeAll(async () => {
  engine = await startEngine({ workers: 2, concurrency: 4, handlers });
});
afterAll(() => engine?.stop());

/** Runs them at once. */
async function disagreements(cases: readonly SimulatedCase[]): Promise<string[]> {
  const runIds: string[] = [];
  for (const { file, input } of cases) {
    const registered = await engine.client.register({ ...file, name: "simulated" });
    runIds.push(...(await engine.client.submit(registered, { input })).runIds);
  }
  await engine.client.waitAll(runIds, { pollMs: 10 });
  const records = await readRecords(engine.database, runIds);
  return cases.flatMap(({ workflow, input, behaviours }, index) => {
    const { record, faults } = records.get(runIds[index] as string) as EngineRecord;
    return [...faults, ...compareRecord(workflow, input, behaviours, record)];
  });
}

test(`${runs} random workflows agree with the reference (seed ${seed})`, { timeout: 300_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(simulatedCase(), { minLength: group, maxLength: group }), async (cases) => {
      expect(await disagreements(cases)).toEqual([]);
    }),
    { numRuns: Math.ceil(runs / group), seed, endOnFailure: false, interruptAfterTimeLimit: 240_000 },
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
