/** Loops, maps, waits, signals, sub-workflows, withdrawal, compensation and guards through the whole engine. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { until, withinLimit } from "../support/until.ts";

type Context = {
  nodeId: string;
  scope: string;
  data: { n?: number } | null;
  params: Record<string, unknown> & { ms: number };
  item?: number;
  index?: number;
  loop?: { iteration: number };
  signal: AbortSignal;
};

let engine: TestEngine;
let log: string[] = [];
let inside = 0;
let mostInside = 0;
const gates = new Map<string, () => void>();

const handlers = {
  echo: ({ data }: Context) => data,
  count: ({ data, loop }: Context) => ({ n: (data?.n ?? 0) + 1, iteration: loop?.iteration ?? null }),
  value: ({ params }: Context) => params.value,
  note: ({ nodeId, scope, data }: Context) => {
    log.push(scope === "" ? nodeId : `${nodeId}@${scope}`);
    return data;
  },
  double: ({ item = 0 }: Context) => item * 2,
  fail_odd: ({ item = 0, index }: Context) => {
    if (item % 2 === 1) throw new Error(`item ${index} is odd`);
    return item;
  },
  fail: () => {
    throw new Error("it broke");
  },
  linger: async ({ nodeId, scope, params }: Context) => {
    await new Promise((resolve) => setTimeout(resolve, params.ms));
    log.push(`${nodeId}@${scope}`);
  },
  sleep: ({ params }: Context) => new Promise((resolve) => setTimeout(() => resolve(params.ms), params.ms)),
  inside: async () => {
    inside += 1;
    mostInside = Math.max(mostInside, inside);
    await new Promise((resolve) => setTimeout(resolve, 20));
    inside -= 1;
  },
  gate: ({ nodeId, scope, signal }: Context) =>
    new Promise<string>((resolve, reject) => {
      gates.set(`${nodeId}@${scope}`, () => resolve("open"));
      signal.addEventListener("abort", () => reject(signal.reason));
    }),
};

beforeAll(async () => {
  engine = await startEngine({ workers: 2, concurrency: 8, handlers });
});
afterAll(() => engine?.stop());
beforeEach(() => {
  log = [];
  gates.clear();
});

const fn = (id: string, function_name = "echo", params: object = {}, more: object = {}) => ({
  id,
  type: "function",
  config: { function_name, params },
  ...more,
});
const edges = (...texts: string[]) =>
  texts.flatMap((text) => {
    const path = text.split(" -> ");
    return path.slice(1).map((to, index) => ({ from: path[index], to }));
  });

async function submit(document: object, input: unknown = {}): Promise<string> {
  const workflow = await engine.client.register({ name: "flow", edges: [], ...document });
  return (await engine.client.submit(workflow, { input })).runIds[0] as string;
}

async function ended(runId: string) {
  const run = await engine.client.wait(runId, { signal: withinLimit() });
  const nodes = await engine.client.listNodes(runId);
  const key = (row: { node_id: string; scope: string }) =>
    row.scope === "" ? row.node_id : `${row.node_id}@${row.scope}`;
  return {
    run,
    statuses: Object.fromEntries(nodes.map((row) => [key(row), row.status])),
    rows: Object.fromEntries(nodes.map((row) => [key(row), row])),
  };
}

const run = async (document: object, input: unknown = {}) => ended(await submit(document, input));

describe("loops", () => {
  const poll = (config: object) => ({
    nodes: [
      fn("start", "value", { value: { n: 0 } }),
      fn("work", "count"),
      { id: "again", type: "loop", config: { loop_back_to: "work", ...config } },
      fn("done"),
      fn("late", "note"),
    ],
    edges: edges("start -> work -> again -> done", "again -> late"),
  });

  test("go round until the condition is false, and go on with the last output", async () => {
    const { run: row, statuses } = await run(
      poll({ condition: "data.n < 3", max_iterations: 9, break_path: "done", timeout_path: "late" }),
    );
    expect(row.status).toBe("COMPLETED");
    expect(statuses).toEqual({
      start: "COMPLETED",
      "work@again:1": "COMPLETED",
      "again@again:1": "COMPLETED",
      "work@again:2": "COMPLETED",
      "again@again:2": "COMPLETED",
      "work@again:3": "COMPLETED",
      "again@again:3": "COMPLETED",
      done: "COMPLETED",
      late: "SKIPPED",
    });
    expect(row.output).toEqual({ done: { n: 3, iteration: 3 } });
  });

  test("end by timeout_path when the bound is reached; without it they fail", async () => {
    const bounded = { condition: "true || data.n > 0", max_iterations: 2 };
    const timed = await run(poll({ ...bounded, break_path: "done", timeout_path: "late" }));
    expect(timed.run.status).toBe("COMPLETED");
    expect([timed.statuses.done, timed.statuses.late]).toEqual(["SKIPPED", "COMPLETED"]);
    const failed = await run(poll({ ...bounded, condition: "data.n > 0" }));
    expect(failed.run).toMatchObject({
      status: "FAILED",
      error: { code: "LOOP_EXHAUSTED", node_id: "again" },
    });
    expect(failed.rows.done?.reason).toBe("upstream_failed: again");
  });

  test("ask the condition before the bound: false in the last iteration is no time-out", async () => {
    const { run: row, statuses } = await run(
      poll({ condition: "data.n < 2", max_iterations: 2, break_path: "done", timeout_path: "late" }),
    );
    expect(row.status).toBe("COMPLETED");
    expect([statuses.done, statuses.late]).toEqual(["COMPLETED", "SKIPPED"]);
  });

  test("see loop.iteration, nest, and may be loops of one node", async () => {
    const { run: row, statuses } = await run({
      nodes: [
        fn("enter", "value", { value: { n: 0 } }),
        {
          id: "inner",
          type: "loop",
          config: { loop_back_to: "inner", condition: "loop.iteration < 2", function_name: "count" },
        },
        { id: "outer", type: "loop", config: { loop_back_to: "inner", condition: "loop.iteration < 3" } },
      ],
      edges: edges("enter -> inner -> outer"),
    });
    expect(row.status).toBe("COMPLETED");
    expect(row.output).toMatchObject({ n: 6 });
    expect(
      Object.keys(statuses)
        .filter((key) => key.startsWith("inner"))
        .sort(),
    ).toEqual([
      "inner@outer:1/inner:1",
      "inner@outer:1/inner:2",
      "inner@outer:2/inner:1",
      "inner@outer:2/inner:2",
      "inner@outer:3/inner:1",
      "inner@outer:3/inner:2",
    ]);
  });

  test("with branches, joins and early rules inside wait for all of an iteration", async () => {
    const { run: row } = await run({
      nodes: [
        fn("split", "note"),
        fn("quick", "note"),
        fn("slow", "linger", { ms: 150 }),
        fn("first", "note", {}, { trigger_rule: "one_success" }),
        {
          id: "again",
          type: "loop",
          config: { loop_back_to: "split", max_iterations: 2, timeout_path: "end" },
        },
        fn("end", "note"),
      ],
      edges: edges("split -> quick -> first -> again -> end", "split -> slow -> first"),
    });
    expect(row.status).toBe("COMPLETED");
    const inOrder = log.filter((entry) => entry.startsWith("split") || entry.startsWith("slow"));
    expect(inOrder).toEqual(["split@again:1", "slow@again:1", "split@again:2", "slow@again:2"]);
  });

  test("a join inside waits for the arrivals of its own iteration, and of its own item", async () => {
    const body = {
      nodes: [
        fn("split"),
        fn("quick", "note"),
        fn("slow", "linger", { ms: 40 }),
        fn("join", "note"),
        { id: "again", type: "loop", config: { loop_back_to: "split", condition: "loop.iteration < 3" } },
      ],
      edges: edges("split -> quick -> join -> again", "split -> slow -> join"),
    };
    const { run: row } = await run({
      nodes: [{ id: "each", type: "map", config: { items: "[1, 2]", body } }],
    });
    expect(row.status).toBe("COMPLETED");
    for (const item of [0, 1]) {
      const own = log.filter((entry) => entry.includes(`each:${item}/`) && !entry.startsWith("quick"));
      expect(own).toEqual(
        [1, 2, 3].flatMap((pass) => ["slow", "join"].map((id) => `${id}@each:${item}/again:${pass}`)),
      );
    }
  });

  test("are entered once, however late further arrivals come", async () => {
    const { run: row } = await run({
      nodes: [
        fn("quick"),
        fn("slow", "sleep", { ms: 250 }),
        fn("entry", "note", {}, { trigger_rule: "one_success" }),
        { id: "again", type: "loop", config: { loop_back_to: "entry", condition: "loop.iteration < 4" } },
      ],
      edges: edges("quick -> entry -> again", "slow -> entry"),
    });
    expect(row.status).toBe("COMPLETED");
    expect(log).toEqual([1, 2, 3, 4].map((iteration) => `entry@again:${iteration}`));
  });

  test("a failure inside travels out; a loop that is skipped is recorded once", async () => {
    const { run: row, rows } = await run({
      nodes: [
        fn("a", "fail"),
        fn("b"),
        {
          id: "again",
          type: "loop",
          config: { loop_back_to: "b", max_iterations: 3, condition: "true && size(nodes) > 0" },
        },
        fn("c"),
      ].map((node) =>
        node.id === "again" ? { ...node, config: { ...node.config, condition: "loop.iteration < 3" } } : node,
      ),
      edges: edges("a -> b -> again -> c"),
    });
    expect(row.status).toBe("FAILED");
    expect(rows["b@again:1"]).toMatchObject({ status: "SKIPPED", reason: "upstream_failed: a" });
    expect(rows["again@again:1"]).toMatchObject({ status: "SKIPPED", reason: "upstream_failed: a" });
    expect(rows.c).toMatchObject({ status: "SKIPPED", reason: "upstream_failed: a" });
  });
});

describe("maps", () => {
  const over = (function_name: string, more: object = {}, body?: object) => ({
    nodes: [
      {
        id: "each",
        type: "map",
        config: { items: "input.items", body: body ?? { nodes: [fn("work", function_name)] }, ...more },
      },
      fn("after"),
    ],
    edges: edges("each -> after"),
  });

  test("work on every item and give their results in order", async () => {
    const items = Array.from({ length: 250 }, (_item, index) => index);
    const { run: row, statuses } = await run(over("double", { max_concurrency: 7 }), { items });
    expect(row.status).toBe("COMPLETED");
    expect(row.output).toEqual(items.map((item) => item * 2));
    expect(Object.keys(statuses)).toHaveLength(252);
  });

  test("of nothing give nothing; of no list they fail", async () => {
    expect((await run(over("double"), { items: [] })).run.output).toEqual([]);
    expect((await run(over("double"), { items: 3 })).run).toMatchObject({
      status: "FAILED",
      error: { code: "MAP_NOT_A_LIST" },
    });
  });

  test("tolerate failures up to the bound", async () => {
    const items = [0, 1, 2, 3, 4];
    expect((await run(over("fail_odd", { tolerated_failures: 2 }), { items })).run.output).toEqual([
      0,
      null,
      2,
      null,
      4,
    ]);
    const { run: row } = await run(over("fail_odd", { tolerated_failures: 1 }), { items });
    expect(row).toMatchObject({ status: "FAILED", error: { code: "MAP_FAILED", node_id: "each" } });
    expect(row.error?.message).toContain(
      "2 of 5 items of node each failed, the first of them item 1 at node work",
    );
  });

  test("nest, hold loops, and stand in loops", async () => {
    const inner = {
      nodes: [
        { id: "row", type: "map", config: { items: "item", body: { nodes: [fn("cell", "double")] } } },
        { id: "twice", type: "loop", config: { loop_back_to: "twice", condition: "loop.iteration < 2" } },
      ],
      edges: edges("row -> twice"),
    };
    const { run: row, statuses } = await run(over("double", {}, inner), { items: [[1, 2], [], [3]] });
    expect(row.output).toEqual([[2, 4], [], [6]]);
    expect(statuses["cell@each:0/row:1"]).toBe("COMPLETED");
    expect(statuses["twice@each:2/twice:2"]).toBe("COMPLETED");
    const looped = await run({
      nodes: [
        {
          id: "each",
          type: "map",
          config: { items: "[loop.iteration, 10]", body: { nodes: [fn("work", "double")] } },
        },
        { id: "again", type: "loop", config: { loop_back_to: "each", condition: "loop.iteration < 3" } },
      ],
      edges: edges("each -> again"),
    });
    expect(looped.run.output).toEqual([6, 20]);
    expect(looped.statuses["work@again:2/each:1"]).toBe("COMPLETED");
  });

  test("end early when complete_when says so: the rest is withdrawn", async () => {
    const body = {
      nodes: [{ id: "slow", type: "wait", config: { until: "input.base[index]" } }, fn("work", "double")],
      edges: edges("slow -> work"),
    };
    const base = [0, 0, 60_000, 60_000].map((ms) => new Date(Date.now() + ms).toISOString());
    const { run: row, statuses } = await run(over("double", { complete_when: "completed >= 2" }, body), {
      items: [1, 2, 3, 4],
      base,
    });
    expect(row).toMatchObject({ status: "COMPLETED", output: [2, 4, null, null] });
    expect(statuses["slow@each:3"]).toBe("CANCELLED");
  });

  test("that are open take items until one signal closes them", async () => {
    const runId = await submit(over("double", { open: true, name: "more" }), { items: [1] });
    const give = (payload: unknown) => engine.client.signal(runId, { name: "more", payload });
    await expect(give([1])).rejects.toMatchObject({ code: "SIGNAL_INVALID" });
    await give({ items: Array.from({ length: 120 }, (_item, index) => index + 2) });
    await give({ items: [122, 123] });
    await give({ items: [124], close: true });
    const { run: row } = await ended(runId);
    expect(row.output).toEqual(Array.from({ length: 124 }, (_item, index) => 2 * (index + 1)));
    const early = await submit(over("double", { open: true, name: "more" }), { items: [1] });
    await engine.client.signal(early, { name: "more", payload: { complete: true } });
    expect((await ended(early)).run.status).toBe("COMPLETED");
  });

  test("that are cancelled end with what was under way", async () => {
    const runId = await submit(over("gate", { max_concurrency: 3 }), { items: [1, 2, 3, 4, 5, 6] });
    await until(async () => gates.size === 3, "three items are under way");
    await engine.client.cancel(runId);
    const { run: row, statuses } = await ended(runId);
    expect(row.status).toBe("CANCELLED");
    expect(statuses).toEqual({
      each: "CANCELLED",
      "work@each:0": "CANCELLED",
      "work@each:1": "CANCELLED",
      "work@each:2": "CANCELLED",
      after: "CANCELLED",
    });
  });
});

describe("waits and signals", () => {
  test("a wait holds no worker and goes on in time", async () => {
    const { run: row, rows } = await run({
      nodes: [
        fn("a", "value", { value: 5 }),
        { id: "w", type: "wait", config: { duration_ms: 120 } },
        fn("b"),
      ],
      edges: edges("a -> w -> b"),
    });
    expect(row.output).toBe(5);
    const waited = rows.w as { started_at: Date; ended_at: Date };
    expect(+waited.ended_at - +waited.started_at).toBeGreaterThanOrEqual(119);
  });

  const approval = {
    nodes: [
      {
        id: "ask",
        type: "approval",
        config: { name: "approve", assignees: ["ann"], schema: { required: ["approved"] } },
      },
      fn("yes"),
      fn("no"),
    ],
    edges: [
      { from: "ask", to: "yes", condition: "output.approved" },
      { from: "ask", to: "no", condition: "!output.approved" },
    ],
  };

  test("an approval waits for somebody who may answer", async () => {
    const runId = await submit(approval);
    await until(
      async () => (await engine.client.listNodes(runId)).some(({ status }) => status === "WAITING"),
      "it waits",
    );
    const give = (payload: unknown, by?: string) =>
      engine.client.signal(runId, { name: "approve", payload, ...(by ? { by } : {}) });
    await expect(give({ approved: true })).rejects.toMatchObject({ code: "SIGNAL_NOT_ASSIGNED" });
    await expect(give({}, "ann")).rejects.toMatchObject({ code: "SIGNAL_INVALID" });
    await expect(engine.client.signal(runId, { name: "other" })).rejects.toMatchObject({
      code: "SIGNAL_UNKNOWN",
    });
    await give({ approved: true }, "ann");
    const { run: row, statuses } = await ended(runId);
    expect(statuses).toEqual({ ask: "COMPLETED", yes: "COMPLETED", no: "SKIPPED" });
    expect(row.output).toMatchObject({ yes: { approved: true, by: "ann", at: expect.any(String) } });
  });

  test("a signal that comes early is kept; a deadline leads over the failure edge", async () => {
    const early = await submit({
      nodes: [fn("hold", "gate"), { id: "wait_for", type: "signal", config: { name: "go" } }],
      edges: edges("hold -> wait_for"),
    });
    await until(async () => gates.size === 1, "it has begun");
    await engine.client.signal(early, { name: "go", payload: { n: 1 } });
    await until(
      async () =>
        (await engine.client.listEvents(early)).some(({ event_type }) => event_type === "signal_given"),
      "the signal is kept",
    );
    for (const open of gates.values()) open();
    expect((await ended(early)).run.output).toEqual({ n: 1 });
    const late = await run({
      nodes: [{ id: "wait_for", type: "signal", config: { name: "go", timeout_ms: 60 } }, fn("reminded")],
      edges: [{ from: "wait_for", to: "reminded", on: "failure" }],
    });
    expect(late.run.status).toBe("COMPLETED");
    expect(late.rows.wait_for?.error?.code).toBe("SIGNAL_TIMED_OUT");
  });

  test("a signal for a scope that comes early waits for that scope", async () => {
    const runId = await submit({
      nodes: [
        { id: "hold", type: "signal", config: { name: "hold" } },
        { id: "a", type: "signal", config: { name: "x" } },
        { id: "again", type: "loop", config: { loop_back_to: "a", condition: "loop.iteration < 2" } },
      ],
      edges: edges("hold -> a -> again"),
    });
    await until(async () => (await engine.client.listNodes(runId)).length === 1, "it has begun");
    await engine.client.signal(runId, { name: "x", payload: "two", scope: "again:2" });
    await engine.client.signal(runId, { name: "hold" });
    await engine.client.signal(runId, { name: "x", payload: "one" });
    const { run: row, rows } = await ended(runId);
    expect([row.output, rows["a@again:1"]?.output]).toEqual(["two", "one"]);
  });

  test("deferred choice: the first event wins, the others are withdrawn", async () => {
    const runId = await submit({
      nodes: [
        fn("begin"),
        { id: "paid", type: "signal", config: { name: "paid" }, cancels: ["refused", "expired"] },
        { id: "refused", type: "signal", config: { name: "refused" }, cancels: ["paid", "expired"] },
        { id: "expired", type: "wait", config: { duration_ms: 60_000 }, cancels: ["paid", "refused"] },
        fn("ship"),
        fn("close"),
      ],
      edges: edges("begin -> paid -> ship", "begin -> refused -> close", "begin -> expired"),
    });
    await until(
      async () =>
        (await engine.client.listNodes(runId)).filter(({ status }) => status === "WAITING").length === 3,
      "all wait",
    );
    await engine.client.signal(runId, { name: "refused" });
    const { run: row, statuses, rows } = await ended(runId);
    expect(row.status).toBe("COMPLETED");
    expect(statuses).toEqual({
      begin: "COMPLETED",
      paid: "CANCELLED",
      refused: "COMPLETED",
      expired: "CANCELLED",
      ship: "SKIPPED",
      close: "COMPLETED",
    });
    expect(rows.paid?.reason).toBe("withdrawn: refused");
  });
});

describe("sub-workflows", () => {
  test("run as runs of their own, linked both ways; their failure comes up", async () => {
    const child = { name: "child", nodes: [fn("inner", "double_input")], edges: [] };
    await engine.client.register({
      ...child,
      nodes: [{ id: "inner", type: "transform", config: { expression: "input.n * 2.0" } }],
    });
    const parent = {
      nodes: [
        { id: "sub", type: "subworkflow", config: { workflow: "child", input: { n: "{{ data.n }}" } } },
        fn("after"),
      ],
      edges: edges("sub -> after"),
    };
    const runId = await submit(parent, { n: 4 });
    const { run: row, rows } = await ended(runId);
    expect(row.output).toBe(8);
    const { rows: children } = await engine.database.query(
      "select * from hitzero.runs where parent_run_id = $1",
      [runId],
    );
    expect(children).toMatchObject([{ status: "COMPLETED", parent_node_id: "sub", output: 8, depth: 1 }]);
    const { rows: linked } = await engine.database.query(
      "select child_run_id from hitzero.node_executions where run_id = $1 and node_id = 'sub'",
      [runId],
    );
    expect(linked[0]?.child_run_id).toBe(children[0]?.run_id);
    expect(rows.sub?.status).toBe("COMPLETED");
    const failed = await run(parent, {});
    expect(failed.run.status).toBe("FAILED");
    expect(failed.run.error?.code).toBe("EXPRESSION_FAILED");
    const deeper = await run(parent, { n: "x" });
    expect(deeper.run.error?.code).toBe("CHILD_FAILED");
  });

  test("without an input are given the data of their node, in a map too", async () => {
    await engine.client.register({
      name: "triple",
      nodes: [{ id: "inner", type: "transform", config: { expression: "input * 3.0" } }],
    });
    const body = {
      nodes: [
        { id: "tens", type: "transform", config: { expression: "item * 10.0" } },
        { id: "sub", type: "subworkflow", config: { workflow: "triple" } },
      ],
      edges: edges("tens -> sub"),
    };
    const { run: row } = await run({
      nodes: [
        { id: "each", type: "map", config: { items: "[1.0, 2.0]", body } },
        { id: "plain", type: "map", config: { items: "[1.0, 2.0]", workflow: "triple" } },
      ],
    });
    expect(row.output).toEqual({ each: [30, 60], plain: [3, 6] });
  });

  test("are cancelled with their parent, and recursion is bounded", async () => {
    await engine.client.register({ name: "gated", nodes: [fn("inner", "gate")] });
    const runId = await submit({
      nodes: [{ id: "sub", type: "subworkflow", config: { workflow: "gated" } }],
    });
    await until(async () => gates.size === 1, "the child runs");
    await engine.client.cancel(runId);
    const { run: row, statuses } = await ended(runId);
    expect([row.status, statuses.sub]).toEqual(["CANCELLED", "CANCELLED"]);
    const { rows: children } = await engine.database.query(
      "select status from hitzero.runs where parent_run_id = $1",
      [runId],
    );
    expect(children).toEqual([{ status: "CANCELLED" }]);
    const endless = await run({
      name: "endless",
      nodes: [{ id: "sub", type: "subworkflow", config: { workflow: "endless" } }],
    });
    expect(endless.run.error?.code).toBe("CHILD_FAILED");
    const { rows: depth } = await engine.database.query(
      "select max(depth) as deepest from hitzero.runs where workflow_name = 'endless'",
    );
    expect(depth[0]?.deepest).toBe(16);
  });
});

describe("items of a map that is gone", () => {
  const statusesOf = async (runId: string) =>
    (await engine.client.listNodes(runId)).map(
      ({ node_id, scope, status }) => `${node_id}@${scope} ${status}`,
    );

  test.each([
    [
      "withdrawn",
      [{ id: "stop", type: "signal", config: { name: "stop" }, cancels: ["m"] }],
      {},
      "stop -> b",
      undefined,
    ],
    ["ended early", [], { open: true, name: "stop" }, "m -> b", { complete: true }],
  ])("%s give their permits back", async (_how, more, config, edge, payload) => {
    const runId = await submit({
      semaphores: { lab: 1 },
      nodes: [
        {
          id: "m",
          type: "map",
          config: { items: "[1, 2]", ...config, body: { nodes: [fn("a", "gate", {}, { holds: ["lab"] })] } },
        },
        fn("b", "note", {}, { holds: ["lab"] }),
        ...more,
      ],
      edges: edges(edge),
    });
    await until(
      async () => (await statusesOf(runId)).some((row) => row.endsWith("RUNNING")),
      "an item holds it",
    );
    await engine.client.signal(runId, { name: "stop", payload });
    const { run: row, statuses } = await ended(runId);
    expect(row.status).toBe("COMPLETED");
    expect(statuses).toMatchObject({ b: "COMPLETED", "a@m:0": "CANCELLED", "a@m:1": "CANCELLED" });
  });

  test("swallow no signals", async () => {
    const runId = await submit({
      nodes: [
        {
          id: "m",
          type: "map",
          config: { items: "[1, 2]", body: { nodes: [{ id: "w", type: "signal", config: { name: "go" } }] } },
        },
        { id: "stop", type: "signal", config: { name: "stop" }, cancels: ["m"] },
        { id: "after", type: "signal", config: { name: "go" } },
      ],
      edges: edges("stop -> after"),
    });
    const waiting = async () => (await statusesOf(runId)).filter((row) => row.endsWith("WAITING"));
    await until(async () => (await waiting()).length === 4, "all wait");
    await engine.client.signal(runId, { name: "stop" });
    await until(async () => (await waiting()).includes("after@ WAITING"), "the next waits");
    await engine.client.signal(runId, { name: "go" });
    expect((await ended(runId)).run.status).toBe("COMPLETED");
  });
});

describe("withdrawal, compensation, guards", () => {
  test("a quorum that is reached cancels the rest", async () => {
    const { run: row, statuses } = await run({
      nodes: [
        fn("a", "note"),
        fn("b", "note"),
        fn("c", "gate"),
        fn("d", "note"),
        fn("join", "note", {}, { trigger_rule: { quorum: 2 }, cancel_rest: true }),
      ],
      edges: edges("a -> join", "b -> join", "c -> d -> join"),
    });
    expect(row.status).toBe("COMPLETED");
    expect(statuses).toEqual({
      a: "COMPLETED",
      b: "COMPLETED",
      c: "CANCELLED",
      d: "SKIPPED",
      join: "COMPLETED",
    });
  });

  test("after a failure what completed is undone in reverse order", async () => {
    const undo = { compensate_with: { function_name: "note" } };
    const { run: row, statuses } = await run({
      nodes: [
        fn("book", "value", { value: "ticket" }, undo),
        fn("pay", "value", { value: "money" }, undo),
        fn("ship", "fail", {}, undo),
      ],
      edges: edges("book -> pay -> ship"),
    });
    expect(row).toMatchObject({ status: "FAILED", error: { node_id: "ship" } });
    expect(log).toEqual(["pay.compensate", "book.compensate"]);
    expect(statuses).toEqual({
      book: "COMPLETED",
      pay: "COMPLETED",
      ship: "FAILED",
      "pay.compensate": "COMPLETED",
      "book.compensate": "COMPLETED",
    });
  });

  test("and after a cancel, too", async () => {
    const runId = await submit({
      nodes: [
        fn("book", "value", { value: "ticket" }, { compensate_with: { function_name: "note" } }),
        fn("pay", "gate"),
      ],
      edges: edges("book -> pay"),
    });
    await until(async () => gates.size === 1, "it pays");
    await engine.client.cancel(runId);
    const { run: row, statuses } = await ended(runId);
    expect(row.status).toBe("CANCELLED");
    expect(statuses).toEqual({ book: "COMPLETED", pay: "CANCELLED", "book.compensate": "COMPLETED" });
  });

  test("a semaphore lets in as many as it has permits", async () => {
    mostInside = 0;
    const { run: row } = await run({
      semaphores: { lab: 2 },
      nodes: Array.from({ length: 8 }, (_node, index) => fn(`n${index}`, "inside", {}, { holds: ["lab"] })),
    });
    expect([row.status, mostInside]).toEqual(["COMPLETED", 2]);
  });

  test("a milestone that has passed skips what depends on it", async () => {
    const { statuses, rows } = await run({
      nodes: [
        fn("open", "note"),
        fn("close", "note"),
        fn("slow", "sleep", { ms: 100 }),
        fn("inside", "note", {}, { unless: ["close"] }),
      ],
      edges: edges("open -> close", "open -> slow -> inside"),
    });
    expect(statuses).toEqual({ open: "COMPLETED", close: "COMPLETED", slow: "COMPLETED", inside: "SKIPPED" });
    expect(rows.inside?.reason).toBe("unless: close");
  });
});
