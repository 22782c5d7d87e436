/** Runs through the whole engine in one process: client, Redis, workers, recorder, Postgres. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SubmitOptions } from "../../src/engine/client/client.ts";
import type { StateChange } from "../../src/engine/reader/record_types.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { PartitionKeys } from "../../src/redis/keys.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { until } from "../support/until.ts";

type Context = {
  nodeId: string;
  data: unknown;
  input: unknown;
  params: Record<string, unknown>;
  signal: AbortSignal;
};

const gates = new Map<string, () => void>();
const handlers = {
  noop: ({ nodeId }: Context) => ({ node: nodeId }),
  echo: ({ data }: Context) => data,
  give: ({ params }: Context) => params.value,
  big: ({ params }: Context) => "x".repeat(params.size as number),
  nul: () => ({ text: "a\u0000b" }),
  fail: ({ params }: Context) => {
    throw Object.assign(new Error((params.message as string) ?? "it broke"), { code: params.code });
  },
  hang: ({ signal }: Context) =>
    new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
  gate: ({ params }: Context) =>
    new Promise<string>((resolve) => gates.set(params.gate as string, () => resolve("open"))),
};

let engine: TestEngine;
beforeAll(async () => {
  engine = await startEngine({ workers: 2, handlers, unofferedTimeoutMs: 50 });
});
afterAll(() => engine?.stop());

type NodeFile = { id: string; type?: string; config?: object; [more: string]: unknown };

/** A node that calls a handler: `noop` unless told otherwise. */
const node = (id: string, function_name = "noop", params: object = {}, more: object = {}): NodeFile => ({
  id,
  type: "function",
  config: { function_name, params },
  ...more,
});
const edge = (text: string, more: object = {}) => {
  const [from, to] = text.split(" -> ");
  return { from, to, ...more };
};

async function run(
  nodes: NodeFile[],
  edges: object[] = [],
  options: SubmitOptions & { workflow?: object } = {},
) {
  const { workflow, ...submit } = options;
  const registered = await engine.client.register({ name: "integration", nodes, edges, ...workflow });
  const { runIds } = await engine.client.submit(registered, submit);
  const runId = runIds[0] as string;
  const row = await engine.client.wait(runId);
  const executions = await engine.client.listNodes(runId);
  return {
    row,
    executions,
    by: Object.fromEntries(executions.map((execution) => [execution.node_id, execution])),
  };
}

const wide = (count: number) => Array.from({ length: count }, (_, index) => `n${index}`);

describe("shapes", () => {
  test.each([
    ["1 -> 1", [node("a"), node("b")], [edge("a -> b")]],
    [
      "1 -> 100 -> 1",
      [node("a"), ...wide(100).map((id) => node(id)), node("z")],
      wide(100).flatMap((id) => [edge(`a -> ${id}`), edge(`${id} -> z`)]),
    ],
    [
      "A+B+C -> D",
      [node("a"), node("b"), node("c"), node("d")],
      [edge("a -> d"), edge("b -> d"), edge("c -> d")],
    ],
    ["one node", [node("a")], []],
  ])("%s completes, each node recorded once", async (_name, nodes, edges) => {
    const { row, executions } = await run(nodes, edges);
    expect(row.status).toBe("COMPLETED");
    expect(executions.map(({ status }) => status)).toEqual(nodes.map(() => "COMPLETED"));
    expect(new Set(executions.map(({ node_id }) => node_id)).size).toBe(nodes.length);
  });

  test("a DAG of 2,000 tasks completes in order", async () => {
    const nodes = wide(2_000).map((id) => node(id));
    const edges = nodes.flatMap((_node, index) =>
      [...new Set([index - 1 - (index % 7), index - 40, index - 100 - (index % 31)])]
        .filter((from) => from >= 0)
        .map((from) => ({ from: `n${from}`, to: `n${index}` })),
    );
    const { row, executions } = await run(nodes, edges);
    expect(row.status).toBe("COMPLETED");
    expect(executions).toHaveLength(2_000);
    const { rows } = await engine.database.query<{ node_id: string; seq: number }>(
      "select node_id, seq from hitzero.event_log where run_id = $1 and event_type = 'node_completed'",
      [row.run_id],
    );
    const seq = new Map(rows.map((event) => [event.node_id, event.seq]));
    expect(rows).toHaveLength(2_000);
    const early = edges.filter(({ from, to }) => (seq.get(from) as number) >= (seq.get(to) as number));
    expect(early).toEqual([]);
  });

  test("joins get an object by node id, single successors the output itself, entries the input", async () => {
    const { row } = await run(
      [node("a", "echo"), node("b", "give", { value: 2 }), node("c", "echo")],
      [edge("a -> c"), edge("b -> c")],
      { input: { n: 1 } },
    );
    expect(row.output).toEqual({ a: { n: 1 }, b: 2 });
  });

  test("several terminals give an object by id; an output expression wins", async () => {
    const nodes = [node("a", "give", { value: 1 }), node("b", "give", { value: 2 })];
    expect((await run(nodes)).row.output).toEqual({ a: 1, b: 2 });
    const workflow = { output: 'nodes["a"].output + nodes["b"].output + input.n' };
    expect((await run(nodes, [], { workflow, input: { n: 3 } })).row.output).toBe(6);
    const failed = await run(nodes, [], { workflow, input: {} });
    expect(failed.row).toMatchObject({ status: "FAILED", error: { code: "EXPRESSION_FAILED" } });
  });

  test("an ancestor's output is there by name, streamed or handed over", async () => {
    const { row } = await run(
      [
        node("a", "give", { value: { n: 4 } }),
        node("b"),
        { id: "c", type: "transform", config: { expression: 'nodes["a"].output.n * 2' } },
      ],
      [edge("a -> b"), edge("b -> c", { condition: 'nodes["a"].output.n == 4 && output.node == "b"' })],
    );
    expect(row.output).toBe(8);
  });
});

