/** The five files of test_data/source_format, written as users of the source system wrote theirs, through the whole engine. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { withinLimit } from "../support/until.ts";

interface Context {
  // What the files' nodes hand each other.
  // biome-ignore lint/suspicious/noExplicitAny: each handler knows what it is given.
  data: any;
  config: Record<string, unknown>;
  loop?: { iteration: number };
}

/** How the service of the tests answers now, by path. */
const answers = new Map<string, unknown>();
let readyAt = 2;

const handlers = {
  fetch_orders: ({ config }: Context) =>
    [10, 20, 30, 40].slice(0, config.limit as number).map((amount, n) => ({ amount, paid: n !== 1 })),
  paid_amounts: ({ data, config }: Context) => ({
    amounts: data
      .filter((order: { paid: boolean }) => order.paid)
      .map((order: { amount: number }) => order.amount),
    currency: config.currency,
    rounding: config.rounding,
  }),
  store: ({ data, config }: Context) => ({ stored: data, in: config.destination }),
  split_text: ({ data, config }: Context) => ({ words: data.text.split(" "), language: config.language }),
  count_words: ({ data }: Context) => ({ count: data.words.length }),
  longest_word: ({ data }: Context) => ({
    longest: data.words.toSorted((a: string, b: string) => b.length - a.length)[0],
  }),
  approve: ({ data }: Context) => ({ approved: data.body.score }),
  review: ({ data, config }: Context) => ({ reviewed: data.body.score, by: config.queue_for }),
  notify: ({ data }: Context) => ({ told: data }),
  start_job: () => ({ job: 7 }),
  fetch_job: ({ loop, config }: Context) => ({ ready: loop!.iteration >= readyAt, from: config.endpoint }),
  process_job: ({ data }: Context) => ({ processed: data }),
  audit: ({ config }: Context) => ({ audited: config.level }),
  give_up: () => ({ gave_up: true }),
  normalize: ({ data, config }: Context) =>
    [data.source_a, data.source_b].flatMap(({ body }) =>
      body.rows.map((row: Record<string, unknown>) =>
        Object.fromEntries((config.fields as string[]).map((field) => [field, row[field]])),
      ),
    ),
  substitute: ({ config }: Context) => [{ id: config.fallback, score: 51 }],
};

const service = createServer((request, response) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(answers.get(request.url as string)));
});
let engine: TestEngine;

beforeAll(async () => {
  vi.stubEnv("HITZERO_HTTP_ALLOW_PRIVATE", "127.0.0.1");
  await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
  engine = await startEngine({ handlers });
});
afterAll(async () => {
  await engine?.stop();
  service.close();
  service.closeAllConnections();
});

async function run(file: string, input: unknown = {}) {
  const { port } = service.address() as AddressInfo;
  const text = readFileSync(new URL(`../../test_data/source_format/${file}.json`, import.meta.url), "utf8");
  const document = JSON.parse(text.replaceAll("https://api.example.com", `http://127.0.0.1:${port}`));
  const workflow = await engine.client.register(document, { defaultName: file });
  const { runIds } = await engine.client.submit(workflow, { input });
  const { status, output, error } = await engine.client.wait(runIds[0] as string, { signal: withinLimit() });
  return { name: workflow.workflowName, status, output, error };
}

const completed = (output: unknown) => ({ status: "COMPLETED", output, error: null });

test("fetch -> transform by name -> store", async () => {
  expect(await run("fetch_transform_store")).toMatchObject({
    name: "simple_sequential",
    ...completed({
      stored: { amounts: [10, 30], currency: "EUR", rounding: { digits: 2 } },
      in: "ledger",
    }),
  });
});

test("A -> (B, C) -> merge, named after its file", async () => {
  expect(await run("fan_out_merge", { text: "a workflow walks" })).toMatchObject({
    name: "fan_out_merge",
    ...completed({ count: 3, longest: "workflow" }),
  });
});

test("http -> conditional with two conditions -> common end", async () => {
  answers.set("/score", { score: 91 });
  expect(await run("http_conditional")).toMatchObject(completed({ told: { approve: { approved: 91 } } }));
  answers.set("/score", { score: 12 });
  expect(await run("http_conditional")).toMatchObject(
    completed({ told: { review: { reviewed: 12, by: "support" } } }),
  );
});

test("a self-loop is left by both nodes of its break_path, or by its timeout_path", async () => {
  readyAt = 2;
  expect(await run("retry_loop")).toMatchObject(
    completed({ process: { processed: { ready: true, from: "jobs" } }, audit: { audited: "full" } }),
  );
  readyAt = 9;
  expect(await run("retry_loop")).toMatchObject(completed({ give_up: { gave_up: true } }));
});

test("two http sources -> conditional -> transform or handler -> union -> filter -> store", async () => {
  const rows = (...scores: number[]) => scores.map((score) => ({ id: `s${score}`, score, noise: 1 }));
  answers.set("/a", { complete: true, rows: rows(40, 60) });
  answers.set("/b", { complete: true, rows: rows(60, 90) });
  expect(await run("two_sources")).toMatchObject(
    completed({
      stored: [
        { id: "s60", score: 60 },
        { id: "s90", score: 90 },
      ],
      in: "warehouse",
    }),
  );
  answers.set("/a", { complete: false, rows: [] });
  expect(await run("two_sources")).toMatchObject(
    completed({ stored: [{ id: "cache", score: 51 }], in: "warehouse" }),
  );
});
