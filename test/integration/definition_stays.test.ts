/**
 * The definition of a workflow stays in Postgres: it is in no token, output, journal entry or key of a run.
 *
 * A marker is in every part of the definitions that nobody echoes. `MONITOR` shows each command that Redis gets, those of scripts
 * included, so that nothing is missed which is there for a moment only; besides, all keys are read while runs are in flight, when they
 * are performed and nobody has recorded them yet, and after their ends.
 */
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLog } from "../../src/base/log.ts";
import { Supervisor } from "../../src/engine/reader/supervisor.ts";
import { PartitionKeys } from "../../src/redis/keys.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { edges, fn } from "../support/flow.ts";
import { type PrivateRedis, startPrivateRedis } from "../support/redis.ts";
import { until, withinLimit } from "../support/until.ts";

/** Of the definitions. */
const MARKER = "marker7c1e5d";
/** Of the runs' inputs and outputs: these are in Redis, and must be found there. */
const INPUT = "input90ab3f";
const OUTPUT = "output4d2c8e";

const LONG = 120;
const HOUR_MS = 3_600_000;

let server: PrivateRedis;
let engine: TestEngine;
let redis: Redis;
let monitor: Redis;
/** Commands that Redis got, by what they contain. */
const sent = { commands: 0, [MARKER]: [] as string[], [INPUT]: 0, [OUTPUT]: 0 };
const gates: (() => void)[] = [];
let open = false;

beforeAll(async () => {
  server = await startPrivateRedis();
  redis = new Redis(server.url);
  monitor = await redis.monitor();
  monitor.on("monitor", (_time: string, args: string[]) => {
    sent.commands += 1;
    const text = args.join(" ");
    if (text.includes(MARKER)) sent[MARKER].push(text.slice(0, 2_000));
    if (text.includes(INPUT)) sent[INPUT] += 1;
    if (text.includes(OUTPUT)) sent[OUTPUT] += 1;
  });
  engine = await startEngine({
    redisUrl: server.url,
    concurrency: 32,
    handlers: {
      tell: () => ({ said: OUTPUT }),
      gate: async () => {
        if (!open) await new Promise<void>((resolve) => gates.push(resolve));
        return { said: OUTPUT };
      },
      list: () => [1, 2, 3],
      fail: () => {
        throw new Error("it broke");
      },
    },
  });
});
afterAll(async () => {
  openGates();
  await engine?.stop();
  monitor?.disconnect();
  redis?.disconnect();
  await server?.stop();
});

function openGates(): void {
  open = true;
  for (const resolve of gates.splice(0)) resolve();
}

/** A condition that is true and quotes the marker. */
const TRUE = `input.word != '${MARKER}' && vars.secret == '${MARKER}'`;

/** Its params and each further property of its config name the marker. */
const marked = (id: string, name: string, more: object = {}) => {
  const node = fn(id, name, { note: MARKER, [MARKER]: [MARKER] }, more);
  return { ...node, config: { ...node.config, remark: MARKER } };
};

const when = (from: string, to: string) => ({ from, to, condition: TRUE });

function definition(name: string, nodes: object[], links: object[], more: object = {}): object {
  return {
    name: `${name} ${MARKER}`,
    description: MARKER,
    metadata: { description: MARKER, tags: [MARKER], owner: MARKER, version: MARKER },
    input_schema: { type: "object", description: MARKER },
    vars: { secret: MARKER },
    output: `vars.secret == '${MARKER}' ? 'done' : 'never'`,
    nodes,
    edges: links,
    ...more,
  };
}

const SEQUENTIAL = definition(
  "sequential",
  [
    marked("a", "tell", { input: `vars.secret == '${MARKER}' ? input : null` }),
    marked("held", "gate", { compensate_with: { function_name: "tell", params: { note: MARKER } } }),
    marked("c", "tell"),
  ],
  [when("a", "held"), when("held", "c")],
);

/** A group of branches, of which two at once have room: the others are parked. */
const PARALLEL = definition(
  "parallel",
  [
    { id: "group", type: "parallel" },
    ...["p", "q", "r", "s"].map((id) => marked(id, "gate")),
    marked("broken", "fail", { retry: { max_attempts: 2, backoff_ms: 1 } }),
    { id: "join", type: "aggregate", trigger_rule: "all_done", config: { strategy: "merge" } },
    {
      id: "choose",
      type: "conditional",
      config: { mode: "all", evaluation_field: MARKER, validation_rules: [MARKER] },
    },
    marked("yes", "tell"),
    { id: "no", type: "http", config: { url: `http://127.0.0.1:1/${MARKER}` } },
    marked("mend", "tell"),
  ],
  [
    ...["p", "q", "r", "s"].flatMap((id) => [when("group", id), { from: id, to: "join" }]),
    ...edges("group -> broken", "join -> choose"),
    { from: "broken", to: "mend", on: "failure" },
    when("choose", "yes"),
    { from: "choose", to: "no", condition: `vars.secret != '${MARKER}'` },
  ],
  { max_parallel_nodes: 2, timeout_ms: HOUR_MS },
);

const NAMES = Array.from({ length: LONG }, (_, index) => `n${index + 1}`);
const LARGE = definition(
  "large",
  NAMES.map((id) => marked(id, id === "n60" ? "gate" : "tell", { timeout_ms: HOUR_MS })),
  NAMES.slice(1).map((to, index) => when(NAMES[index] as string, to)),
);

