/** Loops and maps through the whole engine. */
import { describe, expect, test } from "vitest";
import { edges, fn, useFlow } from "../support/flow.ts";
import { until } from "../support/until.ts";

const flow = useFlow();

describe("a node that takes none of its edges ends its path", () => {
  const failing = (from: string, to: string) => ({ from, to, on: "failure" });
  const alarmed = (last: string) => ({
    nodes: [fn("first"), fn("last", last), fn("alarm", "value", { value: "rang" })],
    edges: [...edges("first -> last"), failing("last", "alarm")],
  });

  test("its output is the run's, in the form that it has without the edge", async () => {
    const good = await flow.run(alarmed("echo"), { n: 7 });
    expect(good.run).toMatchObject({ status: "COMPLETED", output: { n: 7 } });
    expect(good.rows.last).toMatchObject({ status: "COMPLETED", reason: "no_edge_taken" });
    expect((await flow.run(alarmed("fail"))).run).toMatchObject({ status: "COMPLETED", output: "rang" });
  });

  test("beside other terminal nodes, and as a loop, it is named by its id", async () => {
    const { run: row } = await flow.run({
      nodes: [
        fn("a", "count"),
        { id: "again", type: "loop", config: { loop_back_to: "a", condition: "data.n < 2" } },
        fn("x"),
        fn("b", "value", { value: 1 }),
        { id: "choose", type: "conditional" },
        fn("y"),
        fn("z", "value", { value: 2 }),
      ],
      edges: [
        ...edges("a -> again", "b -> choose"),
        { from: "again", to: "x", condition: "output.n > 5" },
        { from: "choose", to: "y", condition: "output > 5.0" },
      ],
    });
    expect(row.output).toEqual({ again: { n: 2, iteration: 2 }, choose: 1, z: 2 });
  });

  test("so do those of a map's items, and of a sub-workflow", async () => {
    await flow.client.register({ name: "alarmed", ...alarmed("double") });
    const body = {
      nodes: [fn("work", "fail_odd"), fn("twice", "double"), fn("alarm", "value", { value: "rang" })],
      edges: [...edges("work -> twice"), failing("work", "alarm"), failing("twice", "alarm")],
    };
    const { run: row } = await flow.run(
      {
        nodes: [
          { id: "each", type: "map", config: { items: "input.items", max_concurrency: 2, body } },
          { id: "child", type: "subworkflow", config: { workflow: "alarmed" } },
        ],
        edges: [],
      },
      { items: [2, 3, 4] },
    );
    expect(row).toMatchObject({ status: "COMPLETED", output: { each: [4, "rang", 8], child: 0 } });
  });
});

