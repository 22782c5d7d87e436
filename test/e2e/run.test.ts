/** Runs from the command line to the record: migrate, supervisor, workers, submit, run. */
import { existsSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/until.ts";
import { EXAMPLES, HANDLERS, killAll, makeFolder, PLAIN_HANDLERS } from "./cli.ts";
import { type CliEngine, connectCli, serve } from "./engine.ts";

let engine: CliEngine;
let folder: string;

beforeAll(async () => {
  folder = await makeFolder();
  engine = await connectCli("empty");
  const racing = await Promise.all([1, 2].map(() => engine.run(["migrate", "--partitions", "2", "--json"])));
  for (const { code, stdout, stderr } of racing)
    expect([code, JSON.parse(stdout).partitions], stderr).toEqual([0, 2]);
  await serve(engine, 2, HANDLERS);
  const examples = JSON.parse(await readFile(EXAMPLES, "utf8")) as Record<string, unknown>;
  for (const [name, workflow] of Object.entries(examples)) writeFile(`${name}.json`, workflow);
});
afterAll(async () => {
  await engine?.stop();
  killAll();
});

function writeFile(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const oneNode = (name: string, node: object) => ({
  name,
  nodes: [{ id: "only", type: "function", ...node }],
  edges: [],
});

describe("example workflows", () => {
  const cases: [name: string, input: object, output: unknown][] = [
    ["simple_sequential", { limit: 3 }, { target: "ledger", stored: 2 }],
    ["parallel_fanout", { text: "a workflow walks its own graph" }, { word_count: 6, longest: "workflow" }],
    [
      "conditional_branching",
      { applicant: "ada", score: 91 },
      { notified: true, decisions: [{ applicant: "ada", decision: "approved" }] },
    ],
  ];
  test.each(cases)("%s: submit --wait --json", async (name, input, output) => {
    const run = name === "simple_sequential" ? engine.run : engine.here;
    const result = await run([
      "submit",
      join(folder, `${name}.json`),
      "--input",
      JSON.stringify(input),
      "--wait",
      "--json",
    ]);
    expect(result.code, result.stderr).toBe(0);
    const document = JSON.parse(result.stdout);
    expect(document).toEqual({
      run_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      status: "COMPLETED",
      output,
      error: null,
    });
    expect(Object.keys(document)).toEqual(["run_id", "status", "output", "error"]);
    expect(result.stderr).toBe("");
  });

  test("without a terminal each node's end is a line, the branch not taken included", async () => {
    const result = await engine.run([
      "submit",
      join(folder, "conditional_branching.json"),
      "--input",
      '{"score": 10}',
      "--wait",
    ]);
    expect(result.code, result.stderr).toBe(0);
    for (const line of [
      "fetch COMPLETED",
      "evaluate COMPLETED",
      "low_score COMPLETED",
      "high_score SKIPPED (not_taken)",
      "finish COMPLETED",
    ]) {
      expect(result.stdout.split(line), line).toHaveLength(2);
    }
    expect(result.stdout).toMatch(/run \S+ COMPLETED in /);
    expect(result.stdout).not.toContain("\x1b");
  });
});

test("a handler that throws: exit code 1 and the error", async () => {
  const file = writeFile("failing.json", oneNode("failing", { config: { function_name: "fail" } }));
  const result = await engine.run(["submit", file, "--wait", "--json"]);
  expect(result.code).toBe(1);
  const { run_id, ...rest } = JSON.parse(result.stdout);
  expect(rest).toEqual({
    status: "FAILED",
    output: null,
    error: { code: "TILL_EMPTY", message: "node only failed: the till is empty", node_id: "only" },
  });
  const shown = await engine.run(["run", "show", run_id]);
  expect(shown.code, shown.stderr).toBe(0);
  expect(shown.stdout).toContain("TILL_EMPTY: the till is empty");
  expect(shown.stdout).not.toContain("    at ");
});

test("the same idempotency key is the same run; with another input it is refused", async () => {
  const submit = (input: string) =>
    engine.here([
      "submit",
      join(folder, "parallel_fanout.json"),
      "--input",
      input,
      "--idempotency-key",
      "order-1",
      "--json",
    ]);
  const first = await submit('{"text": "one"}');
  const { run_id, ...accepted } = JSON.parse(first.stdout);
  expect(accepted).toEqual({ status: "PENDING", output: null, error: null, existing: false });
  await engine.here(["run", "watch", run_id]);
  const second = await submit('{"text": "one"}');
  const output = { word_count: 1, longest: "one" };
  expect(JSON.parse(second.stdout)).toEqual({
    run_id,
    status: "COMPLETED",
    output,
    error: null,
    existing: true,
  });
  const other = await submit('{"text": "two"}');
  expect(other.code).toBe(2);
  expect(JSON.parse(other.stdout).error.code).toBe("IDEMPOTENCY_CONFLICT");
});

test("--count starts many runs by name, and run list and run show tell of them", async () => {
  await engine.here(["submit", join(folder, "parallel_fanout.json")]);
  const many = [
    "submit",
    "parallel_fanout",
    "--count",
    "50",
    "--tag",
    "many",
    "--input",
    '{"text": "a bb"}',
    "--wait",
  ];
  const result = await engine.run(many);
  expect(result.code, result.stderr).toBe(0);
  expect(result.stdout).toMatch(/^50 runs ended: 50 COMPLETED; .* runs\/s$/m);
  const listed = JSON.parse(
    (await engine.here(["run", "list", "--tag", "many", "--limit", "100", "--json"])).stdout,
  );
  expect(listed.runs).toHaveLength(50);
  const { run_id } = listed.runs[0];
  const shown = JSON.parse((await engine.here(["run", "show", run_id, "--json"])).stdout);
  expect(shown).toMatchObject({
    run_id,
    status: "COMPLETED",
    output: { word_count: 2, longest: "bb" },
    pending_nodes: [],
  });
  expect(shown.nodes.map((node: { node_id: string }) => node.node_id).sort()).toEqual(["A", "B", "C", "D"]);
  const table = await engine.run([
    "run",
    "list",
    "--status",
    "completed",
    "--workflow",
    "parallel_fanout",
    "--limit",
    "1",
  ]);
  expect(table.stdout.trimEnd().split("\n")).toHaveLength(2);
});

test("--count with --json: one line for each run, waited for or not, in the order in which they were submitted", async () => {
  const file = writeFile("many.json", oneNode("many", { config: { function_name: "fail" } }));
  const submit = async (...more: string[]) => {
    const { code, stdout, stderr } = await engine.here(["submit", file, "--count", "60", "--json", ...more]);
    expect(stderr).toBe("");
    return {
      code,
      lines: stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line)),
    };
  };
  const accepted = await submit();
  expect(accepted.code).toBe(0);
  expect(accepted.lines).toHaveLength(60);
  for (const { run_id, ...rest } of accepted.lines)
    expect([run_id, rest]).toEqual([expect.any(String), { status: "PENDING", output: null, error: null }]);
  const waited = await submit("--wait");
  expect(waited.code).toBe(1);
  const ids = waited.lines.map(({ run_id }) => run_id);
  expect(ids).toEqual([...new Set(ids)].sort());
  for (const { run_id, ...rest } of waited.lines)
    expect(rest, run_id).toEqual({
      status: "FAILED",
      output: null,
      error: { code: "TILL_EMPTY", message: "node only failed: the till is empty", node_id: "only" },
    });
});

