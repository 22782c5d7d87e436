/** Handlers that the engine cannot catch, from their first call to their dead letter: one that never comes back, and a crash of the runtime. */
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { killAll, makeFolder } from "./cli.ts";
import { type CliEngine, connectCli } from "./engine.ts";

const DEADLY = resolve(import.meta.dirname, "deadly_handlers.mjs");
const NEIGHBOURS = 8;
const TIMEOUT_MS = 200;
const GRACE_MS = 500;
/** Five processes die one after the other, with a pause before each next one. */
const LIMIT_MS = 150_000;

let engine: CliEngine;
let folder: string;

beforeAll(async () => {
  folder = await makeFolder();
  engine = await connectCli("migrated");
  const supervisor = engine.start(["supervisor"]);
  engine.processes.push(supervisor);
  await supervisor.says("records runs");
});
afterAll(async () => {
  await engine?.stop();
  killAll();
});

const json = async (...args: string[]) => JSON.parse((await engine.here([...args, "--json"])).stdout);

test.each([
  [
    "never comes back",
    "spin",
    /the event loop did not turn for \d+ s: node guilty of run (\S+) blocks it, beyond its timeout_ms \(SIGKILL/,
  ],
  ["aborts the process", "abort", /SIGABRT/],
])(
  `a handler that %s becomes a dead letter, named; its ${NEIGHBOURS} neighbours complete`,
  async (_what, how, words) => {
    const mended = join(folder, "never");
    const node = (id: string, function_name: string, more: object = {}) => ({
      ...{ id, type: "function", queue: how, config: { function_name, params: { how } }, ...more },
    });
    const neighbours = Array.from({ length: NEIGHBOURS }, (_, index) =>
      node(`neighbour_${index}`, "innocent"),
    );
    // It is called while others are performed.
    const guilty = node("guilty", "deadly", { timeout_ms: TIMEOUT_MS });
    const nodes = [...neighbours.slice(0, 4), guilty, ...neighbours.slice(4)];
    const file = join(folder, `${how}.json`);
    writeFileSync(file, JSON.stringify({ name: how, nodes, edges: [] }));
    const parent = engine.start([
      ...["worker", "--processes", "2", "--handlers", DEADLY, "--queues", how, "--concurrency", "16"],
      // The lease: a parent reports how its child ended before the reader finds that out by it, also on a busy machine.
      ...["--lease-ms", "1500", "--blocked-grace-ms", String(GRACE_MS)],
    ]);
    engine.processes.push(parent);
    await parent.says("serve queue");

    const input = JSON.stringify({ mended });
    const submitted = await engine.here(["submit", file, "--input", input, "--wait", "--json"]);
    const { run_id, status } = JSON.parse(submitted.stdout);
    expect([submitted.code, status], submitted.stderr).toEqual([1, "FAILED"]);

    const shown = await json("run", "show", run_id);
    const byId = Object.fromEntries(shown.nodes.map((one: { node_id: string }) => [one.node_id, one]));
    const message = expect.stringMatching(/^3 workers died that performed it and nothing else; the last: /);
    expect(byId.guilty).toMatchObject({
      status: "FAILED",
      attempt: 1,
      error: { code: "DEAD_LETTER", message },
    });
    expect(byId.guilty.error.message).toMatch(words);
    for (const { id } of neighbours)
      expect(byId[id]).toMatchObject({ status: "COMPLETED", attempt: 1, output: { innocent: true } });
    const { dead_letters } = await json("dead-letter", "list", "--workflow", how);
    expect(dead_letters).toMatchObject([
      { run_id, node_id: "guilty", losses: 3, last_words: expect.stringMatching(words) },
    ]);
    const named = words.exec(dead_letters[0].last_words)?.[1];
    expect(named ?? run_id).toBe(run_id);
  },
  LIMIT_MS,
);
