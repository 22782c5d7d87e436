/** Waits, signals and sub-workflows through the whole engine. */
import { v5 as uuidv5 } from "uuid";
import { describe, expect, test } from "vitest";
import type { RunRow } from "../../src/index.ts";
import { recordChildren } from "../../src/postgres/record.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { PartitionKeys } from "../../src/redis/keys.ts";
import { edges, fn, useFlow } from "../support/flow.ts";
import { keepSignals } from "../support/signals.ts";
import { until, withinLimit } from "../support/until.ts";

const flow = useFlow();

describe("waits and signals", () => {
  test("a wait holds no worker and goes on in time", async () => {
    const { run: row, rows } = await flow.run({
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
    const runId = await flow.submit(approval);
    await until(
      async () => (await flow.client.listNodes(runId)).some(({ status }) => status === "WAITING"),
      "it waits",
    );
    const give = (payload: unknown, by?: string) =>
      flow.client.signal(runId, { name: "approve", payload, ...(by ? { by } : {}) });
    await expect(give({ approved: true })).rejects.toMatchObject({ code: "SIGNAL_NOT_ASSIGNED" });
    await expect(give({}, "ann")).rejects.toMatchObject({ code: "SIGNAL_INVALID" });
    await expect(flow.client.signal(runId, { name: "other" })).rejects.toMatchObject({
      code: "SIGNAL_UNKNOWN",
    });
    await give({ approved: true }, "ann");
    const { run: row, statuses } = await flow.ended(runId);
    expect(statuses).toEqual({ ask: "COMPLETED", yes: "COMPLETED", no: "SKIPPED" });
    expect(row.output).toMatchObject({ yes: { approved: true, by: "ann", at: expect.any(String) } });
  });

  test("a signal that comes early is kept; a deadline leads over the failure edge", async () => {
    const early = await flow.submit({
      nodes: [fn("hold", "gate"), { id: "wait_for", type: "signal", config: { name: "go" } }],
      edges: edges("hold -> wait_for"),
    });
    await until(async () => flow.gates.size === 1, "it has begun");
    await flow.client.signal(early, { name: "go", payload: { n: 1 } });
    await until(
      async () =>
        (await flow.client.listEvents(early)).some(({ event_type }) => event_type === "signal_given"),
      "the signal is kept",
    );
    for (const open of flow.gates.values()) open();
    expect((await flow.ended(early)).run.output).toEqual({ n: 1 });
    const late = await flow.run({
      nodes: [{ id: "wait_for", type: "signal", config: { name: "go", timeout_ms: 60 } }, fn("reminded")],
      edges: [{ from: "wait_for", to: "reminded", on: "failure" }],
    });
    expect(late.run.status).toBe("COMPLETED");
    expect(late.rows.wait_for?.error?.code).toBe("SIGNAL_TIMED_OUT");
  });

  test("a signal for a scope that comes early waits for that scope", async () => {
    const runId = await flow.submit({
      nodes: [
        { id: "hold", type: "signal", config: { name: "hold" } },
        { id: "a", type: "signal", config: { name: "x" } },
        { id: "again", type: "loop", config: { loop_back_to: "a", condition: "loop.iteration < 2" } },
      ],
      edges: edges("hold -> a -> again"),
    });
    await until(async () => (await flow.client.listNodes(runId)).length === 1, "it has begun");
    await flow.client.signal(runId, { name: "x", payload: "two", scope: "again:2" });
    await flow.client.signal(runId, { name: "hold" });
    await flow.client.signal(runId, { name: "x", payload: "one" });
    const { run: row, rows } = await flow.ended(runId);
    expect([row.output, rows["a@again:1"]?.output]).toEqual(["two", "one"]);
  });

  test("the 1,001st signal of a name that nobody takes is refused on record", async () => {
    const runId = await flow.submit({
      nodes: [fn("hold", "gate"), { id: "wait_for", type: "signal", config: { name: "go" } }],
      edges: edges("hold -> wait_for"),
    });
    await until(() => flow.gates.size === 1, "it has begun");
    const { redisUrl, namespace } = flow.engine.settings;
    const connection = await RedisConnection.open(redisUrl);
    const key = new PartitionKeys(namespace, 0, "1").run(runId);
    await keepSignals(connection.redis, key, "go", 1_000, (index) => `{"payload":${index}}`);
    connection.close();
    const { commandId } = await flow.client.signal(runId, { name: "go", payload: 1_000 });
    expect(await flow.client.waitForCommand(commandId, { signal: withinLimit() })).toBe(
      "refused: too many signals of this name are kept already",
    );
    flow.gates.get("hold")?.();
    expect((await flow.ended(runId)).run.output).toBe(0);
  });

  test("deferred choice: the first event wins, the others are withdrawn", async () => {
    const runId = await flow.submit({
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
        (await flow.client.listNodes(runId)).filter(({ status }) => status === "WAITING").length === 3,
      "all wait",
    );
    await flow.client.signal(runId, { name: "refused" });
    const { run: row, statuses, rows } = await flow.ended(runId);
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
  const childrenOf = async (runId: string): Promise<RunRow[]> => {
    const { rows } = await flow.engine.database.query<RunRow>(
      "select * from hitzero.runs where parent_run_id = $1",
      [runId],
    );
    return rows;
  };

  test("run as runs of their own, linked both ways; their failure comes up", async () => {
    const child = { name: "child", nodes: [fn("inner", "double_input")], edges: [] };
    await flow.client.register({
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
    const runId = await flow.submit(parent, { n: 4 });
    const { run: row, rows } = await flow.ended(runId);
    expect(row.output).toBe(8);
    const children = await childrenOf(runId);
    expect(children).toMatchObject([{ status: "COMPLETED", parent_node_id: "sub", output: 8, depth: 1 }]);
    const { rows: linked } = await flow.engine.database.query(
      "select child_run_id from hitzero.node_executions where run_id = $1 and node_id = 'sub'",
      [runId],
    );
    expect(linked[0]?.child_run_id).toBe(children[0]?.run_id);
    expect(rows.sub?.status).toBe("COMPLETED");
    const failed = await flow.run(parent, {});
    expect(failed.run.status).toBe("FAILED");
    expect(failed.run.error?.code).toBe("EXPRESSION_FAILED");
    const deeper = await flow.run(parent, { n: "x" });
    expect(deeper.run.error?.code).toBe("CHILD_FAILED");
  });

  test("without an input are given the data of their node, in a map too", async () => {
    await flow.client.register({
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
    const { run: row } = await flow.run({
      nodes: [
        { id: "each", type: "map", config: { items: "[1.0, 2.0]", body } },
        { id: "plain", type: "map", config: { items: "[1.0, 2.0]", workflow: "triple" } },
      ],
    });
    expect(row.output).toEqual({ each: [30, 60], plain: [3, 6] });
  });

  test("are cancelled with their parent, before it ends, and withdrawn with their node", async () => {
    await flow.client.register({ name: "gated", nodes: [fn("inner", "gate")] });
    const sub = { id: "sub", type: "subworkflow", config: { workflow: "gated" } };
    const runId = await flow.submit({ nodes: [sub] });
    await until(() => flow.gates.size === 1, "the child runs");
    await flow.client.cancel(runId);
    const { run: row, statuses } = await flow.ended(runId);
    expect([row.status, statuses.sub]).toEqual(["CANCELLED", "CANCELLED"]);
    const [child] = await childrenOf(runId);
    expect(child?.status).toBe("CANCELLED");
    expect(child?.completed_at?.getTime()).toBeLessThanOrEqual(row.completed_at?.getTime() as number);
    flow.gates.clear();
    const stop = { id: "stop", type: "signal", config: { name: "stop" }, cancels: ["sub"] };
    const stopped = await flow.submit({ nodes: [sub, stop] });
    await until(() => flow.gates.size === 1, "the child runs");
    await flow.client.signal(stopped, { name: "stop" });
    expect((await flow.ended(stopped)).statuses).toEqual({ sub: "CANCELLED", stop: "COMPLETED" });
    const withdrawn = (await childrenOf(stopped))[0]?.run_id as string;
    expect((await flow.client.wait(withdrawn, { signal: withinLimit() })).status).toBe("CANCELLED");
  });

  const stepped = {
    name: "stepped",
    nodes: [fn("first", "gate"), fn("second", "note")],
    edges: edges("first -> second"),
  };
  const sub = (workflow: string) => ({ id: "sub", type: "subworkflow", config: { workflow } });
  const isPaused = async (runId: string | undefined) =>
    runId !== undefined && (await flow.client.getRun(runId)).status === "PAUSED";
  const commandsOf = async (runId: string) => {
    const { rows } = await flow.engine.database.query<{ told: string }>(
      "select kind || ' ' || outcome as told from hitzero.commands where run_id = $1 order by command_seq",
      [runId],
    );
    return rows.map(({ told }) => told);
  };

  test("are paused and resumed with their parent, however deep", async () => {
    await flow.client.register(stepped);
    await flow.client.register({ name: "middle", nodes: [sub("stepped")] });
    const runId = await flow.submit({ nodes: [sub("middle")] });
    await until(() => flow.gates.has("first"), "the innermost runs");
    const [middle] = await childrenOf(runId);
    const [inner] = await childrenOf(middle?.run_id as string);
    await flow.client.pause(runId);
    await until(() => isPaused(inner?.run_id), "the pause went down");
    flow.gates.get("first")?.();
    await flow.reaches(inner?.run_id as string, { first: "COMPLETED" });
    expect([await isPaused(middle?.run_id), flow.log]).toEqual([true, []]);
    await flow.client.resume(runId);
    expect((await flow.ended(runId)).run.status).toBe("COMPLETED");
    expect(flow.log).toEqual(["second"]);
    for (const run of [runId, middle?.run_id, inner?.run_id]) {
      expect(await commandsOf(run as string)).toEqual(["pause applied", "resume applied"]);
    }
  });

  test("may be paused by themselves; their parent's resume ends that, too", async () => {
    const runId = await flow.submit({ nodes: [sub("stepped")] });
    await until(() => flow.gates.has("first"), "the child runs");
    const child = (await childrenOf(runId))[0]?.run_id as string;
    await flow.client.pause(child);
    await until(() => isPaused(child), "it is paused");
    expect(await isPaused(runId)).toBe(false);
    await flow.client.pause(runId);
    await until(() => isPaused(runId), "so is its parent");
    await flow.client.resume(runId);
    flow.gates.get("first")?.();
    expect((await flow.ended(runId)).run.status).toBe("COMPLETED");
    expect(await commandsOf(child)).toEqual([
      "pause applied",
      "pause refused: the run is paused already",
      "resume applied",
    ]);
  });

  test("that begin while their parent is paused begin paused, also when their start was lost at first", async () => {
    const { version, digest } = await flow.client.register({ name: "lost", nodes: [fn("only", "note")] });
    const runId = await flow.submit({
      nodes: [fn("hold", "gate"), sub("stepped")],
      edges: edges("hold -> sub"),
    });
    await flow.reaches(runId, { hold: "RUNNING" });
    const { database } = flow.engine;
    // The worker stays within the first phase of the sub-workflow node until its run is paused.
    await database.transaction(async (client) => {
      await client.query("lock table hitzero.workflows in access exclusive mode");
      flow.gates.get("hold")?.();
      await until(async () => {
        const { rows } = await database.query(
          "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        );
        return rows.length > 0;
      }, "the worker looks for the sub-workflow");
      await flow.client.pause(runId);
      await until(() => isPaused(runId), "the run is paused");
    });
    await until(async () => isPaused((await childrenOf(runId))[0]?.run_id), "its child begins");
    const lost = crypto.randomUUID();
    const parent = { parentRunId: runId, parentNodeId: "sub", parentScope: "lost" };
    await recordChildren(database, [
      { runId: lost, ...parent, workflow: "lost", version, digest, input: "{}" },
    ]);
    await database.query(
      "update hitzero.open_runs set submitted_at = now() - interval '1 minute' where run_id = $1",
      [lost],
    );
    await until(() => isPaused(lost), "the lost one begins");
    expect([flow.log, [...flow.gates.keys()]]).toEqual([[], ["hold"]]);
    await flow.client.resume(runId);
    await until(() => flow.gates.has("first"), "the child goes on");
    flow.gates.get("first")?.();
    expect((await flow.ended(runId)).run.status).toBe("COMPLETED");
    await until(() => flow.log.length === 2, "the lost one, too");
    expect(flow.log.sort()).toEqual(["only", "second"]);
  });

  test("belong to their root run's time by their ids", async () => {
    await flow.client.register({ name: "leaf", nodes: [fn("inner")] });
    await flow.client.register({ name: "branch", nodes: [sub("leaf")] });
    const { run: row } = await flow.run({ nodes: [sub("branch")] });
    const [branch] = await childrenOf(row.run_id);
    const [leaf] = await childrenOf(branch?.run_id as string);
    const time = row.run_id.slice(0, 13);
    expect([branch?.run_id.slice(0, 15), leaf?.run_id.slice(0, 15)]).toEqual([`${time}-7`, `${time}-7`]);
  });

  test("keep the ids that an earlier release gave them: performed again, withdrawn", async () => {
    const { workflowName, version, digest } = await flow.client.register({
      name: "gated",
      nodes: [fn("inner", "gate")],
    });
    const runId = await flow.submit({
      nodes: [
        fn("hold", "gate"),
        sub("gated"),
        { id: "stop", type: "signal", config: { name: "stop" }, cancels: ["sub"] },
      ],
      edges: edges("hold -> sub"),
    });
    await until(() => flow.gates.has("hold"), "it began");
    const { database } = flow.engine;
    const known = uuidv5("sub/", runId);
    const parent = { parentRunId: runId, parentNodeId: "sub", parentScope: "" };
    await recordChildren(database, [
      { runId: known, ...parent, workflow: workflowName, version, digest, input: "{}" },
    ]);
    await database.query(
      `insert into hitzero.node_executions (run_id, node_id, attempt, status, child_run_id) values ($1, 'sub', 1, 'RETRYING', $2)`,
      [runId, known],
    );
    flow.gates.get("hold")?.();
    await until(() => flow.gates.has("inner"), "the child runs");
    await flow.client.signal(runId, { name: "stop" });
    expect((await flow.ended(runId)).statuses).toEqual({
      hold: "COMPLETED",
      sub: "CANCELLED",
      stop: "COMPLETED",
    });
    expect((await flow.client.wait(known, { signal: withinLimit() })).status).toBe("CANCELLED");
    expect((await childrenOf(runId)).map(({ run_id }) => run_id)).toEqual([known]);
  });

  test("that are cancelled by themselves fail their node; recursion is bounded", async () => {
    await flow.client.register({ name: "gated", nodes: [fn("inner", "gate")] });
    const runId = await flow.submit({
      nodes: [{ id: "sub", type: "subworkflow", config: { workflow: "gated" } }],
    });
    await until(() => flow.gates.size === 1, "the child runs");
    await flow.client.cancel((await childrenOf(runId))[0]?.run_id as string);
    expect((await flow.ended(runId)).run).toMatchObject({
      status: "FAILED",
      error: { code: "CHILD_CANCELLED" },
    });
    const endless = await flow.run({
      name: "endless",
      nodes: [{ id: "sub", type: "subworkflow", config: { workflow: "endless" } }],
    });
    expect(endless.run.error?.code).toBe("CHILD_FAILED");
    const { rows: depth } = await flow.engine.database.query(
      "select max(depth) as deepest from hitzero.runs where workflow_name = 'endless'",
    );
    expect(depth[0]?.deepest).toBe(16);
  });
});
