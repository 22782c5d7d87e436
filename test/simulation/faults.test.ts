/**
 * The simulation under faults: random workflows run by the real engine while calls and replies are lost, tokens repeated, leases
 * ended early, workers and supervisors lost, held up and replaced. Each record must be one that the reference allows.
 *
 * HITZERO_SIMULATION_RUNS and HITZERO_SIMULATION_SEED choose how many and which. The seed fixes workflows, commands and the plan of
 * faults; which call a fault meets depends on the moment.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { SETTLE_QUEUE } from "../../src/redis/keys.ts";
import { kindOf } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { Campaign } from "./campaign.ts";
import { QUEUES } from "./genes.ts";
import { RoughEngine } from "./rough_engine.ts";

const runs = Number(process.env.HITZERO_SIMULATION_RUNS ?? 500);
const seed = Number(process.env.HITZERO_SIMULATION_SEED ?? 2026);

const campaign = new Campaign({ seed, rough: true });
const outcomes = new Map<string, number>();
let engine: RoughEngine;

beforeAll(async () => {
  engine = await RoughEngine.start(seed, (worker) => campaign.handlers(worker));
});
afterAll(async () => {
  await engine?.stop();
  const { summary = "", total = 0 } = engine?.faults ?? {};
  const commands = [...outcomes].map(([what, times]) => `${what} ${times}`).join(", ");
  const { compared, disagreements } = campaign;
  process.stdout.write(
    `simulation under faults: ${compared} runs, ${total} faults (${summary}), commands (${commands}), ${disagreements.length} disagreements, seed ${seed}\n`,
  );
});

test(`${runs} random runs under faults agree with the reference (seed ${seed})`, {
  timeout: 600_000,
}, async () => {
  engine.begin();
  await campaign.run(engine, runs);
  await engine.cease();
  expect(campaign.disagreements).toEqual([]);
  expect(campaign.compared).toBe(runs);
});

test("each command is applied once or refused, as the run's events say", async () => {
  const { rows } = await engine.database.query(
    `select c.kind, c.outcome, r.status, count(e.*) as told
     from hitzero.commands c join hitzero.runs r using (run_id) left join hitzero.event_log e on e.run_id = c.run_id
       and (e.data->>'command')::bigint = c.command_seq
       and e.event_type = case c.kind when 'cancel' then 'run_cancelling' when 'pause' then 'run_paused' else 'run_resumed' end
     where c.kind <> 'signal' group by c.command_seq, c.kind, c.outcome, r.status`,
  );
  const wrong = rows.filter(
    ({ outcome, told }) => (outcome === "applied") !== (Number(told) === 1) || outcome === null,
  );
  expect(wrong).toEqual([]);
  const count = (what: string) => outcomes.set(what, (outcomes.get(what) ?? 0) + 1);
  for (const { kind, outcome } of rows) count(`${kind} ${outcome}`);
});

test("nothing of a finished run stays in Redis but its tombstone, and blobs that vanish by themselves", async () => {
  const { connection, keys } = engine.partition;
  const { redis } = connection;
  const streams = [SETTLE_QUEUE, ...QUEUES].map((queue) => keys.ready(queue));
  const drained = async () =>
    (await Promise.all(streams.map((ready) => redis.xlen(ready)))).every((left) => left === 0);
  await until(drained, "what was repeated is consumed");
  const leftOver = async (): Promise<string[]> => {
    const all = await redis.keys("*");
    const ttls = await Promise.all(all.map((key) => redis.pttl(key)));
    return [...new Set(all.filter((_key, index) => ttls[index] === -1).map(kindOf))];
  };
  const expected = [
    "ir",
    "journal",
    "last_words",
    "listings",
    "meta",
    "nudge",
    "queues",
    "ready",
    "suspects",
    "workers",
  ];
  await until(
    async () => (await leftOver()).every((kind) => expected.includes(kind)),
    "runs are cleared away",
  ).catch(async () => expect(await leftOver()).toEqual(expected));
  const pending = await Promise.all(streams.map((ready) => redis.xpending(ready, "workers")));
  expect(pending.map(([count]) => count)).toEqual(streams.map(() => 0));
});
