/** `worker --processes`, queues and leases; and what becomes of a node that kills its workers: `dead-letter`. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { until } from "../support/until.ts";
import { killAll, makeFolder, PLAIN_HANDLERS } from "./cli.ts";
import { type CliEngine, connectCli } from "./engine.ts";
import { gatedWorkflow, submitOne } from "./gated.ts";
import { runHere } from "./here.ts";
import { isRunning } from "./processes.ts";

const SLOW = resolve(import.meta.dirname, "slow_handlers.mjs");
const DEADLY = resolve(import.meta.dirname, "deadly_handlers.mjs");

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

/** Starts workers in processes of one parent; waits until they serve. */
async function processes(count: number, ...more: string[]) {
  const parent = engine.start(["worker", "--processes", String(count), "--json", ...more]);
  await parent.says(/^\{"worker_ids".*\}$/m);
  const ready = JSON.parse(/^\{"worker_ids".*\}$/m.exec(parent.said)?.[0] ?? "") as {
    pids: number[];
    queues: string[];
    functions: string[];
    lease_ms: number;
  };
  return { parent, ready };
}

test("--processes: a dead one is started again; SIGTERM lets what runs end in all of them", async () => {
  const { parent, ready } = await processes(2, "--handlers", PLAIN_HANDLERS, "--queues", "many,other");
  expect(ready.pids).toHaveLength(2);
  expect(ready).toMatchObject({ queues: ["many", "other"], lease_ms: 10_000 });
  process.kill(ready.pids[0] as number, "SIGKILL");
  await parent.says("worker 1 ended unexpectedly (SIGKILL)");
  await parent.says("worker 1 serves again");
  const { file, input, begun, open } = gatedWorkflow(folder, "drained_by_parent", "many");
  await submitOne(engine, file, input);
  await begun();
  process.kill(parent.pid, "SIGTERM");
  await parent.says("stopping");
  open();
  const { code, stderr } = await parent.ended;
  expect(code, stderr).toBe(0);
  expect(isRunning(ready.pids[1] as number)).toBe(false);
  const [run] = (await json("run", "list", "--workflow", "drained_by_parent")).runs;
  const shown = await json("run", "show", run.run_id);
  expect(shown.nodes[0]).toMatchObject({ node_id: "gated", status: "COMPLETED", attempt: 1 });
});

test("--processes 1: the one is started again, too", async () => {
  const { parent, ready } = await processes(1, "--queues", "alone");
  process.kill(ready.pids[0] as number, "SIGKILL");
  await parent.says("worker 1 ended unexpectedly (SIGKILL)");
  await parent.says("worker 1 serves again");
  process.kill(parent.pid, "SIGTERM");
  expect((await parent.ended).code).toBe(0);
});

test("--processes: a second signal ends all at once; so does a parent that is killed", async () => {
  const first = await processes(2, "--handlers", PLAIN_HANDLERS, "--queues", "cut", "--lease-ms", "500");
  const { file, input, begun } = gatedWorkflow(folder, "cut_by_parent", "cut");
  await submitOne(engine, file, input);
  await begun();
  process.kill(first.parent.pid, "SIGTERM");
  await first.parent.says("stopping");
  await until(() => {
    try {
      process.kill(first.parent.pid, "SIGTERM");
    } catch {
      return true;
    }
    return !isRunning(first.parent.pid);
  }, "the parent ends");
  expect((await first.parent.ended).code).toBe(143);
  await until(() => !first.ready.pids.some(isRunning), "its workers end");

  const second = await processes(1, "--queues", "idle");
  process.kill(second.parent.pid, "SIGKILL");
  await until(() => !second.ready.pids.some(isRunning), "its workers end");
});

test("a handler module that cannot be loaded is told with exit code 2, and no process stays", async () => {
  const result = await engine.run(["worker", "--processes", "2", "--handlers", "absent.ts"]);
  expect(result.code).toBe(2);
  expect(result.stderr).toContain("HANDLERS_NOT_FOUND");
});

