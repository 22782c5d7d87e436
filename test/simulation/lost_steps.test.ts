/**
 * Steps that get lost, or whose replies do, and nothing else: the worker asks again and is told what it is owed, so that no token
 * has to wait for a lease to end. (Under all faults together the leases would mend it, and hide it.)
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LIMIT_MS, withinLimit } from "../support/until.ts";
import type { EngineRecord } from "./engine_record.ts";
import { LOST_STEPS } from "./faults.ts";
import { simulatedCase } from "./generator.ts";
import { RoughEngine } from "./rough_engine.ts";
import { Subjects } from "./subjects.ts";
import { Watch } from "./watch.ts";

const RUNS = 60;
/** No lease ends within the test. */
const LEASE_MS = 2 * LIMIT_MS;
const seed = Number(process.env.HITZERO_SIMULATION_SEED ?? 2026);

const watch = new Watch();
let engine: RoughEngine;
beforeAll(async () => {
  engine = await RoughEngine.start(seed, (worker) => watch.handlers(worker), {
    rates: LOST_STEPS,
    leaseMs: LEASE_MS,
  });
});
afterAll(async () => {
  await engine?.stop();
});

test(`lost steps and lost replies cost no delivery, and no handler is called twice (seed ${seed})`, async () => {
  const subjects = new Subjects(engine.client, engine.database, seed);
  const runIds: string[] = [];
  for (const simulated of fc.sample(simulatedCase(), { numRuns: RUNS, seed }))
    runIds.push((await subjects.submit(simulated)).runId);
  await engine.client.waitAll(runIds, { signal: withinLimit() });
  await subjects.end();
  const records = await subjects.records(runIds);
  for (const runId of runIds) {
    const { record, events, faults } = records.get(runId) as EngineRecord;
    expect([record.status, faults]).toEqual([expect.stringMatching("COMPLETED|FAILED"), []]);
    expect(events.filter(({ event_type }) => event_type === "node_redelivered")).toEqual([]);
    expect(watch.repeatedTries(runId)).toEqual([]);
  }
  expect(engine.faults.total).toBeGreaterThan(RUNS / 2);
});
