/**
 * The simulation: random workflows run by the real engine (real Redis, Postgres, supervisor, two workers), each record compared
 * with the reference interpreter. HITZERO_SIMULATION_RUNS and HITZERO_SIMULATION_SEED choose how many and which.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { kindOf } from "../support/redis.ts";
import { until, withinLimit } from "../support/until.ts";
import { Dice } from "./dice.ts";
import { type SimulatedCase, simulatedCase } from "./generator.ts";
import { smallLimits } from "./small_limits.ts";
import { Subjects } from "./subjects.ts";
import { Watch } from "./watch.ts";

const runs = Number(process.env.HITZERO_SIMULATION_RUNS ?? 30);
const seed = Number(process.env.HITZERO_SIMULATION_SEED ?? 2026);

/** A run that takes longer hangs. */

let engine: TestEngine;
let subjects: Subjects;
const watch = new Watch();
beforeAll(async () => {
  engine = await startEngine({
    queues: [["default", "left"], ["right"]],
    limits: smallLimits(new Dice(seed)),
    concurrency: 4,
    handlers: watch.handlers("worker"),
  });
  subjects = new Subjects(engine.client, engine.database, seed);
});
afterAll(async () => {
  await subjects?.end();
  await engine?.stop();
});

async function disagreements(simulated: SimulatedCase): Promise<string[]> {
  const subject = await subjects.submit(simulated);
  const ended = await engine.client.waitAll([subject.runId], {
    pollMs: 5,
    signal: withinLimit(),
  });
  if (Object.keys(ended).length === 0) return ["the run hangs"];
  const [compared] = await subjects.compare([subject], watch);
  return compared?.found ?? [];
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
    const kinds = new Set(keys.map(kindOf));
    // Blobs of a run vanish by themselves, and so do leases of what was withdrawn.
    for (const kind of ["nudge", "blob", "leases", "workers", "listings", "last_words", "suspects"])
      kinds.delete(kind);
    expect([...kinds].sort()).toEqual(["gone", "ir", "journal", "meta", "queues", "ready"]);
    // What tidied a run may be under way when it is over.
    for (const ready of keys.filter((key) => key.includes(":ready:")))
      await until(async () => (await connection.redis.xlen(ready)) === 0, `${ready} is empty`);
    expect(
      await connection.redis.xlen(keys.find((key) => kindOf(key) === "journal") as string),
    ).toBeLessThanOrEqual(1);
  } finally {
    connection.close();
  }
});