test("--queues: a node goes to a worker of its queue only", async () => {
  const reports = engine.start(["worker", "--handlers", PLAIN_HANDLERS, "--queues", "reports", "--json"]);
  const standard = engine.start(["worker", "--handlers", PLAIN_HANDLERS, "--json"]);
  engine.processes.push(reports, standard);
  const idOf = async (worker: typeof reports) => {
    await worker.says(/^\{"worker_id".*\}$/m);
    return JSON.parse(/^\{"worker_id".*\}$/m.exec(worker.said)?.[0] ?? "").worker_id as string;
  };
  const [reportsId, standardId] = [await idOf(reports), await idOf(standard)];
  const step = (id: string, queue?: string) => ({
    id,
    type: "function",
    config: { function_name: "succeed" },
    ...(queue ? { queue } : {}),
  });
  const file = join(folder, "queues.json");
  const nodes = [step("first"), step("report", "reports"), step("last")];
  const edges = [
    { from: "first", to: "report" },
    { from: "report", to: "last" },
  ];
  writeFileSync(file, JSON.stringify({ name: "queues", nodes, edges }));
  const submitted = await engine.here(["submit", file, "--wait", "--json"]);
  expect(submitted.code, submitted.stderr).toBe(0);
  const shown = await json("run", "show", JSON.parse(submitted.stdout).run_id);
  const workerOf = (id: string) =>
    shown.nodes.find((node: { node_id: string }) => node.node_id === id).worker_id;
  expect(["first", "report", "last"].map(workerOf)).toEqual([standardId, reportsId, standardId]);
});

test("a handler that blocks its worker for three leases runs once, and is named", async () => {
  const flags = ["--handlers", SLOW, "--queues", "blocked", "--lease-ms", "500"];
  const { parent } = await processes(2, ...flags);
  engine.processes.push(parent);
  const file = join(folder, "blocked.json");
  const config = { function_name: "block", params: { ms: 1_500 } };
  const nodes = [{ id: "computes", type: "function", queue: "blocked", config }];
  writeFileSync(file, JSON.stringify({ name: "blocked", nodes, edges: [] }));
  const submitted = await engine.here(["submit", file, "--wait", "--json"]);
  expect(submitted.code, submitted.stderr).toBe(0);
  const { run_id } = JSON.parse(submitted.stdout);
  await parent.says(
    /"run_id":"[^"]+","node_id":"computes","seconds":1\.\d,"msg":"the event loop was blocked/,
  );
  expect(parent.said.match(/"msg":"blocks"/g)).toHaveLength(1);
  const events = await engine.here(["run", "events", run_id]);
  expect(events.stdout).not.toContain("node_redelivered");
  expect(events.stdout).toContain("node_completed");
});

test("a process that will not turn again is ended by its thread, which names run and node", async () => {
  const connection = await RedisConnection.open(engine.env.HITZERO_REDIS_URL as string);
  const keys = ["workers", "last_words"].map((name) => `{${engine.env.HITZERO_NAMESPACE}:endless}:${name}`);
  const script = resolve(import.meta.dirname, "endless_process.mjs");
  const child = spawn(
    process.execPath,
    [script, engine.env.HITZERO_REDIS_URL as string, "worker-1", ...keys],
    { stdio: "pipe" },
  );
  await connection.redis.zadd(keys[0] as string, 1, "worker-1");
  let said = "";
  child.stderr.on("data", (text) => {
    said += text;
  });
  const [code, signal] = await once(child, "close");
  expect([code, signal], said).toEqual([null, "SIGKILL"]);
  expect(JSON.parse(said)).toMatchObject({ run_id: "guilty", node_id: "node_of_guilty", last_words: true });
  const words = JSON.parse((await connection.redis.hget(keys[1] as string, "worker-1")) as string);
  expect(words.text).toMatch(/did not turn for \d s: node node_of_guilty of run guilty blocks it/);
  expect(words.begun).toHaveLength(2);
  connection.close();
});

test.each([
  [["--lease-ms", "99"], {}, "--lease-ms"],
  [[], { HITZERO_LEASE_MS: "forever" }, "HITZERO_LEASE_MS"],
  [["--processes", "0"], {}, "--processes"],
  [["--queues", "a b"], {}, "a b"],
])("worker %j with %j is refused", async (flags, env, tells) => {
  const result = await runHere(["worker", ...flags], { env });
  expect(result.code).toBe(2);
  expect(result.stderr).toContain(tells);
});

/** Ten processes die one after the other, with a pause before each next one. */
const DEADLY_LIMIT_MS = 150_000;

