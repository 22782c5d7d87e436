/** What the simulation found: each engine fault as a small case of its own. */
import { afterEach, expect, test } from "vitest";
import { acceptRuns } from "../../src/postgres/runs.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";

let engine: TestEngine | undefined;
afterEach(async () => {
  await engine?.stop();
  engine = undefined;
});

async function outputsOf(document: object): Promise<Record<string, unknown>> {
  engine = await startEngine({ handlers: { noop: () => ({ score: 7 }) } });
  const { runIds } = await engine.client.submit(await engine.client.register(document), {});
  await engine.client.waitAll(runIds);
  const nodes = await engine.client.listNodes(runIds[0] as string);
  return Object.fromEntries(nodes.map(({ node_id, output, error }) => [node_id, error?.code ?? output]));
}

test("a node that is activated through a skipped one sees its ancestors' outputs", async () => {
  const outputs = await outputsOf({
    name: "through-a-skip",
    nodes: [
      { id: "a", type: "function", config: { function_name: "noop" } },
      { id: "b", type: "function", config: { function_name: "noop" } },
      {
        id: "c",
        type: "transform",
        config: { expression: 'nodes["a"].output.score' },
        trigger_rule: "all_done",
      },
    ],
    edges: [
      { from: "a", to: "b", on: "failure" },
      { from: "b", to: "c" },
    ],
  });
  expect(outputs).toEqual({ a: { score: 7 }, b: null, c: 7 });
});

test("a run that is cancelled before it started is final, and the partition's record goes on", async () => {
  engine = await startEngine({ handlers: { noop: () => 1 } });
  const { client, database } = engine;
  const workflow = await client.register({
    name: "unstarted",
    nodes: [{ id: "a", type: "function", config: { function_name: "noop" } }],
    edges: [],
  });
  const runId = crypto.randomUUID();
  // What a submitter leaves behind that dies right after its commit.
  await acceptRuns(database, { workflow, runs: [{ runId, partition: 0, input: "{}" }], tags: [] });
  await client.cancel(runId);
  expect(await client.waitAll([runId], { signal: AbortSignal.timeout(10_000) })).toEqual({ CANCELLED: 1 });
  const { runIds } = await client.submit(workflow, {});
  expect(await client.waitAll(runIds, { signal: AbortSignal.timeout(10_000) })).toEqual({ COMPLETED: 1 });
  const { rows } = await database.query("select outcome from hitzero.commands where run_id = $1", [runId]);
  expect(rows).toEqual([{ outcome: "applied" }]);
});
