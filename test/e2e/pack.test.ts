/** What is shipped: the packed tarball, installed in an empty folder, does what the README says. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEmptyDatabase, type TestDatabase } from "../support/database.ts";
import { redisUrl, testNamespace } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { makeFolder } from "./cli.ts";

const ROOT = resolve(import.meta.dirname, "../..");

/** Lies in a folder whose package.json has no "type": what TypeScript and Node take for CommonJS. */
const HANDLERS = `
import { type Handler, NonRetryableError } from "hitzero";

export * from "./greet";

const refuse: Handler = ({ attempt }) => {
  throw new NonRetryableError(\`refused at attempt \${attempt}\`);
};

export default { refuse };
`;

const GREET = `
import type { HandlerContext } from "hitzero";

export async function greet({ input }: HandlerContext): Promise<{ greeting: string }> {
  const { name } = input as { name: string };
  return { greeting: \`Hello, \${name}\` };
}
`;

const WORKFLOW = `
name: packed
nodes:
  - { id: greet, type: function, config: { function_name: greet } }
  - { id: shout, type: transform, config: { expression: 'data.greeting + "!"' } }
  - { id: refuse, type: function, config: { function_name: refuse }, retry: { max_attempts: 3 } }
  - { id: ask, type: http, config: { url: "{{ input.url }}" } }
  - { id: end, type: aggregate, config: { operation: count }, trigger_rule: all_done }
edges:
  - { from: greet, to: shout }
  - { from: greet, to: refuse }
  - { from: greet, to: ask }
  - { from: refuse, to: end, on: failure }
  - { from: shout, to: end }
output: 'nodes["shout"].output + nodes["ask"].output.body'
`;

let folder: string;
let database: TestDatabase;
const running = new Set<ChildProcess>();

/** A process in the folder of the installed package. */
function start(command: string, args: readonly string[], cwd: string = folder) {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(HITZERO_(?!CACHE)|REDIS_URL|DATABASE_URL|NODE_OPTIONS|VITEST)/.test(name),
    ),
  );
  Object.assign(env, {
    HITZERO_REDIS_URL: redisUrl(),
    HITZERO_NAMESPACE: namespace,
    HITZERO_HTTP_ALLOW_PRIVATE: "127.0.0.1",
  });
  if (database) env.HITZERO_DATABASE_URL = database.url;
  const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (text: string) => {
      said[stream] += text;
    });
  }
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((done) => {
    child.once("close", (code) => {
      running.delete(child);
      done({ code, ...said });
    });
  });
  return { child, said, ended };
}

const run = (command: string, args: readonly string[], cwd?: string) => start(command, args, cwd).ended;
const hitzero = (...args: string[]) => run(join(folder, "node_modules/.bin/hitzero"), args);
const namespace = testNamespace();

beforeAll(async () => {
  folder = await makeFolder();
  database = await createEmptyDatabase();
  await writeFile(join(folder, "package.json"), JSON.stringify({ private: true }));
  await writeFile(join(folder, "handlers.ts"), HANDLERS);
  await writeFile(join(folder, "greet.ts"), GREET);
  await writeFile(join(folder, "workflow.yaml"), WORKFLOW);
  // Without scripts: the build is there, and other tests are using it.
  const packing = ["pack", "--ignore-scripts", "--json", "--pack-destination", folder];
  const packed = await run("npm", packing, ROOT);
  expect(packed, packed.stderr).toMatchObject({ code: 0 });
  const tarball = (JSON.parse(packed.stdout) as { filename: string }[])[0]?.filename as string;
  const quietly = ["--prefer-offline", "--no-audit", "--no-fund"];
  const installed = await run("npm", ["install", join(folder, tarball), ...quietly]);
  expect(installed, installed.stderr).toMatchObject({ code: 0 });
}, 180_000);

afterAll(async () => {
  for (const child of running) child.kill("SIGKILL");
  await database?.drop();
});

test("the package holds what it needs and no more", async () => {
  const inside = await readdir(join(folder, "node_modules/hitzero"));
  expect(inside).toEqual(
    expect.arrayContaining(["dist", "lua", "migrations", "schema", "examples", "LICENSE"]),
  );
  for (const name of ["src", "test", "bench", "node_modules", ".github"]) expect(inside).not.toContain(name);
});

test("npx hitzero explains itself; the command compiles a workflow", async () => {
  const help = await run("npx", ["hitzero", "--help"]);
  expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining("Usage: hitzero") });
  const compiled = await hitzero("compile", "workflow.yaml", "--json");
  expect(compiled.code, compiled.stderr).toBe(0);
  expect(JSON.parse(compiled.stdout)).toMatchObject({ name: "packed", nodes: 5, edges: 5 });
});

test("handlers in TypeScript import types and errors from hitzero, and its types hold", async () => {
  // The project's own compiler and Node types stand in for the user's.
  await mkdir(join(folder, "node_modules/@types"), { recursive: true });
  await symlink(join(ROOT, "node_modules/@types/node"), join(folder, "node_modules/@types/node")).catch(
    () => {},
  );
  const flags = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2023"];
  const checked = await run(process.execPath, [
    join(ROOT, "node_modules/typescript7/bin/tsc"),
    ...flags,
    "--types",
    "node",
    "handlers.ts",
  ]);
  expect(checked.stdout + checked.stderr).toBe("");
});

test("migrate, supervisor, worker and submit work from the package", async () => {
  expect(await hitzero("migrate")).toMatchObject({ code: 0 });
  const bin = join(folder, "node_modules/.bin/hitzero");
  const serving = [start(bin, ["supervisor"]), start(bin, ["worker", "--handlers", "handlers.ts"])];
  const says = ["records runs", "serves queue"];
  for (const [index, { said }] of serving.entries())
    await until(() => said.stderr.includes(says[index] as string), `${says[index]} (${said.stderr})`, 30_000);
  const server = createServer((_request, response) => response.end("!")).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const input = JSON.stringify({ name: "Ada", url: `http://127.0.0.1:${port}/` });
  const submitted = await hitzero("submit", "workflow.yaml", "--input", input, "--wait", "--json");
  expect(submitted.code, submitted.stderr + submitted.stdout).toBe(0);
  const result = JSON.parse(submitted.stdout) as { run_id: string };
  expect(result).toMatchObject({ status: "COMPLETED", output: "Hello, Ada!!", error: null });
  // The class that the handler imported is not the worker's own copy, and is known all the same: no retry.
  const shown = await hitzero("run", "show", result.run_id, "--json");
  expect(shown.stdout).toContain("refused at attempt 1");
  for (const { child } of serving) child.kill("SIGTERM");
  for (const { ended } of serving) expect((await ended).code).toBe(0);
  server.close();
});
