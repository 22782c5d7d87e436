/** Signals, registered workflows, and how loops, maps and child runs are shown. Engine and commands run in this process. */
import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { until, withinLimit } from "../support/until.ts";
import { makeFolder } from "./cli.ts";
import { runHere } from "./here.ts";

let engine: TestEngine;
let folder: string;

beforeAll(async () => {
  folder = await makeFolder();
  engine = await startEngine({ workers: 1, handlers: { echo: ({ data }: { data: unknown }) => data } });
});
afterAll(() => engine?.stop());

const cli = (...args: string[]) => {
  const { redisUrl, databaseUrl, namespace } = engine.settings;
  const env = {
    HITZERO_REDIS_URL: redisUrl,
    HITZERO_DATABASE_URL: databaseUrl,
    HITZERO_NAMESPACE: namespace,
  };
  return runHere(args, { env });
};
const json = async (...args: string[]) => JSON.parse((await cli(...args, "--json")).stdout);

function fileOf(document: { name: string }): string {
  const path = join(folder, `${document.name}.json`);
  writeFileSync(path, JSON.stringify({ edges: [], ...document }));
  return path;
}

const asking = (name: string, config: object = {}) =>
  fileOf({
    name,
    nodes: [{ id: "ask", type: "approval", config: { name: "approve", ...config } }],
  } as { name: string });

const submitted = async (file: string, input: unknown = {}): Promise<string> =>
  (await json("submit", file, "--input", JSON.stringify(input))).run_id;

const waits = (runId: string) =>
  until(
    async () => (await engine.client.listNodes(runId)).some(({ status }) => status === "WAITING"),
    "it waits",
  );

describe("run signal", () => {
  test("answers an approval; the same id again is the same signal, also when the run is over", async () => {
    const runId = await submitted(asking("answered"));
    await waits(runId);
    const id = randomUUID();
    const give = ["run", "signal", runId, "approve", "--by", "ann", "--payload", '{"approved": true}'];
    const given = await cli(...give, "--id", id, "--wait");
    expect([given.code, given.stderr]).toEqual([0, ""]);
    expect(given.stdout).toContain("signal approve was given to ask");
    const run = await engine.client.wait(runId, { signal: withinLimit() });
    expect(run.output).toMatchObject({ approved: true, by: "ann" });
    expect(await json(...give, "--id", id)).toEqual({
      run_id: runId,
      command_id: id,
      command: "signal",
      signal: "approve",
    });
    const { rows } = await engine.database.query("select 1 from hitzero.commands where run_id = $1", [runId]);
    expect(rows).toHaveLength(1);
    const late = await cli(...give);
    expect([late.code, late.stdout]).toEqual([2, ""]);
    expect(late.stderr).toContain(`error RUN_FINAL: run ${runId} is over: it is COMPLETED`);
  });

  test("that nobody takes is refused with a hint, and nothing is on record", async () => {
    const runId = await submitted(
      asking("picky", { assignees: ["ann"], schema: { required: ["approved"] } }),
    );
    const refused = async (code: string, hint: string, ...args: string[]) => {
      const result = await cli("run", "signal", runId, ...args);
      expect([result.code, result.stdout]).toEqual([2, ""]);
      expect(result.stderr).toContain(`error ${code}:`);
      expect(result.stderr).toContain(hint);
    };
    await refused("SIGNAL_UNKNOWN", "It waits for approve", "other");
    await refused("SIGNAL_NOT_ASSIGNED", "It is up to ann", "approve", "--by", "bob", "--payload", "{}");
    await refused("SIGNAL_INVALID", "schema", "approve", "--by", "ann", "--payload", "{}");
    const wrongId = await cli("run", "signal", runId, "approve", "--id", "4711");
    expect([wrongId.code, wrongId.stderr]).toEqual([2, expect.stringContaining("Give a UUID")]);
    const { rows } = await engine.database.query("select 1 from hitzero.commands where run_id = $1", [runId]);
    expect(rows).toEqual([]);
    await engine.client.cancel(runId);
  });
});