describe("a fallback", () => {
  const cleaned = (extract: string, clean: object, join: object[] = []) => ({
    nodes: [
      fn("extract", extract, { value: { rows: [1] } }),
      fn("mirror", "value", { value: { rows: [2] } }),
      ...join,
      clean,
    ],
    edges: [
      { from: "extract", to: join.length > 0 ? "join" : "clean" },
      { from: "extract", to: "mirror", on: "failure" },
      { from: "mirror", to: join.length > 0 ? "join" : "clean" },
      ...(join.length > 0 ? edges("join -> clean") : []),
    ],
  });
  const rows = { id: "clean", type: "transform", config: { expression: "data.rows" } };

  test("reads the one output that came, by coalesce or by input", async () => {
    const coalesce = { id: "join", type: "aggregate", config: { strategy: "coalesce" } };
    const input = "has(data.extract) ? data.extract : data.mirror";
    for (const [extract, output] of [
      ["value", [1]],
      ["fail", [2]],
    ] as const) {
      expect((await flow.run(cleaned(extract, rows, [coalesce]))).run.output).toEqual(output);
      expect((await flow.run(cleaned(extract, { ...rows, input }))).run.output).toEqual(output);
    }
  });

  test("an aggregate works on what its input gives, whoever came before", async () => {
    for (const [config, output] of [
      [{ operation: "count" }, 1],
      [{ strategy: "concat" }, [{ n: 1 }]],
      [{ strategy: "coalesce" }, { n: 1 }],
    ] as const) {
      const join = { id: "join", type: "aggregate", input: "{'n': 1}", config };
      const two = { nodes: [fn("a"), fn("b"), join], edges: edges("a -> join", "b -> join") };
      expect((await flow.run(two)).run.output).toEqual(output);
    }
  });

  test("without them fails with a message that lists what is there", async () => {
    const { run: row } = await flow.run(cleaned("value", rows));
    expect(row.error?.message).toContain('there is "extract"');
    const broken = await flow.run({ nodes: [fn("a", "echo", {}, { input: "data.none" })] });
    expect(broken.run).toMatchObject({ status: "FAILED", error: { code: "EXPRESSION_FAILED" } });
  });
});

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
    const { run: row, statuses } = await flow.run(
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
    const timed = await flow.run(poll({ ...bounded, break_path: "done", timeout_path: "late" }));
    expect(timed.run.status).toBe("COMPLETED");
    expect([timed.statuses.done, timed.statuses.late]).toEqual(["SKIPPED", "COMPLETED"]);
    const failed = await flow.run(poll({ ...bounded, condition: "data.n > 0" }));
    expect(failed.run).toMatchObject({
      status: "FAILED",
      error: { code: "LOOP_EXHAUSTED", node_id: "again" },
    });
    expect(failed.rows.done?.reason).toBe("upstream_failed: again");
  });

  test("ask the condition before the bound: false in the last iteration is no time-out", async () => {
    const { run: row, statuses } = await flow.run(
      poll({ condition: "data.n < 2", max_iterations: 2, break_path: "done", timeout_path: "late" }),
    );
    expect(row.status).toBe("COMPLETED");
    expect([statuses.done, statuses.late]).toEqual(["COMPLETED", "SKIPPED"]);
  });

  test("see loop.iteration, nest, and may be loops of one node", async () => {
    const { run: row, statuses } = await flow.run({
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
    const { run: row } = await flow.run({
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
    const inOrder = flow.log.filter((entry) => entry.startsWith("split") || entry.startsWith("slow"));
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
    const { run: row } = await flow.run({
      nodes: [{ id: "each", type: "map", config: { items: "[1, 2]", body } }],
    });
    expect(row.status).toBe("COMPLETED");
    for (const item of [0, 1]) {
      const own = flow.log.filter((entry) => entry.includes(`each:${item}/`) && !entry.startsWith("quick"));
      expect(own).toEqual(
        [1, 2, 3].flatMap((pass) => ["slow", "join"].map((id) => `${id}@each:${item}/again:${pass}`)),
      );
    }
  });

  test("are entered once, however late further arrivals come", async () => {
    const { run: row } = await flow.run({
      nodes: [
        fn("quick"),
        fn("slow", "sleep", { ms: 250 }),
        fn("entry", "note", {}, { trigger_rule: "one_success" }),
        { id: "again", type: "loop", config: { loop_back_to: "entry", condition: "loop.iteration < 4" } },
      ],
      edges: edges("quick -> entry -> again", "slow -> entry"),
    });
    expect(row.status).toBe("COMPLETED");
    expect(flow.log).toEqual([1, 2, 3, 4].map((iteration) => `entry@again:${iteration}`));
  });

  test("a failure inside travels out; a loop that is skipped is recorded once", async () => {
    const { run: row, rows } = await flow.run({
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
    const { run: row, statuses } = await flow.run(over("double", { max_concurrency: 7 }), { items });
    expect(row.status).toBe("COMPLETED");
    expect(row.output).toEqual(items.map((item) => item * 2));
    expect(Object.keys(statuses)).toHaveLength(252);
  });

  test("of nothing give nothing; of no list they fail", async () => {
    expect((await flow.run(over("double"), { items: [] })).run.output).toEqual([]);
    expect((await flow.run(over("double"), { items: 3 })).run).toMatchObject({
      status: "FAILED",
      error: { code: "MAP_NOT_A_LIST" },
    });
  });

  test("tolerate failures up to the bound", async () => {
    const items = [0, 1, 2, 3, 4];
    expect(
      (await flow.run(over("fail_odd", { tolerated_failures: 2, max_concurrency: 1 }), { items })).run.output,
    ).toEqual([0, null, 2, null, 4]);
    const { run: row } = await flow.run(over("fail_odd", { tolerated_failures: 1 }), { items });
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
    const { run: row, statuses } = await flow.run(over("double", {}, inner), { items: [[1, 2], [], [3]] });
    expect(row.output).toEqual([[2, 4], [], [6]]);
    expect(statuses["cell@each:0/row:1"]).toBe("COMPLETED");
    expect(statuses["twice@each:2/twice:2"]).toBe("COMPLETED");
    const looped = await flow.run({
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
    const { run: row, statuses } = await flow.run(over("double", { complete_when: "completed >= 2" }, body), {
      items: [1, 2, 3, 4],
      base,
    });
    expect(row).toMatchObject({ status: "COMPLETED", output: [2, 4, null, null] });
    expect(statuses["slow@each:3"]).toBe("CANCELLED");
  });

  test("that are open take items until one signal closes them", async () => {
    const runId = await flow.submit(over("double", { open: true, name: "more" }), { items: [1] });
    const give = (payload: unknown) => flow.client.signal(runId, { name: "more", payload });
    await expect(give([1])).rejects.toMatchObject({ code: "SIGNAL_INVALID" });
    await give({ items: Array.from({ length: 120 }, (_item, index) => index + 2) });
    await give({ items: [122, 123] });
    await give({ items: [124], close: true });
    const { run: row } = await flow.ended(runId);
    expect(row.output).toEqual(Array.from({ length: 124 }, (_item, index) => 2 * (index + 1)));
    const early = await flow.submit(over("double", { open: true, name: "more" }), { items: [1] });
    await flow.client.signal(early, { name: "more", payload: { complete: true } });
    expect((await flow.ended(early)).run.status).toBe("COMPLETED");
  });

  test("that are cancelled end with what was under way", async () => {
    const runId = await flow.submit(over("gate", { max_concurrency: 3 }), { items: [1, 2, 3, 4, 5, 6] });
    await until(async () => flow.gates.size === 3, "three items are under way");
    await flow.client.cancel(runId);
    const { run: row, statuses } = await flow.ended(runId);
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
