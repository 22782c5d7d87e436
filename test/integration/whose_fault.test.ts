/** One bad handler harms nobody but itself. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startEngine, type TestEngine } from "../support/engine.ts";

let engine: TestEngine | undefined;
afterEach(async () => {
  await engine?.stop();
  engine = undefined;
});

const file = (function_name: string, more: object = {}) => ({
  name: function_name,
  nodes: [{ id: "a", type: "function", config: { function_name }, ...more }],
  edges: [],
});

async function submit(document: object, count = 1): Promise<string[]> {
  const { client } = engine as TestEngine;
  return (await client.submit(await client.register(document), { count })).runIds;
}

const nodeOf = async (runId: string) => {
  await engine?.client.wait(runId);
  return (await engine?.client.listNodes(runId))?.[0];
};

describe("what escapes from a handler", () => {
  const EVENTS = ["uncaughtException", "unhandledRejection"] as const;
  const others = new Map<string, ((...args: unknown[]) => void)[]>();
  // The test runner would count each error as a failure.
  beforeAll(() => {
    for (const event of EVENTS) {
      others.set(event, process.rawListeners(event) as never);
      process.removeAllListeners(event);
    }
  });
  afterAll(() => {
    for (const event of EVENTS) for (const listener of others.get(event) ?? []) process.on(event, listener);
  });

  const never = () => new Promise(() => {});
  const handlers = {
    forgets: () => {
      void Promise.reject(Object.assign(new Error("nobody awaited this"), { code: "E_OWN" }));
      return never();
    },
    forgets_and_returns: () => {
      void Promise.reject(new Error("nobody awaited this"));
      return "done";
    },
    times: () => {
      setTimeout(() => {
        throw new Error("thrown by a timer");
      }, 5);
      return never();
    },
    throws_no_error: () => {
      setTimeout(() => {
        throw null;
      }, 5);
      return never();
    },
    once: ({ attempt }: { attempt: number }) => {
      if (attempt > 1) return "mended";
      void Promise.reject(new Error("only at first"));
      return never();
    },
    innocent: () => new Promise((resolve) => setTimeout(() => resolve("well"), 100)),
  };

  test("fails that execution, with message and stack; neighbours complete at their first attempt", async () => {
    engine = await startEngine({ handlers });
    const innocent = await submit(file("innocent"), 5);
    const [forgets] = await submit(file("forgets"));
    const [returns] = await submit(file("forgets_and_returns"));
    const [times] = await submit(file("times"));
    const [nothing] = await submit(file("throws_no_error"));
    expect(await nodeOf(forgets as string)).toMatchObject({
      status: "FAILED",
      attempt: 1,
      error: {
        code: "ESCAPED_ERROR",
        message: "an error escaped from the handler of node a: nobody awaited this",
        stack: expect.stringContaining("whose_fault.test.ts"),
      },
    });
    const failed = { status: "FAILED", error: { code: "ESCAPED_ERROR" } };
    expect(await nodeOf(returns as string)).toMatchObject(failed);
    expect(await nodeOf(times as string)).toMatchObject(failed);
    expect(await nodeOf(nothing as string)).toMatchObject(failed);
    for (const runId of innocent)
      expect(await nodeOf(runId)).toMatchObject({ status: "COMPLETED", attempt: 1, output: "well" });
  });

  test("is tried again as the node's policy says", async () => {
    engine = await startEngine({ handlers });
    const [runId] = await submit(file("once", { retry: { max_attempts: 2, backoff_ms: 10 } }));
    expect(await nodeOf(runId as string)).toMatchObject({
      status: "COMPLETED",
      attempt: 2,
      output: "mended",
    });
  });
});
