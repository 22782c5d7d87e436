/**
 * The simulation under faults: random workflows run by the real engine while calls and replies are lost, tokens repeated, leases
 * ended early, workers and supervisors lost, held up and replaced. Each record must be one that the reference allows.
 *
 * HITZERO_SIMULATION_RUNS and HITZERO_SIMULATION_SEED choose how many and which. The seed fixes workflows, commands and the plan of
 * faults; which call a fault meets depends on the moment.
 */
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { until } from "../support/until.ts";
import { Dice } from "./dice.ts";
import type { EngineRecord } from "./engine_record.ts";
import { type SimulatedCase, simulatedCase } from "./generator.ts";
import { type Behaviour, hangs } from "./model.ts";
import { RoughEngine } from "./rough_engine.ts";
import { type Subject, Subjects } from "./subjects.ts";
import { Watch } from "./watch.ts";

const runs = Number(process.env.HITZERO_SIMULATION_RUNS ?? 500);
const seed = Number(process.env.HITZERO_SIMULATION_SEED ?? Math.floor(Math.random() * 2 ** 31));
const GROUP = 50;
const GROUPS_AT_ONCE = 5;
const LIMIT_MS = 40_000;

/** A command that is given to a run some time after it was submitted. */
interface Command {
  kind: "cancel" | "pause" | "resume";
  afterMs: number;
}

interface Commanded extends Subject {
  commands: Command[];
}

let engine: RoughEngine;
let subjects: Subjects;
const dice = new Dice(seed + 2);
const disagreements: string[] = [];
let compared = 0;
const outcomes = new Map<string, number>();

beforeAll(async () => {
  engine = await RoughEngine.start(seed, watched);
  subjects = new Subjects(engine.client, engine.database, seed + 3);
});
afterAll(async () => {
  await subjects?.end();
  await engine?.stop();
  vi.restoreAllMocks();
  const { summary = "", total = 0 } = engine?.faults ?? {};
  const commands = [...outcomes].map(([what, times]) => `${what} ${times}`).join(", ");
  process.stdout.write(
    `simulation under faults: ${compared} runs, ${total} faults (${summary}), commands (${commands}), ${disagreements.length} disagreements, seed ${seed}\n`,
  );
});

const watch = new Watch();
/** Runs that are given commands: they take longer, so that there is something to command. */
const commanded = new Set<string>();

/** The handlers of a worker, with a duration. */
function watched(worker: string): Record<string, unknown> {
  return watch.handlers(worker, async ({ runId, params }) => {
    const { behaviour } = params as { behaviour: Behaviour };
    const lasts = durationOf(runId);
    if (lasts > 0 && !hangs(behaviour)) await sleep(lasts);
  });
}

function durationOf(runId: string): number {
  if (commanded.has(runId)) return dice.between(30, 150);
  if (dice.chance(0.5)) return 0;
  return dice.chance(0.05) ? dice.between(100, 700) : dice.between(1, 30);
}

function drawCommands(limited: boolean): Command[] {
  const first = dice.between(0, 60);
  if (dice.chance(limited ? 0.3 : 0.12)) return [{ kind: "cancel", afterMs: first }];
  if (!dice.chance(0.1)) return [];
  const last = first + dice.between(0, 400);
  const commands: Command[] = [
    { kind: "pause", afterMs: first },
    { kind: dice.chance(0.2) ? "cancel" : "resume", afterMs: last },
  ];
  // One too many of them is refused.
  if (dice.chance(0.2)) commands.splice(1, 0, { kind: "pause", afterMs: first });
  if (dice.chance(0.2)) commands.push({ kind: "resume", afterMs: last });
  return commands;
}

async function submit(sample: SimulatedCase): Promise<Commanded> {
  const commands = drawCommands(sample.workflow.max_parallel_nodes !== undefined);
  const subject = await subjects.submit(sample);
  if (commands.length > 0) commanded.add(subject.runId);
  return { ...subject, commands };
}

