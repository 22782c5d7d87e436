/** `up` as a process tree: what it starts, what it shares, and that nothing of it stays. */
import { readFileSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import { Client } from "../../src/engine/client/client.ts";
import { readState } from "../../src/local/stack_state.ts";
import { until, withinLimit } from "../support/until.ts";
import { type CliProcess, HANDLERS, killAll, makeFolder, PLAIN_HANDLERS, runCli, startCli } from "./cli.ts";
import { isListening, isRunning, processesIn } from "./processes.ts";

/** Kept from test to test: making servers is dear, and it is only the first start in a folder that does. */
let folder: string;
beforeAll(async () => {
  folder = await makeFolder();
});
afterEach(killAll);

interface Ready {
  redis_url: string;
  database_url: string;
  supervisor_pid: number;
  worker_pids: number[];
  functions: string[];
}

async function up(handlers: string, ...more: string[]): Promise<{ process: CliProcess; ready: Ready }> {
  const process = startCli(["up", "--handlers", handlers, "--json", ...more], { cwd: folder });
  await process.says(/^\{.*\}$/m);
  return { process, ready: JSON.parse(/^\{.*\}$/m.exec(process.said)?.[0] ?? "") as Ready };
}

function serverPorts(): number[] {
  const { redis, postgres } = readState(join(folder, ".hitzero"));
  return [redis?.port, postgres?.port].filter((port) => port !== undefined);
}

async function expectNothingLeft(ports: readonly number[]): Promise<void> {
  expect(processesIn(folder)).toEqual([]);
  expect(ports).toHaveLength(2);
  for (const port of ports) expect(await isListening(port), `port ${port}`).toBe(false);
}

test("one command runs everything, others in the folder find it, and Ctrl-C leaves nothing", async () => {
  const { process, ready } = await up(HANDLERS);
  const ports = serverPorts();
  expect(ready.worker_pids).toHaveLength(2);
  expect(ready.functions).toContain("fetch_orders");
  expect(process.said).not.toMatch(/:\/\/[^\s:]*:(?!\*\*\*)[^\s@]+@/);
  const workflow =
    "name: here\nnodes:\n  - { id: greet, type: function, config: { function_name: greet } }\n";
  const options = { cwd: folder, input: workflow };
  const run = await runCli(["submit", "-", "--input", '{"name": "Ada"}', "--wait", "--json"], options);
  expect(JSON.parse(run.stdout), run.stderr).toMatchObject({
    status: "COMPLETED",
    output: { greeting: "Hello, Ada" },
  });
  const url = await runCli(["up", "--print-database-url"], { cwd: folder });
  expect(url.stdout.trim()).toBe(readState(join(folder, ".hitzero")).postgres?.url);

  process.signal("SIGINT");
  expect((await process.ended).code).toBe(0);
  await expectNothingLeft(ports);
  const after = await runCli(["run", "list"], { cwd: folder });
  expect(after.code).toBe(2);
  expect(after.stderr).toContain("npx hitzero up");
});

test("a worker that dies is started again, and two in one folder share the servers", async () => {
  // The first start, for which the two race.
  folder = await makeFolder();
  const [first, second] = await Promise.all([
    up(PLAIN_HANDLERS, "--workers", "1"),
    up(PLAIN_HANDLERS, "--workers", "1"),
  ]);
  expect(second.ready.database_url).toBe(first.ready.database_url);
  const ports = serverPorts();
  globalThis.process.kill(first.ready.worker_pids[0] as number, "SIGKILL");
  await first.process.says("worker 1 ended unexpectedly (SIGKILL)");
  await first.process.says("worker 1 serves again");

  first.process.signal("SIGTERM");
  expect((await first.process.ended).code).toBe(0);
  for (const port of ports) expect(await isListening(port), `port ${port}`).toBe(true);
  second.process.signal("SIGINT");
  expect((await second.process.ended).code).toBe(0);
  await expectNothingLeft(ports);
});

test("killed outright, its children end; the next one takes the servers over and ends them", async () => {
  const { process, ready } = await up(PLAIN_HANDLERS, "--workers", "1");
  const ports = serverPorts();
  globalThis.process.kill(process.pid, "SIGKILL");
  await process.ended;
  await until(() => ![ready.supervisor_pid, ...ready.worker_pids].some(isRunning), "the children end");
  const next = await up(PLAIN_HANDLERS, "--workers", "0");
  expect(serverPorts()).toEqual(ports);
  next.process.signal("SIGINT");
  await next.process.ended;
  await expectNothingLeft(ports);
});

test("a handler module that cannot be loaded is told, and nothing stays", async () => {
  const result = await runCli(["up", "--handlers", "absent.ts", "--workers", "1"], { cwd: folder });
  expect(result.code).toBe(2);
  expect(result.stderr).toContain("HANDLERS_NOT_FOUND");
  expect(processesIn(folder)).toEqual([]);
  expect(JSON.parse(readFileSync(join(folder, ".hitzero/servers.json"), "utf8"))).toMatchObject({
    users: [],
  });
});

/** As editors do: whoever looks sees the old text or the new one. */
async function save(file: string, text: string): Promise<void> {
  await writeFile(`${file}~`, text);
  await rename(`${file}~`, file);
}

test("a change of the handlers, or of what they import, replaces the workers; a broken one leaves them in place", async () => {
  const project = join(folder, "project");
  await mkdir(join(project, "lib"), { recursive: true });
  const handlers = join(project, "handlers.mjs");
  const lib = join(project, "lib/greeting.mjs");
  const open = join(project, "open");
  await save(lib, `export const greeting = "Hello";`);
  await save(
    handlers,
    `import { existsSync } from "node:fs";
     import { setTimeout } from "node:timers/promises";
     import { greeting } from "./lib/greeting.mjs";
     export const greet = () => greeting;
     export async function wait() {
       console.log("begun by", greeting);
       while (!existsSync(${JSON.stringify(open)})) await setTimeout(10);
       return greeting;
     }`,
  );
  const { process, ready } = await up(handlers, "--workers", "1", "--show-passwords");
  const { redis_url: redisUrl, database_url: databaseUrl } = ready;
  const client = await Client.connect({ redisUrl, databaseUrl });
  const submit = async (name: string) => {
    const node = { id: "only", type: "function", config: { function_name: name } };
    const { runIds } = await client.submit(await client.register({ name, nodes: [node], edges: [] }));
    return runIds[0] as string;
  };
  const outputOf = async (runId: Promise<string>) =>
    (await client.wait(await runId, { signal: withinLimit() })).output;
  const waiting = submit("wait");
  await process.says("begun by Hello");

  await save(lib, `export const greeting = "Good morning";`);
  await process.says("lib/greeting.mjs changed: 2 functions");
  expect(await outputOf(submit("greet"))).toBe("Good morning");
  // What the worker before performs it may end.
  await writeFile(open, "");
  expect(await outputOf(waiting)).toBe("Hello");

  await save(handlers, "export const greet = (;");
  await process.says("handlers.mjs changed and cannot be loaded: the workers before go on");
  expect(process.said).toContain("HANDLERS_BROKEN");
  // Its log may lie there; that is no reason to try again.
  await writeFile(join(project, "up.log"), process.said);
  expect(await outputOf(submit("greet"))).toBe("Good morning");
  await save(handlers, `export const greet = () => "Good night";`);
  await process.says("handlers.mjs changed: 1 function");
  expect(await outputOf(submit("greet"))).toBe("Good night");
  expect(process.said.match(/cannot be loaded/g)).toHaveLength(1);

  const second = await up(PLAIN_HANDLERS, "--workers", "0", "--no-watch");
  await second.process.says(`serves ${handlers}, this one serves ${PLAIN_HANDLERS}`);
  await client.close();
  for (const one of [second.process, process]) {
    one.signal("SIGINT");
    expect((await one.ended).code).toBe(0);
  }
});