describe("failure", () => {
  test("is recorded whole, skips what follows with the reason, and leaves other branches alone", async () => {
    const { row, by } = await run(
      [
        node("a"),
        node("b", "fail", { message: "no disk at postgres://me:hunter2@host/db", code: "E_DISK" }),
        node("c"),
        node("d"),
        node("e"),
      ],
      [edge("a -> b"), edge("b -> c"), edge("c -> d"), edge("a -> e")],
    );
    expect(row.status).toBe("FAILED");
    expect(row.error).toEqual({
      code: "E_DISK",
      message: expect.stringContaining("node b failed"),
      node_id: "b",
    });
    expect(by.b?.error).toMatchObject({
      code: "E_DISK",
      attempt: 1,
      worker: by.b?.worker_id,
      stack: expect.stringContaining("at "),
    });
    expect(JSON.stringify([row, by])).not.toContain("hunter2");
    expect([by.c, by.d].map((skipped) => [skipped?.status, skipped?.reason])).toEqual([
      ["SKIPPED", "upstream_failed: b"],
      ["SKIPPED", "upstream_failed: b"],
    ]);
    expect(by.e?.status).toBe("COMPLETED");
  });

  test("is handled by a failure edge, whose target sees the error", async () => {
    const { row, by } = await run(
      [node("a", "fail", { code: "E_X" }), node("b"), node("rescue", "echo")],
      [edge("a -> b"), edge("a -> rescue", { on: "failure" })],
    );
    expect(row.status).toBe("COMPLETED");
    expect(by.rescue?.output).toEqual({ error: { code: "E_X", message: "it broke" } });
    expect(by.b).toMatchObject({ status: "SKIPPED", reason: "not_taken" });
  });

  test("a condition that fails is a failure of its node, never false", async () => {
    const { row, by } = await run(
      [node("a", "give", { value: {} }), node("b"), node("c")],
      [
        edge("a -> b", { condition: "output.score >= 80" }),
        edge("a -> c", { condition: "!(output.score >= 80)" }),
      ],
    );
    expect(row.status).toBe("FAILED");
    expect(by.a).toMatchObject({
      status: "FAILED",
      error: { code: "CONDITION_FAILED", message: expect.stringContaining("edges[0]") },
    });
    expect([by.b?.status, by.c?.status]).toEqual(["SKIPPED", "SKIPPED"]);
  });

  test("all_done runs after a failure and does not mend it", async () => {
    const { row, by } = await run(
      [node("a", "fail"), node("b"), node("c", "echo", {}, { trigger_rule: "all_done" })],
      [edge("a -> c"), edge("b -> c")],
    );
    expect(by.c).toMatchObject({ status: "COMPLETED", output: { b: { node: "b" } } });
    expect(row.status).toBe("FAILED");
  });

  test("a function that the worker lacks fails the node with HANDLER_NOT_FOUND", async () => {
    const { by } = await run([node("a", "missing")]);
    expect(by.a?.error).toMatchObject({ code: "HANDLER_NOT_FOUND" });
  });

  test("a handler that takes too long is told by its signal and has timed out", async () => {
    const { by } = await run([node("a", "hang", {}, { timeout_ms: 50 })]);
    expect(by.a?.error).toMatchObject({ code: "TIMED_OUT", message: expect.stringContaining("timed out") });
  });

  test("an output that jsonb cannot hold fails the node and nothing else", async () => {
    const { row, by } = await run([node("a", "nul"), node("b")]);
    expect(by.a).toMatchObject({ status: "FAILED", error: { code: "OUTPUT_NOT_JSON" } });
    expect(by.b?.status).toBe("COMPLETED");
    expect(row.status).toBe("FAILED");
  });

  test("an output over the limit fails the node", async () => {
    const { by } = await run([node("a", "big", { size: 17 * 1024 * 1024 })]);
    expect(by.a?.error).toMatchObject({ code: "OUTPUT_TOO_LARGE" });
  });
});

