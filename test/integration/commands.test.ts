/** Cancel, pause, resume, time limits, fail_fast and max_parallel_nodes through the whole engine. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../../src/engine/limits.ts";
import { acceptCommand } from "../../src/postgres/commands.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { nudgeReader } from "../../src/redis/scripts/nudge.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { until, withinLimit } from "../support/until.ts";

type Context = { nodeId: string; runId: string; signal: AbortSignal; params: Record<string, number> };

let engine: TestEngine;
let atOnce = 0;
let mostAtOnce = 0;
const gates = new Map<string, () => void>();
const aborted: string[] = [];
const performed: string[] = [];

const handlers = {
  noop: ({ nodeId }: Context) => {
    performed.push(nodeId);
    return nodeId;
  },
  gate: ({ nodeId, signal }: Context) =>
    new Promise<string>((resolve, reject) => {
      gates.set(nodeId, () => resolve("open"));
      signal.addEventListener("abort", () => {
        aborted.push(nodeId);
        reject(signal.reason);
      });
    }),
  deaf: ({ nodeId }: Context) => new Promise<string>((resolve) => gates.set(nodeId, () => resolve("open"))),
  fail: () => {
    throw new Error("it broke");
  },
  busy: async ({ params }: Context) => {
    atOnce += 1;
    mostAtOnce = Math.max(mostAtOnce, atOnce);
    await new Promise((resolve) => setTimeout(resolve, params.ms));
    atOnce -= 1;
  },
};

beforeAll(async () => {
  engine = await startEngine({ workers: 2, concurrency: 4, handlers });
});
afterAll(() => engine?.stop());
beforeEach(() => {
  gates.clear();
  aborted.length = 0;
  performed.length = 0;
});

const node = (id: string, function_name = "noop", more: object = {}) => ({
  id,
  type: "function",
  config: { function_name, params: { ms: 20 } },
  ...more,
});
const edges = (...texts: string[]) =>
  texts.map((text) => {
    const [from, to] = text.split(" -> ");
    return { from, to };
  });

async function submit(document: object): Promise<string> {
  const workflow = await engine.client.register({ name: "commanded", edges: [], ...document });
  return (await engine.client.submit(workflow, {})).runIds[0] as string;
}

async function ended(runId: string) {
  const run = await engine.client.wait(runId);
  const nodes = Object.fromEntries((await engine.client.listNodes(runId)).map((row) => [row.node_id, row]));
  return {
    run,
    nodes,
    statuses: Object.fromEntries(Object.entries(nodes).map(([id, { status }]) => [id, status])),
  };
}

const commandsOf = async (runId: string) =>
  (
    await engine.database.query(
      "select kind, outcome from hitzero.commands where run_id = $1 order by command_seq",
      [runId],
    )
  ).rows;

describe("cancel", () => {
  test("aborts handlers, keeps what completed, cancels what waits, and is on record", async () => {
    const runId = await submit({
      nodes: [node("a"), node("b", "gate"), node("c"), node("d", "gate")],
      edges: edges("a -> b", "b -> c", "a -> d"),
    });
    await until(() => gates.size === 2, "both handlers run");
    await engine.client.cancel(runId);
    const { run, statuses, nodes } = await ended(runId);
    expect(run).toMatchObject({ status: "CANCELLED", error: { code: "CANCELLED" } });
    expect(statuses).toEqual({ a: "COMPLETED", b: "CANCELLED", c: "CANCELLED", d: "CANCELLED" });
    expect(nodes.b?.error).toMatchObject({ code: "RUN_HALTED" });
    expect(aborted.sort()).toEqual(["b", "d"]);
    expect(await commandsOf(runId)).toEqual([{ kind: "cancel", outcome: "applied" }]);
  });

  test("a success that still arrives is recorded; a handler that does not listen is left alone", async () => {
    const runId = await submit({ nodes: [node("deaf", "deaf"), node("next")], edges: edges("deaf -> next") });
    await until(() => gates.size === 1, "the handler runs");
    await engine.client.cancel(runId);
    expect((await ended(runId)).statuses).toEqual({ deaf: "CANCELLED", next: "CANCELLED" });
    (gates.get("deaf") as () => void)();
    expect((await ended(runId)).run.status).toBe("CANCELLED");
  });

  test("reaches tokens that no worker has a slot for, retries that wait, and runs that wait for their start", async () => {
    const busy = await submit({
      nodes: Array.from({ length: 8 }, (_value, index) => node(`g${index}`, "gate")),
    });
    await until(() => gates.size === 8, "all slots are taken");
    const queued = await submit({ nodes: [node("a")] });
    await engine.client.cancel(queued);
    expect((await ended(queued)).statuses).toEqual({ a: "CANCELLED" });
    for (const open of gates.values()) open();
    expect((await ended(busy)).run.status).toBe("COMPLETED");
    const retrying = await submit({
      nodes: [node("a", "fail", { retry: { max_attempts: 2, backoff_ms: 60_000 } })],
    });
    await until(
      async () => (await engine.client.listNodes(retrying))[0]?.status === "RETRYING",
      "the retry waits",
    );
    await engine.client.cancel(retrying);
    expect((await ended(retrying)).statuses).toEqual({ a: "CANCELLED" });
  });

  test("of a run that is over is refused with its status, and of an unknown one too", async () => {
    const runId = await submit({ nodes: [node("a")] });
    await ended(runId);
    await expect(engine.client.cancel(runId)).rejects.toMatchObject({
      code: "RUN_FINAL",
      message: expect.stringContaining("COMPLETED"),
    });
    await expect(engine.client.cancel(crypto.randomUUID())).rejects.toMatchObject({ code: "RUN_NOT_FOUND" });
  });

  test("of a run that ended meanwhile is refused, also when Redis has long forgotten the run", async () => {
    const runId = await submit({ nodes: [node("a")] });
    const { run } = await ended(runId);
    const connection = await RedisConnection.open(engine.settings.redisUrl);
    try {
      const partition = engine.partition(connection);
      await until(
        async () => (await connection.redis.del(partition.keys.tombstone(runId))) === 1,
        "Redis has forgotten it",
      );
      // What stands open when no reader was there to apply it.
      const command = { commandId: crypto.randomUUID(), runId, partition: 0, kind: "cancel" } as const;
      await acceptCommand(engine.database, command);
      await nudgeReader(partition);
    } finally {
      connection.close();
    }
    await until(async () => (await commandsOf(runId))[0]?.outcome ?? undefined, "the command is answered");
    expect(await commandsOf(runId)).toEqual([{ kind: "cancel", outcome: "refused: the run is over" }]);
    expect(await engine.client.getRun(runId)).toEqual(run);
    const refused = await engine.database.query("select 1 from hitzero.refused_entries where run_id = $1", [
      runId,
    ]);
    expect(refused.rows).toEqual([]);
  });

  test("twice with the same id is one command", async () => {
    const runId = await submit({ nodes: [node("a", "gate")] });
    const commandId = crypto.randomUUID();
    await engine.client.command(runId, "cancel", commandId);
    await engine.client.command(runId, "cancel", commandId).catch(() => {});
    expect((await ended(runId)).run.status).toBe("CANCELLED");
    expect(await commandsOf(runId)).toHaveLength(1);
  });
});

describe("pause", () => {
  test("hands nothing new out until resume; what runs may end meanwhile", async () => {
    const runId = await submit({
      nodes: [node("a", "gate"), node("b"), node("c")],
      edges: edges("a -> b", "b -> c"),
    });
    await until(() => gates.size === 1, "a runs");
    await engine.client.pause(runId);
    await until(async () => (await engine.client.getRun(runId)).status === "PAUSED", "the run is paused");
    (gates.get("a") as () => void)();
    await until(
      async () => (await engine.client.listNodes(runId))[0]?.status === "COMPLETED",
      "a is on record",
    );
    expect(performed).toEqual([]);
    await engine.client.resume(runId);
    const { run, statuses } = await ended(runId);
    expect(run.status).toBe("COMPLETED");
    expect(statuses).toEqual({ a: "COMPLETED", b: "COMPLETED", c: "COMPLETED" });
    expect((await commandsOf(runId)).map(({ kind, outcome }) => `${kind} ${outcome}`)).toEqual([
      "pause applied",
      "resume applied",
    ]);
  });

  test("holds the end of a run back until resume", async () => {
    const runId = await submit({ nodes: [node("a", "gate")] });
    await until(() => gates.size === 1, "a runs");
    await engine.client.pause(runId);
    await until(async () => (await engine.client.getRun(runId)).status === "PAUSED", "the run is paused");
    (gates.get("a") as () => void)();
    await until(
      async () => (await engine.client.listNodes(runId))[0]?.status === "COMPLETED",
      "a is on record",
    );
    expect((await engine.client.getRun(runId)).status).toBe("PAUSED");
    await engine.client.resume(runId);
    expect((await ended(runId)).run).toMatchObject({ status: "COMPLETED", output: "open" });
  });

  test("of a paused run is refused, as is a resume of one that is not paused: no event, no change", async () => {
    const runId = await submit({ nodes: [node("a", "gate")] });
    await until(() => gates.size === 1, "a runs");
    for (const kind of ["resume", "pause", "pause", "resume", "resume"] as const) {
      await engine.client.command(runId, kind);
    }
    await until(
      async () => (await commandsOf(runId)).every(({ outcome }) => outcome !== null),
      "all are closed",
    );
    expect((await commandsOf(runId)).map(({ kind, outcome }) => `${kind} ${outcome}`)).toEqual([
      "resume refused: the run is not paused",
      "pause applied",
      "pause refused: the run is paused already",
      "resume applied",
      "resume refused: the run is not paused",
    ]);
    (gates.get("a") as () => void)();
    await ended(runId);
    const told = await engine.client.listEvents(runId);
    expect(
      told.map(({ event_type }) => event_type).filter((type) => /^run_(paused|resumed)$/.test(type)),
    ).toEqual(["run_paused", "run_resumed"]);
  });

  test("is applied once though its reply is lost; what was refused is refused again", async () => {
    const runId = await submit({ nodes: [node("a", "gate")] });
    await until(() => gates.size === 1, "a runs");
    const connection = await RedisConnection.open(engine.settings.redisUrl);
    const partition = engine.partition(connection);
    await partition.refresh();
    const commands = [
      "pause 1",
      "pause 1",
      "pause 2",
      "pause 2",
      "resume 3",
      "resume 3",
      "resume 4",
      "pause 2",
    ];
    const words: string[] = [];
    for (const command of commands) {
      const [kind, seq] = command.split(" ") as ["pause" | "resume", string];
      words.push(await applyCommand(partition, runId, kind, 1_000_000 + Number(seq)));
    }
    expect(words).toEqual([
      ...["applied", "repeated", "paused", "paused"],
      ...["applied", "repeated", "not_paused", "repeated"],
    ]);
    connection.close();
    (gates.get("a") as () => void)();
    expect((await ended(runId)).run.status).toBe("COMPLETED");
  });

  test("can be cancelled", async () => {
    const runId = await submit({ nodes: [node("a", "gate"), node("b")], edges: edges("a -> b") });
    await until(() => gates.size === 1, "a runs");
    await engine.client.pause(runId);
    await until(async () => (await engine.client.getRun(runId)).status === "PAUSED", "the run is paused");
    await engine.client.cancel(runId);
    expect((await ended(runId)).run.status).toBe("CANCELLED");
  });
});

test("commands that one look does not take are applied without waiting for the next look around", async () => {
  // At one for each look around, that is once a second, these would take minutes.
  const COMMANDS = 120;
  const slow = await startEngine({ limits: { ...LIMITS, commands: 1 } });
  const connection = await RedisConnection.open(slow.settings.redisUrl);
  try {
    const wait = { id: "a", type: "wait", config: { duration_ms: 3_600_000 } };
    const workflow = await slow.client.register({ name: "waits", nodes: [wait], edges: [] });
    const { runIds } = await slow.client.submit(workflow, { count: COMMANDS });
    await slow.database.query(
      `insert into hitzero.commands (command_id, run_id, partition, kind)
       select gen_random_uuid(), run_id, partition, 'cancel' from hitzero.runs`,
    );
    await nudgeReader(slow.partition(connection));
    const signal = withinLimit();
    expect(await slow.client.waitAll(runIds, { signal })).toEqual({ CANCELLED: COMMANDS });
  } finally {
    connection.close();
    await slow.stop();
  }
});

test("a run's own time limit ends it as FAILED", async () => {
  const runId = await submit({
    timeout_ms: 200,
    nodes: [node("a", "gate"), node("b")],
    edges: edges("a -> b"),
  });
  const { run, statuses } = await ended(runId);
  expect(run).toMatchObject({
    status: "FAILED",
    error: { code: "RUN_TIMED_OUT", message: expect.stringContaining("timed out") },
  });
  expect(statuses).toEqual({ a: "CANCELLED", b: "CANCELLED" });
});

test("fail_fast cancels independent branches and ends the run as FAILED", async () => {
  const runId = await submit({
    fail_fast: true,
    nodes: [node("a", "gate"), node("b"), node("bad", "deaf"), node("fails", "fail"), node("after")],
    edges: edges("a -> b", "bad -> fails", "fails -> after"),
  });
  await until(() => gates.size === 2, "both branches run");
  (gates.get("bad") as () => void)();
  const { run, statuses } = await ended(runId);
  expect(run).toMatchObject({ status: "FAILED", error: { node_id: "fails" } });
  expect(statuses).toEqual({
    a: "CANCELLED",
    b: "CANCELLED",
    bad: "COMPLETED",
    fails: "FAILED",
    after: "SKIPPED",
  });
});

test("max_parallel_nodes bounds the executions of a run that hold a worker", async () => {
  mostAtOnce = 0;
  const runId = await submit({
    max_parallel_nodes: 3,
    nodes: [node("start"), ...Array.from({ length: 20 }, (_value, index) => node(`n${index}`, "busy"))],
    edges: edges(...Array.from({ length: 20 }, (_value, index) => `start -> n${index}`)),
  });
  expect((await ended(runId)).run.status).toBe("COMPLETED");
  expect(mostAtOnce).toBeGreaterThan(1);
  expect(mostAtOnce).toBeLessThanOrEqual(3);
});