test("submit says when a function is offered by no live worker", async () => {
  const file = writeFile("lonely.json", oneNode("lonely", { config: { function_name: "nobody_has_it" } }));
  const result = await engine.here(["submit", file, "--wait"]);
  expect(result.code).toBe(1);
  expect(result.stderr).toContain("no live worker offers function nobody_has_it");
  expect(result.stdout).toContain("HANDLER_NOT_FOUND");
});

test("Ctrl-C while waiting leaves the run alone and says how to look", async () => {
  const { file, input, begun, gate } = gatedWorkflow("left_alone", "default");
  const waiting = engine.start(["submit", file, "--input", input, "--wait"]);
  await until(() => existsSync(begun), "the handler began");
  await waiting.says("only RUNNING");
  waiting.signal("SIGINT");
  const result = await waiting.ended;
  expect(result.code).toBe(130);
  const runId = /npx hitzero run show (\S+)/.exec(result.stderr)?.[1] ?? "";
  writeFileSync(gate, "");
  await until(async () => (await runStatus(runId)) === "COMPLETED", "the run completes");
});

describe("a worker that is told to end", () => {
  test("lets the node that runs complete, and exits with 0", async () => {
    const { file, input, begun, gate } = gatedWorkflow("drained", "drained");
    const worker = engine.start(["worker", "--handlers", PLAIN_HANDLERS, "--queues", "drained"]);
    await worker.says("serves queue drained");
    const waiting = engine.start(["submit", file, "--input", input, "--wait", "--json"]);
    await until(() => existsSync(begun), "the handler began");
    worker.signal("SIGTERM");
    await worker.says("stopping");
    writeFileSync(gate, "");
    expect((await worker.ended).code).toBe(0);
    expect(JSON.parse((await waiting.ended).stdout)).toMatchObject({
      status: "COMPLETED",
      output: { waited: true },
    });
  });

  test("ends at once at the second signal", async () => {
    const { file, input, begun } = gatedWorkflow("cut_short", "cut_short");
    const worker = engine.start(["worker", "--handlers", PLAIN_HANDLERS, "--queues", "cut_short"]);
    await worker.says("serves queue cut_short");
    await engine.here(["submit", file, "--input", input]);
    await until(() => existsSync(begun), "the handler began");
    worker.signal("SIGINT");
    await worker.says("stopping");
    // Signals that come together count as one, so it is sent until it is heard.
    let code: unknown;
    void worker.ended.then((result) => {
      code = result.code;
    });
    await until(() => {
      worker.signal("SIGINT");
      return code !== undefined;
    }, "the worker ends");
    expect(code).toBe(130);
  });
});

let gated = 0;

/** A workflow whose only node waits for a file. */
function gatedWorkflow(name: string, queue: string) {
  gated += 1;
  const file = writeFile(
    `${name}.json`,
    oneNode(name, { queue, config: { function_name: "wait_for_file" } }),
  );
  const [begun, gate] = [join(folder, `begun-${gated}`), join(folder, `gate-${gated}`)];
  return { file, input: JSON.stringify({ begun, gate }), begun, gate };
}

async function runStatus(runId: string): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: engine.database.url });
  await client.connect();
  try {
    const { rows } = await client.query<{ status: string }>(
      "select status from hitzero.runs where run_id = $1",
      [runId],
    );
    return rows[0]?.status;
  } finally {
    await client.end();
  }
}

afterEach(() => {
  for (const process of engine.processes) expect(process.said).not.toContain("error INTERNAL");
});
