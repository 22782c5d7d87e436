/** Withdrawal, compensation, semaphores and milestones through the whole engine. */
import { describe, expect, test } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { controlChannel } from "../../src/redis/keys.ts";
import { edges, fn, useFlow } from "../support/flow.ts";
import { until, withinLimit } from "../support/until.ts";

const flow = useFlow();

describe("items of a map that is gone", () => {
  const statusesOf = async (runId: string) =>
    (await flow.client.listNodes(runId)).map(({ node_id, scope, status }) => `${node_id}@${scope} ${status}`);

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
    const runId = await flow.submit({
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
    await flow.client.signal(runId, { name: "stop", payload });
    const { run: row, statuses } = await flow.ended(runId);
    expect(row.status).toBe("COMPLETED");
    expect(statuses).toMatchObject({ b: "COMPLETED", "a@m:0": "CANCELLED", "a@m:1": "CANCELLED" });
  });

  test("swallow no signals", async () => {
    const runId = await flow.submit({
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
    await flow.client.signal(runId, { name: "stop" });
    await until(async () => (await waiting()).includes("after@ WAITING"), "the next waits");
    await flow.client.signal(runId, { name: "go" });
    expect((await flow.ended(runId)).run.status).toBe("COMPLETED");
  });
});

/** Hears what the workers are told. */
async function listen(): Promise<{ announced: string[]; close: () => void }> {
  const { redisUrl, namespace } = flow.engine.settings;
  const listener = await RedisConnection.open(redisUrl);
  const announced: string[] = [];
  listener.redis.on("message", (_channel: string, message: string) => announced.push(message));
  await listener.redis.subscribe(controlChannel(namespace));
  return { announced, close: () => listener.close() };
}

describe("withdrawal, compensation, guards", () => {
  test("a quorum that is reached cancels the rest, and their workers are told", async () => {
    const { announced, close } = await listen();
    const { run: row, statuses } = await flow.run({
      nodes: [
        fn("a", "note", {}, { compensate_with: { function_name: "note" } }),
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
    await until(() => announced.some((told) => told.includes(row.run_id)), "the workers are told");
    await until(() => flow.aborted.includes("c"), "its handler stops");
    close();
  });

  test("after a failure what completed is undone in reverse order; what cannot be undone is recorded", async () => {
    const undo = (function_name: string) => ({ compensate_with: { function_name } });
    const { run: row, statuses } = await flow.run({
      nodes: [
        fn("book", "value", { value: "ticket" }, undo("note")),
        fn("pay", "value", { value: "money" }, undo("note")),
        fn("pack", "value", { value: "box" }, undo("fail")),
        fn("ship", "fail", {}, undo("note")),
      ],
      edges: edges("book -> pay -> pack -> ship"),
    });
    expect(row).toMatchObject({ status: "FAILED", error: { node_id: "ship" } });
    expect(flow.log).toEqual(["pay.compensate", "book.compensate"]);
    expect(statuses).toEqual({
      book: "COMPLETED",
      pay: "COMPLETED",
      pack: "COMPLETED",
      ship: "FAILED",
      "pack.compensate": "FAILED",
      "pay.compensate": "COMPLETED",
      "book.compensate": "COMPLETED",
    });
  });

  test("what completed in items of a map is undone item by item", async () => {
    const work = fn("work", "double", {}, { compensate_with: { function_name: "note" } });
    const { run: row } = await flow.run({
      nodes: [
        {
          id: "each",
          type: "map",
          config: { items: "[1, 2]", max_concurrency: 1, body: { nodes: [work] } },
        },
        fn("ship", "fail"),
      ],
      edges: edges("each -> ship"),
    });
    expect(row.status).toBe("FAILED");
    expect(flow.log).toEqual(["work.compensate@each:1", "work.compensate@each:0"]);
  });

  test("and after a cancel, too: that the run is halted does not reach what undoes it, nor does another cancel", async () => {
    const { announced, close } = await listen();
    const runId = await flow.submit({
      nodes: [
        fn("book", "value", { value: "ticket" }, { compensate_with: { function_name: "gate" } }),
        fn("pay", "gate"),
      ],
      edges: edges("book -> pay"),
    });
    await until(() => flow.gates.has("pay"), "it pays");
    await flow.client.cancel(runId);
    await until(() => flow.gates.has("book.compensate"), "it is undone");
    announced.length = 0;
    const { commandId } = await flow.client.cancel(runId);
    expect(await flow.client.waitForCommand(commandId, { signal: withinLimit() })).toBe(
      "refused: the run is over",
    );
    await until(() => announced.includes(runId), "the workers are told again that it is halted");
    close();
    flow.gates.get("book.compensate")?.();
    const { run: row, statuses } = await flow.ended(runId);
    expect(row.status).toBe("CANCELLED");
    expect(statuses).toEqual({ book: "COMPLETED", pay: "CANCELLED", "book.compensate": "COMPLETED" });
    expect(flow.aborted).toEqual(["pay"]);
  });

  test("a semaphore lets in as many as it has permits", async () => {
    const { run: row } = await flow.run({
      semaphores: { lab: 2 },
      nodes: Array.from({ length: 8 }, (_node, index) => fn(`n${index}`, "inside", {}, { holds: ["lab"] })),
    });
    expect([row.status, flow.inside.most]).toEqual(["COMPLETED", 2]);
  });

  test("a milestone that has passed skips what depends on it", async () => {
    const { statuses, rows } = await flow.run({
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