describe("workflow", () => {
  const version = (value: number) =>
    fileOf({
      name: "versioned",
      nodes: [{ id: "say", type: "transform", config: { expression: String(value) } }],
    } as { name: string });

  test("register makes versions without running them; the first, or one with --activate, is active", async () => {
    const first = await cli("workflow", "register", version(1));
    expect([first.code, first.stdout]).toEqual([
      0,
      expect.stringContaining("versioned version 1 is registered and active"),
    ]);
    const second = await cli("workflow", "register", version(2));
    expect(second.stdout).toContain("versioned version 2 is registered; version 1 is active");
    expect((await json("submit", "versioned", "--wait")).output).toBe(1);
    expect(await json("workflow", "register", version(2), "--activate")).toMatchObject({
      workflow_name: "versioned",
      version: 2,
      active_version: 2,
    });
    expect((await json("workflow", "register", version(1))).active_version).toBe(2);
    expect((await json("submit", "versioned", "--wait")).output).toBe(2);
    const { workflows } = await json("workflow", "list");
    expect(workflows.find((row: { workflow_name: string }) => row.workflow_name === "versioned")).toEqual({
      workflow_name: "versioned",
      active_version: 2,
      versions: [1, 2].map((number) => ({
        version: number,
        ir_digest: expect.stringMatching(/^[0-9a-f]{64}$/),
        created_at: expect.any(String),
      })),
    });
    expect((await cli("workflow", "list")).stdout).toMatch(/versioned +2 versions +2 +\d{4}-/);
  });

  test("register refuses a faulty file whole", async () => {
    const faulty = fileOf({ name: "faulty", nodes: [{ id: "x", type: "nothing" }] } as { name: string });
    const result = await cli("workflow", "register", faulty);
    expect([result.code, result.stderr]).toEqual([2, expect.stringContaining("UNKNOWN_TYPE")]);
  });
});

describe("run show, graph, watch and events", () => {
  const over = (name: string, items: number, expression = "item") => ({
    file: fileOf({
      name,
      nodes: [
        {
          id: "each",
          type: "map",
          config: {
            items: "input.items",
            tolerated_failures: 50,
            body: { nodes: [{ id: "work", type: "transform", config: { expression } }], edges: [] },
          },
        },
        { id: "again", type: "loop", config: { loop_back_to: "again", condition: "loop.iteration < 2" } },
      ],
      edges: [{ from: "each", to: "again" }],
    } as { name: string }),
    input: JSON.stringify({ items: Array.from({ length: items }, (_, index) => index) }),
  });

  test("tell the items of a large map together", async () => {
    const { file, input } = over("wide", 60, "item > 1.0 ? item : input.none");
    const told = await cli("submit", file, "--input", input, "--wait");
    expect(told.code, told.stderr).toBe(0);
    expect(told.stdout).toMatch(/work @ each:\*: 58 COMPLETED, 2 FAILED/);
    expect(told.stdout).toContain("again @ again:2 COMPLETED");
    const work = told.stdout.split("\n").filter((line) => /^\S+ +work @/.test(line));
    expect(work.length).toBeLessThan(30);
    const runId = /run (\S+) COMPLETED/.exec(told.stdout)?.[1] as string;
    const short = await cli("run", "show", runId);
    expect(short.stdout).toMatch(
      /FAILED +work @ each:\* .* 58 COMPLETED, 2 FAILED; the first: each:\d EXPRESSION_FAILED/,
    );
    expect(short.stdout).toContain("3 nodes, 63 executions; --all lists each");
    const long = await cli("run", "show", runId, "--all");
    expect(long.stdout.match(/work @ each:\d+/g)?.length).toBeGreaterThanOrEqual(60);
    expect((await json("run", "show", runId)).nodes).toHaveLength(63);
    expect((await cli("run", "graph", runId)).stdout).toMatch(
      /each item of each\n.*work +transform {2}FAILED {2}58 COMPLETED, 2 FAILED/,
    );
    const mermaid = await cli("run", "graph", runId, "--format", "mermaid");
    expect(mermaid.stdout).toContain('<br/>58 COMPLETED, 2 FAILED"]:::failed');
    expect((await cli("run", "events", runId)).stdout).toMatch(/again completed in \d+ ms @ again:2/);
  });

  test("name the parent of a child run, and the child", async () => {
    await cli("workflow", "register", asking("below"));
    const parent = fileOf({
      name: "above",
      nodes: [{ id: "sub", type: "subworkflow", config: { workflow: "below" } }],
    } as { name: string });
    const runId = await submitted(parent);
    await waits(runId);
    const { nodes } = await json("run", "show", runId);
    const child = nodes[0].child_run_id;
    expect((await cli("run", "show", runId)).stdout).toMatch(new RegExp(`WAITING +sub .* for run ${child}`));
    await waits(child);
    const shown = await cli("run", "show", child);
    expect(shown.stdout).toContain(`child of   ${runId}, node sub`);
    expect(shown.stdout).toMatch(/WAITING +ask .* for signal approve/);
    await cli("run", "signal", child, "approve", "--payload", "{}", "--wait");
    const watched = await cli("run", "watch", runId);
    expect([watched.code, watched.stdout]).toEqual([0, expect.stringContaining("sub COMPLETED")]);
    expect((await cli("run", "show", runId)).stdout).toContain(`run ${child}`);
    expect(await json("run", "show", child)).toMatchObject({ parent_run_id: runId, parent_node_id: "sub" });
  });
});

test("completion offers the new commands", async () => {
  const { places } = await json("completion", "bash");
  const names = places.map(({ place }: { place: string }) => place);
  expect(names).toEqual(expect.arrayContaining(["run signal", "workflow register", "workflow list"]));
});
