import { afterAll, beforeAll, expect, test } from "vitest";
import { registerVersion } from "../../src/postgres/workflows.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { irOf } from "../support/ir.ts";

let engine: TestEngine;
beforeAll(async () => {
  engine = await startEngine({
    workers: 2,
    handlers: { noop: ({ nodeId, data }: { nodeId: string; data: unknown }) => ({ nodeId, data }) },
  });
});
afterAll(() => engine?.stop());

async function runOf(ir: ReturnType<typeof irOf>, input: unknown) {
  const named = { ...ir, name: `test-${crypto.randomUUID().slice(0, 8)}` };
  const version = await registerVersion(engine.database, named, crypto.randomUUID(), {});
  const { runIds } = await engine.client.submit({ ...version, ir: named, warnings: [] }, { input });
  return engine.client.wait(runIds[0] as string);
}

test("a diamond goes from input to final status in Postgres", async () => {
  const run = await runOf(irOf("a b c d", ["a -> b", "a -> c", "b -> d", "c -> d"]), { n: 1 });
  expect(run.status).toBe("COMPLETED");
  expect(run.output).toEqual({
    nodeId: "d",
    data: { b: { nodeId: "b", data: { nodeId: "a", data: { n: 1 } } }, c: { nodeId: "c", data: { nodeId: "a", data: { n: 1 } } } },
  });
  const nodes = await engine.client.listNodes(run.run_id);
  expect(nodes.map(({ node_id, status }) => `${node_id} ${status}`).sort()).toEqual(["a COMPLETED", "b COMPLETED", "c COMPLETED", "d COMPLETED"]);
});

test("1 -> 100 -> 1", async () => {
  const wide = Array.from({ length: 100 }, (_, index) => `n${index}`);
  const run = await runOf(irOf(`a ${wide.join(" ")} z`, wide.flatMap((id) => [`a -> ${id}`, `${id} -> z`])), {});
  expect(run.status).toBe("COMPLETED");
});
