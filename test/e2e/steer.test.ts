/** What a user does with a run that is under way: watch, cancel, pause, resume, events, graph. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { killAll, makeFolder, PLAIN_HANDLERS, runCli } from "./cli.ts";
import { type CliEngine, connectCli, serve } from "./engine.ts";
import { gatedWorkflow, submitOne } from "./gated.ts";

let engine: CliEngine;
let folder: string;

beforeAll(async () => {
  folder = await makeFolder();
  engine = await connectCli("migrated");
  await serve(engine, 1, PLAIN_HANDLERS);
});
afterAll(async () => {
  await engine?.stop();
  killAll();
});

const json = async (...args: string[]) => JSON.parse((await engine.here([...args, "--json"])).stdout);

interface EventLine {
  seq: number | null;
  level: string;
  event_type: string;
  node_id: string | null;
}
const linesOf = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as EventLine);

describe("cancel", () => {
  test("--wait ends when the run is CANCELLED; a watcher elsewhere sees it, too", async () => {
    const { file, input, begun } = gatedWorkflow(folder, "cancelled");
    const runId = await submitOne(engine, file, input);
    const watching = engine.start(["run", "watch", runId]);
    await begun();
    await watching.says("gated RUNNING");
    const cancelled = await engine.run(["run", "cancel", runId, "--wait"]);
    expect(cancelled.code, cancelled.stderr).toBe(0);
    expect(cancelled.stdout).toContain(`run ${runId} is CANCELLED`);
    const watched = await watching.ended;
    expect(watched.code).toBe(1);
    for (const line of ["gated CANCELLED", "next CANCELLED", `run ${runId} CANCELLED in`])
      expect(watched.stdout).toContain(line);
    const again = await engine.here(["run", "cancel", runId]);
    expect([again.code, again.stdout]).toEqual([2, ""]);
    expect(again.stderr).toContain(`error RUN_FINAL: run ${runId} is over: it is CANCELLED`);
    expect(await json("run", "watch", runId)).toMatchObject({ run_id: runId, status: "CANCELLED" });
  });

  test("of an unknown run is refused", async () => {
    const result = await engine.here(["run", "cancel", "nothing", "--json"]);
    expect(result.code).toBe(2);
    expect(JSON.parse(result.stdout).error.code).toBe("RUN_NOT_FOUND");
  });
});

test("pause holds back what comes next, resume ends it, watch tells the result", async () => {
  const { file, input, begun, open } = gatedWorkflow(folder, "paused");
  const runId = await submitOne(engine, file, input);
  await begun();
  expect(await json("run", "pause", runId, "--wait")).toMatchObject({
    run_id: runId,
    command: "pause",
    outcome: "applied",
    status: "PAUSED",
  });
  open();
  const listed = await json("run", "list", "--status", "PAUSED");
  expect(listed.runs.map((run: { run_id: string }) => run.run_id)).toEqual([runId]);
  const resumed = await engine.run(["run", "resume", runId]);
  expect(resumed.code, resumed.stderr).toBe(0);
  expect(resumed.stdout).toContain(`resume of run ${runId} is accepted`);
  const watched = await engine.here(["run", "watch", runId, "--json"]);
  expect(watched.code).toBe(0);
  expect(Object.keys(JSON.parse(watched.stdout))).toEqual(["run_id", "status", "output", "error"]);
  expect(JSON.parse(watched.stdout)).toMatchObject({ status: "COMPLETED", output: { waited: true } });
});

test("Ctrl-C ends the watching, not the run", async () => {
  const { file, input, begun, open } = gatedWorkflow(folder, "watched");
  const runId = await submitOne(engine, file, input);
  await begun();
  const watching = engine.start(["run", "watch", runId]);
  await watching.says("gated RUNNING");
  watching.signal("SIGINT");
  const { code, stderr } = await watching.ended;
  expect(code).toBe(130);
  expect(stderr).toContain(`run ${runId} goes on`);
  open();
  expect((await engine.here(["run", "watch", runId])).code).toBe(0);
});

describe("events", () => {
  test("--follow tells each as it comes, starts in their places, and ends with the run", async () => {
    const { file, input, begun, open } = gatedWorkflow(folder, "followed");
    const runId = await submitOne(engine, file, input);
    await begun();
    const following = engine.start(["run", "events", runId, "--follow", "--json"]);
    await following.says(/"event_type":"node_started","node_id":"gated"/);
    open();
    const { code, stdout } = await following.ended;
    expect(code).toBe(0);
    const lines = linesOf(stdout);
    expect(lines.map(({ event_type, node_id }) => `${event_type} ${node_id ?? ""}`.trim())).toEqual([
      "run_started",
      "node_started gated",
      "node_completed gated",
      "node_started next",
      "node_completed next",
      "run_completed",
    ]);
    expect(lines.flatMap(({ seq }) => seq ?? [])).toEqual([1, 2, 3, 4]);
    const text = await engine.here(["run", "events", runId]);
    expect(text.stdout).toMatch(/^\d{4}-\d\d-\d\d \S+ {2}INFO {3}node_started {6}gated started$/m);
    expect(text.stdout).not.toContain("\x1b");
  });

  test("--level leaves the lesser ones out", async () => {
    const file = join(folder, "failing.json");
    const node = { id: "only", type: "function", config: { function_name: "fail" } };
    writeFileSync(file, JSON.stringify({ name: "failing", nodes: [node], edges: [] }));
    const submitted = await engine.here(["submit", file, "--wait", "--json"]);
    const runId = JSON.parse(submitted.stdout).run_id;
    const { stdout } = await engine.here(["run", "events", runId, "--level", "warn", "--json"]);
    expect(linesOf(stdout).map(({ event_type }) => event_type)).toEqual(["node_failed", "run_failed"]);
    const wrong = await engine.here(["run", "events", runId, "--level", "loud"]);
    expect([wrong.code, wrong.stderr.includes("DEBUG, INFO, WARN, ERROR")]).toEqual([2, true]);
  });
});

describe("graph", () => {
  const BRANCHING = JSON.stringify({
    name: "branching",
    nodes: [
      { id: "start", type: "parallel" },
      { id: "which", type: "conditional" },
      { id: "left", type: "parallel" },
      { id: "right", type: "parallel" },
      { id: "rescue", type: "parallel", trigger_rule: "all_done" },
    ],
    edges: [
      { from: "start", to: "which" },
      { from: "which", to: "left", condition: 'input.side == "left"' },
      { from: "which", to: "right" },
      { from: "left", to: "rescue", on: "failure" },
      { from: "right", to: "rescue" },
    ],
  });

  test("of a file needs no server; levels, rules and conditions can be read", async () => {
    const file = join(folder, "branching.json");
    writeFileSync(file, BRANCHING);
    const text = await runCli(["run", "graph", file]);
    expect(text.code, text.stderr).toBe(0);
    expect(text.stdout.trimEnd().split("\n")).toEqual([
      "branching",
      "level 0",
      "  ● start   parallel",
      "     └→ which",
      "level 1",
      "  ● which   conditional",
      '     ├→ left  if input.side == "left"',
      "     └→ right  otherwise",
      "level 2",
      "  ● left    parallel",
      "     └→ rescue  on failure",
      "  ● right   parallel",
      "     └→ rescue",
      "level 3",
      "  ● rescue  parallel (all_done)",
    ]);
    const mermaid = await runCli(["run", "graph", "-", "--format", "mermaid"], { input: BRANCHING });
    expect(mermaid.stdout).toContain('n1 -->|"input.side == #34;left#34;"| n2');
    expect(mermaid.stdout).toContain('n2 -.->|"failure"| n4');
    expect(mermaid.stdout).not.toContain(":::");
  });

  test("of a run carries its statuses; of a name, none", async () => {
    const file = join(folder, "branching.json");
    writeFileSync(file, BRANCHING);
    const submitted = await engine.here(["submit", file, "--input", '{"side": "left"}', "--wait", "--json"]);
    const runId = JSON.parse(submitted.stdout).run_id;
    const text = await engine.run(["run", "graph", runId]);
    expect(text.stdout).toContain(`branching version 1  run ${runId}  COMPLETED`);
    expect(text.stdout).toMatch(/⏭ {2}right {3}parallel {2}SKIPPED {2}not_taken/);
    const mermaid = await engine.here(["run", "graph", runId, "--format", "mermaid"]);
    expect(mermaid.stdout).toMatch(/n\d\["right<br\/>parallel"\]:::skipped/);
    expect(mermaid.stdout).toMatch(/classDef completed fill:/);
    const graph = await json("run", "graph", runId);
    expect(graph.nodes.map(({ id, status }: { id: string; status: string }) => `${id} ${status}`)).toEqual([
      "start COMPLETED",
      "which COMPLETED",
      "left COMPLETED",
      "right SKIPPED",
      "rescue COMPLETED",
    ]);
    const named = await json("run", "graph", "branching@1");
    expect(named).toMatchObject({ name: "branching", version: 1, run_id: null, status: null });
  });
});
