/** The control-flow patterns of examples/patterns, each through the whole engine; what is expected stands in the files. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as handlers from "../../examples/patterns/handlers.ts";
import {
  NOT_SUPPORTED,
  type PatternFile,
  patternsPage,
  readPatternFiles,
} from "../../scripts/generate_patterns.ts";
import type { NodeExecutionRow, RunRow } from "../../src/index.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { until, withinLimit } from "../support/until.ts";

const files = readPatternFiles();

/** Runs that are under way at once. */
const AT_ONCE = 12;

interface Outcome {
  run: RunRow;
  rows: Map<string, NodeExecutionRow>;
}

let engine: TestEngine;
const outcomes = new Map<PatternFile, Promise<Outcome>>();

beforeAll(async () => {
  // One worker, as each has its own estimate of the clock: two may differ by milliseconds about what came first.
  engine = await startEngine({ workers: 1, concurrency: 48, handlers });
  const lanes = Array.from({ length: AT_ONCE }, () => Promise.resolve<unknown>(undefined));
  files.forEach((file, index) => {
    const lane = index % AT_ONCE;
    const outcome = (lanes[lane] as Promise<unknown>).then(() => perform(file));
    // Each test looks at its own outcome; until then a failure is no unhandled rejection.
    lanes[lane] = outcome.catch(() => {});
    outcomes.set(file, outcome);
  });
});
afterAll(async () => {
  await Promise.allSettled(outcomes.values());
  await engine?.stop();
});

async function rowsOf(runId: string): Promise<Map<string, NodeExecutionRow>> {
  const rows = await engine.client.listNodes(runId);
  return new Map(rows.map((row) => [row.scope === "" ? row.node_id : `${row.node_id}@${row.scope}`, row]));
}

async function perform({ file, pattern, document }: PatternFile): Promise<Outcome> {
  const { client } = engine;
  const workflow = await client.register(document);
  const runId = (await client.submit(workflow)).runIds[0] as string;
  for (const [index, { when, signal, payload, cancel }] of pattern.steps.entries()) {
    let seen: Record<string, string | undefined> = {};
    const isReady = async () => {
      const rows = await rowsOf(runId);
      seen = Object.fromEntries(Object.keys(when).map((key) => [key, rows.get(key)?.status]));
      return Object.entries(when).every(([key, status]) => seen[key] === status);
    };
    await until(isReady, `step ${index} of ${file}`).catch((error: Error) => {
      throw new Error(`${error.message}: wanted ${JSON.stringify(when)}, seen ${JSON.stringify(seen)}`);
    });
    const { commandId } = cancel
      ? await client.cancel(runId)
      : await client.signal(runId, { name: signal as string, payload });
    const timeLimit = withinLimit();
    expect(await client.waitForCommand(commandId, { signal: timeLimit, pollMs: 10 })).toBe("applied");
  }
  const run = await client.wait(runId, { signal: withinLimit() });
  return { run, rows: await rowsOf(runId) };
}

describe("the files", () => {
  test("are 41, and with those that are not supported there are 43", () => {
    expect(files).toHaveLength(41);
    const numbers = [
      ...files.map(({ pattern }) => pattern.number),
      ...NOT_SUPPORTED.map((row) => row.number),
    ];
    expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: 43 }, (_number, index) => index + 1));
  });

  test.each(files)(
    "$file is called as its workflow and begins with its number",
    ({ file, pattern, document }) => {
      expect(document.name).toBe(file);
      expect(file).toMatch(new RegExp(`^${String(pattern.number).padStart(2, "0")}-[a-z-]+$`));
    },
  );

  test("are what docs/patterns.md says (npx tsx scripts/generate_patterns.ts)", () => {
    const page = readFileSync(new URL("../../docs/patterns.md", import.meta.url), "utf8");
    expect(page).toBe(patternsPage(files));
  });
});

describe("pattern", () => {
  test.each(files)("$pattern.number $pattern.name", async (file) => {
    const { run, rows } = await (outcomes.get(file) as Promise<Outcome>);
    const { status, nodes, output, sequences, apart } = file.pattern.expect;
    const statuses = Object.fromEntries([...rows].map(([key, row]) => [key, row.status]));
    expect({ status: run.status, nodes: statuses }, run.error?.message).toEqual({ status, nodes });
    if (output !== undefined) expect(run.output).toEqual(output);
    const began = (key: string) => +(rows.get(key)?.started_at as Date);
    const ended = (key: string) => +(rows.get(key)?.ended_at as Date);
    // Executions that are never to run at once came one after another in the order of their beginnings.
    const inOrder = [...(apart ?? [])].sort((a, b) => began(a) - began(b));
    for (const keys of [...sequences, inOrder]) {
      for (const [at, key] of keys.slice(1).entries()) {
        const before = keys[at] as string;
        expect(began(key), `${key} begins after ${before}`).toBeGreaterThanOrEqual(ended(before));
      }
    }
  });
});