test(
  "a node that kills its workers becomes a dead letter, named; innocents complete; redrive repeats its run, discard settles it",
  async () => {
    const mended = join(folder, "mended");
    const file = join(folder, "deadly.json");
    const node = (id: string, function_name: string, how?: string) => ({
      ...{ id, type: "function", queue: "deadly", config: { function_name, params: { how } } },
    });
    const innocents = Array.from({ length: 20 }, (_, index) => `innocent_${index}`);
    const nodes = [
      ...innocents.slice(0, 4).map((id) => node(id, "innocent")),
      node("one", "deadly", "exit"),
      ...innocents.slice(4, 10).map((id) => node(id, "innocent")),
      node("two", "deadly", "kill"),
      ...innocents.slice(10).map((id) => node(id, "innocent")),
    ];
    writeFileSync(file, JSON.stringify({ name: "deadly", nodes, edges: [] }));
    // Long enough that a parent reports how its child ended before the reader finds that out by the lease, also on a busy machine.
    const flags = ["--handlers", DEADLY, "--queues", "deadly", "--lease-ms", "1500", "--concurrency", "8"];
    const { parent } = await processes(2, ...flags);
    engine.processes.push(parent);
    const submitted = await engine.here([
      "submit",
      file,
      "--input",
      JSON.stringify({ mended }),
      "--wait",
      "--json",
    ]);
    const { run_id, status } = JSON.parse(submitted.stdout);
    expect([submitted.code, status], submitted.stderr).toEqual([1, "FAILED"]);

    const { dead_letters } = await json("dead-letter", "list");
    expect(
      dead_letters
        .map((letter: { run_id: string; node_id: string }) => [letter.run_id, letter.node_id])
        .sort(),
    ).toEqual([
      [run_id, "one"],
      [run_id, "two"],
    ]);
    const byNode = Object.fromEntries(
      dead_letters.map((letter: { node_id: string }) => [letter.node_id, letter]),
    );
    expect(byNode.one).toMatchObject({
      ...{ workflow_name: "deadly", losses: 3, resolution: null },
      last_words: `node one of run ${run_id} called process.exit(3) (exit code 3)`,
    });
    expect(byNode.two).toMatchObject({ losses: 3, last_words: "SIGKILL" });
    const show = await json("run", "show", run_id);
    const completed = show.nodes.filter(({ status }: { status: string }) => status === "COMPLETED");
    expect(completed).toHaveLength(innocents.length);
    for (const innocent of completed)
      expect(innocent).toMatchObject({ attempt: 1, output: { innocent: true } });
    const shown = await engine.run(["dead-letter", "show", run_id, "one"]);
    expect(shown.stdout).toContain("called process.exit(3)");
    expect(shown.stdout).toContain("error DEAD_LETTER:");
    expect(shown.stdout).toContain(`npx hitzero dead-letter redrive ${run_id} one`);

    writeFileSync(mended, "");
    const redriven = await engine.run(["dead-letter", "redrive", run_id, "one"]);
    expect(redriven.code, redriven.stderr).toBe(0);
    expect(redriven.stdout).toContain("1 more dead letter of the old run is open");
    const next = /run (\S+) repeats run/.exec(redriven.stdout)?.[1] as string;
    const watched = await json("run", "watch", next);
    expect(watched).toMatchObject({
      status: "COMPLETED",
      output: { one: { survived: true }, innocent_0: { innocent: true } },
    });
    expect(await json("dead-letter", "show", run_id, "one")).toMatchObject({
      resolution: "redriven",
      redriven_as: next,
    });

    expect(await json("dead-letter", "discard", run_id, "two")).toMatchObject({ resolution: "discarded" });
    for (const [verb, node, told] of [
      ["redrive", "one", `redriven as run ${next}`],
      ["discard", "one", `redriven as run ${next}`],
      ["redrive", "two", "was discarded"],
      ["discard", "two", "was discarded"],
    ]) {
      const again = await engine.here(["dead-letter", verb as string, run_id, node as string]);
      expect(again.code).toBe(2);
      expect(again.stderr).toContain("error DEAD_LETTER_DECIDED: ");
      expect(again.stderr).toContain(told);
    }
    expect((await json("dead-letter", "list")).dead_letters).toEqual([]);
    expect((await json("dead-letter", "list", "--all", "--workflow", "deadly")).dead_letters).toHaveLength(2);
    const unknown = await engine.here(["dead-letter", "discard", run_id, "three"]);
    expect([unknown.code, unknown.stderr.includes("DEAD_LETTER_NOT_FOUND")]).toEqual([2, true]);
  },
  DEADLY_LIMIT_MS,
);
