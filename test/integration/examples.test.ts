/** Every example of test_data/workflow_examples.json, and examples/orders.yaml, through the whole engine, with examples/handlers.ts. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as handlers from "../../examples/handlers.ts";
import { parseWorkflowText } from "../../src/workflow/file/parse.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { withinLimit } from "../support/until.ts";

interface Example {
  nodes: { id: string; config: object }[];
  metadata: { example_input: unknown };
}

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const examples = JSON.parse(read("test_data/workflow_examples.json")) as Record<string, Example>;

let engine: TestEngine;

beforeAll(async () => {
  engine = await startEngine({ handlers });
});
afterAll(() => engine?.stop());

async function submit(document: unknown, input: unknown): Promise<string> {
  const workflow = await engine.client.register(document);
  return (await engine.client.submit(workflow, { input })).runIds[0] as string;
}

async function ended(runId: string) {
  const run = await engine.client.wait(runId, { signal: withinLimit() });
  const rows = await engine.client.listNodes(runId);
  const statuses = rows.map(({ node_id, scope, status }) => `${node_id}@${scope} ${status}`);
  return { run, statuses };
}

const OUTPUTS: Record<string, unknown> = {
  simple_sequential: { target: "ledger", stored: 2 },
  parallel_fanout: { word_count: 6, longest: "workflow" },
  conditional_branching: { notified: true, decisions: [{ applicant: "ada", decision: "approved" }] },
  complex_workflow: { target: "warehouse", stored: 3 },
  loop_workflow: { collect: { finished: true, last: { iteration: 4, percent: 100 } } },
};

test("there are five", () => {
  expect(Object.keys(examples)).toEqual(Object.keys(OUTPUTS));
});

describe("with its example_input", () => {
  test.each(Object.entries(examples))("%s completes", async (name, example) => {
    const { run } = await ended(await submit(example, example.metadata.example_input));
    expect(run).toMatchObject({ status: "COMPLETED", output: OUTPUTS[name], error: null });
  });
});

test("loop_workflow gives up after five polls when the job is slow", async () => {
  const example = structuredClone(examples.loop_workflow) as Example;
  for (const { id, config } of example.nodes)
    if (id === "poll") Object.assign(config, { params: { percent_per_poll: 10 } });
  const { run, statuses } = await ended(await submit(example, {}));
  expect(run.output).toEqual({ give_up: { finished: false, last: { iteration: 5, percent: 50 } } });
  expect(statuses).toContain("poll@again:5 COMPLETED");
  expect(statuses).toContain("collect@ SKIPPED");
});

describe("orders.yaml", () => {
  const orders = parseWorkflowText(read("examples/orders.yaml"), "orders.yaml");

  test("waits for payments, asks, and stores what is approved", async () => {
    const runId = await submit(orders, {});
    await engine.client.signal(runId, { name: "approve", payload: { approved: true }, by: "ann" });
    const { run, statuses } = await ended(runId);
    expect(run).toMatchObject({ status: "COMPLETED", output: { ship: { target: "ledger", stored: 1 } } });
    const looks = statuses.filter((text) => text.startsWith("look@"));
    expect(looks.toSorted()).toEqual([
      "look@each_order:0/again:1 COMPLETED",
      "look@each_order:1/again:1 COMPLETED",
      "look@each_order:1/again:2 COMPLETED",
      "look@each_order:1/again:3 COMPLETED",
      "look@each_order:2/again:1 COMPLETED",
      "look@each_order:3/again:1 COMPLETED",
    ]);
    const sum = (await engine.client.listNodes(runId)).find(({ node_id }) => node_id === "sum");
    expect(sum?.output).toBe(220);
  });

  test("gives up what is not approved", async () => {
    const runId = await submit(orders, { limit: 1 });
    await engine.client.signal(runId, { name: "approve", payload: { approved: false } });
    const { run } = await ended(runId);
    expect(run.output).toMatchObject({ refuse: { finished: false, last: { approved: false } } });
  });
});