describe("data", () => {
  test("a large output travels as a blob and is found in Postgres; Redis keeps nothing of it", async () => {
    const { row, by } = await run([node("a", "big", { size: 100_000 }), node("b", "echo")], [edge("a -> b")]);
    expect((row.output as string).length).toBe(100_000);
    expect(by.a?.output).toHaveLength(100_000);
    const { rows } = await engine.database.query("select name, bytes from hitzero.blobs where run_id = $1", [
      row.run_id,
    ]);
    expect(rows.map(({ bytes }) => bytes)).toEqual([100_002, 100_002]);
    const keys = new PartitionKeys(engine.settings.namespace, row.partition, "1");
    const connection = await RedisConnection.open(engine.settings.redisUrl);
    await until(
      async () =>
        (await connection.redis.exists(
          keys.run(row.run_id),
          ...rows.map(({ name }) => keys.blob(row.run_id, name as string)),
        )) === 0,
      "the run and its blobs are gone from Redis",
    );
    connection.close();
  });

  test("the same idempotency key answers the same run; with other input it is refused", async () => {
    const workflow = await engine.client.register({ name: "keyed", nodes: [node("a")], edges: [] });
    const first = await engine.client.submit(workflow, { input: { n: 1 }, idempotencyKey: "k1" });
    const again = await engine.client.submit(workflow, { input: { n: 1 }, idempotencyKey: "k1" });
    expect(again).toEqual({ runIds: first.runIds, existing: true, waiting: 0 });
    await expect(
      engine.client.submit(workflow, { input: { n: 2 }, idempotencyKey: "k1" }),
    ).rejects.toMatchObject({ code: "IDEMPOTENCY_CONFLICT" });
    expect((await engine.client.listRuns({ workflow: "keyed" })).map(({ run_id }) => run_id)).toEqual(
      first.runIds,
    );
  });

  test("an input that the workflow's schema refuses leaves nothing behind", async () => {
    const schema = { type: "object", required: ["n"], properties: { n: { type: "integer" } } };
    const workflow = await engine.client.register({
      name: "schemed",
      nodes: [node("a")],
      edges: [],
      input_schema: schema,
    });
    await expect(engine.client.submit(workflow, { input: { n: "one" } })).rejects.toMatchObject({
      faults: [{ code: "INPUT_SCHEMA", path: "$.n" }],
    });
    expect(await engine.client.listRuns({ workflow: "schemed" })).toEqual([]);
  });

  test("the same definition is one version, whoever registers it", async () => {
    const file = { name: "versioned", nodes: [node("a")], edges: [] };
    const versions = await Promise.all(Array.from({ length: 5 }, () => engine.client.register(file)));
    expect(new Set(versions.map(({ version }) => version))).toEqual(new Set([1]));
    expect((await engine.client.register({ ...file, nodes: [node("b")] })).version).toBe(2);
  });
});

describe("the record", () => {
  test("shows long executions as RUNNING while they last, and announces every change after its commit", async () => {
    const workflow = await engine.client.register({
      name: "watched",
      nodes: [node("a", "gate", { gate: "g1" }), node("b")],
      edges: [edge("a -> b")],
    });
    const { runIds } = await engine.client.submit(workflow, {});
    const runId = runIds[0] as string;
    const changes: StateChange[] = [];
    const waiting = engine.client.wait(runId, { onChange: (change) => changes.push(change) });
    await until(
      async () => (await engine.client.listNodes(runId))[0]?.status === "RUNNING",
      "node a is on record as RUNNING",
    );
    (gates.get("g1") as () => void)();
    expect((await waiting).status).toBe("COMPLETED");
    const words = changes.map(
      ({ node_id, previous_state, new_state }) => `${node_id ?? "run"} ${previous_state} ${new_state}`,
    );
    expect(words.slice(-3)).toEqual(["a RUNNING COMPLETED", "b PENDING COMPLETED", "run RUNNING COMPLETED"]);
    for (const change of changes)
      expect(change).toMatchObject({ instance_id: runId, timestamp: expect.stringMatching(/Z$/) });
  });

  test("keeps totals of each finished run", async () => {
    const { row } = await run([node("a", "fail"), node("b"), node("c")], [edge("a -> c")]);
    const { rows } = await engine.database.query("select * from hitzero.run_statistics where run_id = $1", [
      row.run_id,
    ]);
    expect(rows[0]).toMatchObject({
      executions: 3,
      completed: 1,
      failed: 1,
      skipped: 1,
      completion_checks_saved: 2,
    });
  });
});
