/** What the simulation found: each engine fault as a small case of its own. */
import { afterEach, expect, test } from "vitest";
import { acceptRuns } from "../../src/postgres/runs.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { withinLimit } from "../support/until.ts";

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
  expect(await client.waitAll([runId], { signal: withinLimit() })).toEqual({ CANCELLED: 1 });
  const { runIds } = await client.submit(workflow, {});
  expect(await client.waitAll(runIds, { signal: withinLimit() })).toEqual({ COMPLETED: 1 });
  const { rows } = await database.query("select outcome from hitzero.commands where run_id = $1", [runId]);
  expect(rows).toEqual([{ outcome: "applied" }]);
});

test("an accepted run that never started is started while others keep the reader busy", async () => {
  engine = await startEngine({ workers: 2, concurrency: 8, handlers: { noop: () => 1 } });
  const { client, database } = engine;
  const ids = Array.from({ length: 40 }, (_value, index) => `n${index}`);
  const workflow = await client.register({
    name: "busy",
    nodes: ids.map((id) => ({ id, type: "function", config: { function_name: "noop" } })),
    edges: ids.slice(1).map((to, index) => ({ from: ids[index], to })),
  });
  const runId = crypto.randomUUID();
  await acceptRuns(database, { workflow, runs: [{ runId, partition: 0, input: "{}" }], tags: [] });
  let over = false;
  const keepBusy = async (): Promise<void> => {
    while (!over) {
      const { runIds } = await client.submit(workflow, { count: 3 });
      await client.waitAll(runIds, { pollMs: 20 });
    }
  };
  const busy = Promise.all([keepBusy(), keepBusy(), keepBusy()]);
  const counts = await client.waitAll([runId], { signal: withinLimit() });
  over = true;
  await busy;
  expect(counts).toEqual({ COMPLETED: 1 });
});