/** A map with a body, and a loop around it. */
const MAP = definition(
  "map",
  [
    marked("list", "list"),
    {
      id: "each",
      type: "map",
      config: {
        items: `vars.secret == '${MARKER}' ? data : []`,
        complete_when: `vars.secret == '${MARKER}' && completed == 3`,
        body: { nodes: [marked("held", "gate"), marked("after", "tell")], edges: [when("held", "after")] },
      },
    },
    {
      id: "again",
      type: "loop",
      config: {
        loop_back_to: "list",
        condition: `vars.secret == '${MARKER}' && loop.iteration < 2`,
        params: { note: MARKER },
      },
    },
    { id: "sum", type: "transform", config: { expression: `vars.secret == '${MARKER}' ? size(data) : 0` } },
  ],
  edges("list -> each -> again -> sum"),
);

const WAITING = definition(
  "waiting",
  [
    { id: "ask", type: "approval", config: { name: "go", schema: { description: MARKER } } },
    { id: "timer", type: "wait", config: { duration_ms: HOUR_MS } },
    marked("tried", "fail", { retry: { max_attempts: 2, backoff_ms: HOUR_MS, max_backoff_ms: HOUR_MS } }),
    marked("last", "tell"),
  ],
  [when("ask", "last")],
);

const WORKFLOWS = { SEQUENTIAL, PARALLEL, LARGE, MAP, WAITING };
/** Executions that wait in gates: of sequential and large one, of the group two, of the map its three items. */
const HELD = 1 + 2 + 1 + 3;

/** Every key with all that it holds, as text. */
async function everything(): Promise<string[]> {
  const found: string[] = [];
  for await (const keys of redis.scanStream({ match: "*", count: 1_000 }))
    for (const key of keys as string[]) found.push(`${key} ${JSON.stringify(await contentOf(key))}`);
  return found;
}

async function contentOf(key: string): Promise<unknown> {
  switch (await redis.type(key)) {
    case "string":
      return redis.get(key);
    case "hash":
      return redis.hgetall(key);
    case "list":
      return redis.lrange(key, 0, -1);
    case "set":
      return redis.smembers(key);
    case "zset":
      return redis.zrange(key, 0, -1, "WITHSCORES");
    case "stream":
      return [await redis.xrange(key, "-", "+"), await redis.xinfo("STREAM", key, "FULL")];
    case "none":
      return null;
    default:
      throw new Error(`${key} is of a kind that this test does not read`);
  }
}

/** Asserts that no key holds the marker; returns what there is. */
async function unmarked(): Promise<string[]> {
  const all = await everything();
  expect(all.filter((text) => text.includes(MARKER))).toEqual([]);
  return all;
}

async function isPerformed(keys: PartitionKeys): Promise<boolean> {
  const asked = redis.multi().zcard(keys.leases);
  for (const stream of await redis.keys(`${keys.ready("")}*`)) asked.xlen(stream);
  return (await asked.exec())?.every(([, count]) => count === 0) === true;
}

const holding = (all: readonly string[], key: string, text = "") =>
  all.filter((one) => one.startsWith(key) && one.includes(text));

test("no key, and no command that is sent to Redis, names what is written in a definition", async () => {
  const { client, database, settings } = engine;
  const keys = new PartitionKeys(settings.namespace, 0, "1");
  const runIds = await Promise.all(
    Object.values(WORKFLOWS).map(async (document) => {
      const workflow = await client.register(document);
      return (await client.submit(workflow, { input: { word: INPUT } })).runIds[0] as string;
    }),
  );
  const waiting = runIds.at(-1) as string;
  const [, parallel] = runIds as [string, string];
  await until(
    async () => gates.length === HELD && (await redis.llen(keys.parked(parallel))) > 0,
    "all gates",
  );
  await until(
    async () => (await redis.zcard(keys.timers)) >= 3,
    "a wait, a retry and the group's time limit",
  );

  const inFlight = await unmarked();
  for (const runId of runIds) expect(holding(inFlight, keys.run(runId), INPUT)).toHaveLength(1);
  expect(holding(inFlight, keys.parked(parallel))).toHaveLength(1);
  expect(holding(inFlight, keys.leases)).toHaveLength(1);
  expect(holding(inFlight, keys.ir(""))).toHaveLength(runIds.length);

  // Without a reader the journal and the runs' keys stay when they are performed.
  await engine.supervisor.stop();
  openGates();
  await until(() => isPerformed(keys), "no token waits for a worker, and none is held");
  const performed = await unmarked();
  expect(holding(performed, keys.journal, OUTPUT)).toHaveLength(1);
  for (const runId of runIds) expect(holding(performed, keys.run(runId), INPUT)).toHaveLength(1);

  const supervisor = new Supervisor({ ...settings, log: createLog("silent") });
  await supervisor.start();
  try {
    await client.signal(waiting, { name: "go", payload: { approved: true } });
    await until(
      async () => (await client.listNodes(waiting)).some(({ node_id }) => node_id === "last"),
      "the last node has begun",
    );
    await client.cancel(waiting);
    const ended = await Promise.all(runIds.map((runId) => client.wait(runId, { signal: withinLimit() })));
    expect(ended.map(({ status }) => status)).toEqual([...Array(4).fill("COMPLETED"), "CANCELLED"]);
    const over = await unmarked();
    for (const runId of runIds) expect(holding(over, keys.tombstone(runId))).toHaveLength(1);
  } finally {
    await supervisor.stop();
  }

  expect(sent[MARKER]).toEqual([]);
  expect({ input: sent[INPUT], output: sent[OUTPUT] }).toEqual({
    input: expect.toSatisfy((times: number) => times >= runIds.length),
    output: expect.toSatisfy((times: number) => times >= LONG / 16),
  });
  const { rows } = await database.query<{ marked: number }>(
    "select count(*)::int as marked from hitzero.workflow_versions where definition::text like $1",
    [`%${MARKER}%`],
  );
  expect(rows[0]?.marked).toBe(runIds.length);
});