/** Gives a run its commands. One that comes too late is refused, which is right. */
async function command({ runId, commands }: Commanded): Promise<void> {
  const from = Date.now();
  for (const { kind, afterMs } of commands) {
    await sleep(Math.max(0, from + afterMs - Date.now()));
    await engine.client[kind](runId).catch((error: { code?: string }) => {
      if (error.code !== "RUN_FINAL") throw error;
    });
  }
}

async function runGroup(samples: readonly SimulatedCase[]): Promise<void> {
  const group: Commanded[] = [];
  const given: Promise<void>[] = [];
  for (const sample of samples) {
    const subject = await submit(sample);
    group.push(subject);
    given.push(command(subject));
  }
  await Promise.all(given);
  const runIds = group.map(({ runId }) => runId);
  const ended = await engine.client.waitAll(runIds, { pollMs: 50, signal: AbortSignal.timeout(LIMIT_MS) });
  const hanging = runIds.length - Object.values(ended).reduce((total, count) => total + count, 0);
  if (hanging > 0) disagreements.push(`${hanging} runs hang`);
  for (const { subject, record, found } of await subjects.compare(group, watch)) {
    compared += 1;
    if (found.length > 0) report(subject, record, found);
  }
}

function report(subject: Commanded, { record, events }: EngineRecord, found: readonly string[]): void {
  disagreements.push(`run ${subject.runId}: ${found.join("; ")}`);
  if (disagreements.length > 5) return;
  const { workflow, input, behaviours, commands } = subject;
  const told = events.map(
    ({ seq, event_type, node_id, scope }) => `${seq} ${event_type} ${node_id ?? ""}@${scope ?? ""}`,
  );
  process.stdout.write(
    `${found.join("\n")}\n${JSON.stringify({ workflow, input, behaviours, commands, record, told }).slice(0, 6_000)}\n`,
  );
}

test(`${runs} random runs under faults agree with the reference (seed ${seed})`, {
  timeout: 600_000,
}, async () => {
  const samples = fc.sample(simulatedCase(), { numRuns: runs, seed });
  const groups: SimulatedCase[][] = [];
  for (let first = 0; first < runs; first += GROUP) groups.push(samples.slice(first, first + GROUP));
  engine.begin();
  const runGroups = async (): Promise<void> => {
    for (let group = groups.shift(); group; group = groups.shift()) await runGroup(group);
  };
  await Promise.all(Array.from({ length: GROUPS_AT_ONCE }, runGroups));
  await engine.cease();
  expect(disagreements).toEqual([]);
  expect(compared).toBe(runs);
});

test("each command is applied once or refused, as the run's events say", async () => {
  const { rows } = await engine.database.query(
    `select c.kind, c.outcome, r.status, count(e.*) as told
     from hitzero.commands c join hitzero.runs r using (run_id) left join hitzero.event_log e on e.run_id = c.run_id
       and (e.data->>'command')::bigint = c.command_seq
       and e.event_type = case c.kind when 'cancel' then 'run_cancelling' when 'pause' then 'run_paused' else 'run_resumed' end
     group by c.command_seq, c.kind, c.outcome, r.status`,
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
  const ready = keys.ready("default");
  const drained = async () => (await redis.xlen(ready)) === 0;
  await until(drained, "what was repeated is consumed");
  const leftOver = async (): Promise<string[]> => {
    const all = await redis.keys("*");
    const ttls = await Promise.all(all.map((key) => redis.pttl(key)));
    return [
      ...new Set(all.filter((_key, index) => ttls[index] === -1).map((key) => key.split(":")[2] as string)),
    ];
  };
  const expected = ["ir", "journal", "meta", "nudge", "queues", "ready"];
  await until(
    async () => (await leftOver()).every((kind) => expected.includes(kind)),
    "runs are cleared away",
  ).catch(async () => expect(await leftOver()).toEqual(expected));
  const [pending] = (await redis.xpending(ready, "workers")) as [number];
  expect(pending).toBe(0);
});
