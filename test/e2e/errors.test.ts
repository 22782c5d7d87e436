/** What comes back when something is wrong: the code, the place, the remedy, and nothing left behind. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../src/local/free_port.ts";
import { type Link, startLink } from "../support/link.ts";
import { killAll, makeFolder, runCli } from "./cli.ts";
import { type CliEngine, connectCli } from "./engine.ts";

const SECRET = "s3cret-w0rd";

let engine: CliEngine;
let folder: string;
const links: Link[] = [];

beforeAll(async () => {
  engine = await connectCli("migrated");
  folder = await makeFolder();
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(folder, name), text);
});
afterAll(async () => {
  await engine?.stop();
  killAll();
  for (const link of links) await link.close();
});

const node = (id: string, more: object = {}) => ({ id, type: "parallel", ...more });
const workflow = (nodes: object[], edges: object[] = []) => JSON.stringify({ name: "wrong", nodes, edges });
const FILES: Record<string, string> = {
  "good.json": workflow([node("a")]),
  "strict.json": JSON.stringify({
    name: "strict",
    nodes: [node("a")],
    edges: [],
    input_schema: { type: "object", required: ["n"] },
  }),
  "nameless.flow.json": JSON.stringify({ nodes: [node("a", { config: { colour: "red" } })] }),
  "broken.json": '{\n  "name": "wrong",\n  "nodes": [,]\n}',
  "broken.yaml": "name: wrong\nnodes:\n  - id: a\n   type: parallel\n",
  "cycle.json": workflow(
    [node("a"), node("b")],
    [
      { from: "a", to: "b" },
      { from: "b", to: "a" },
    ],
  ),
  "dangling.json": workflow([node("a")], [{ from: "a", to: "nowhere" }]),
  "cel.json": workflow([node("a", { type: "transform", config: { expression: "data.x +" } })]),
  "reserved.json": workflow([node("constructor")]),
  "type.json": workflow([node("a", { type: "functoin" })]),
  "deploy.json": workflow(
    [
      node("a"),
      node("ship", {
        type: "deploy",
        config: { target_type: "model", model_id: "m", version: 1, environment: "staging" },
      }),
    ],
    [{ from: "a", to: "ship" }],
  ),
  "many.json": workflow(
    [node("a", { type: "functoin" }), node("constructor")],
    [{ from: "a", to: "nowhere" }],
  ),
};

interface Case {
  name: string;
  args: string[];
  code: number;
  /** Code of the error. */
  error: string;
  /** Each stands in the message, a fault or a hint. */
  tells: string[];
  env?: () => Record<string, string> | Promise<Record<string, string>>;
}

/** These run as processes, others within the test: one of each kind of fault, and what keeps a process alive until it is told. */
const AS_PROCESSES = [
  ...["broken YAML", "no such workflow", "an unknown flag", "a wrong Postgres password"],
  ...["no handler module", "a worker without Redis", "a supervisor without Postgres"],
  ...["a silent Redis", "a silent Postgres", "a silent Postgres, to migrate"],
];

const submit = (file: string, ...more: string[]) => ["submit", file, ...more];
const invalid = (name: string, file: string, ...tells: string[]): Case => ({
  name,
  args: submit(file),
  code: 2,
  error: "INVALID_INPUT",
  tells,
});

function urlOf(
  name: "HITZERO_REDIS_URL" | "HITZERO_DATABASE_URL",
  change: (url: URL) => void,
): Record<string, string> {
  const url = new URL(engine.env[name] as string);
  change(url);
  return { [name]: url.href };
}
const away = async (name: "HITZERO_REDIS_URL" | "HITZERO_DATABASE_URL") => {
  const port = await freePort();
  return urlOf(name, (url) => {
    url.port = String(port);
    url.password = SECRET;
  });
};
const wrongPassword = (name: "HITZERO_REDIS_URL" | "HITZERO_DATABASE_URL") =>
  urlOf(name, (url) => {
    url.password = SECRET;
  });

/** Its sockets open, and nothing comes. */
const silent = async (name: "HITZERO_REDIS_URL" | "HITZERO_DATABASE_URL") => {
  const link = await startLink(engine.env[name] as string);
  links.push(link);
  link.silence("to_client");
  return { [name]: link.url };
};

const CASES: Case[] = [
  invalid("broken JSON", "broken.json", "line 3, column 13"),
  invalid("broken YAML", "broken.yaml", "line 4"),
  invalid("a cycle", "cycle.json", "a -> b -> a"),
  invalid("a dangling edge", "dangling.json", "$.edges[0].to", "nowhere"),
  invalid("wrong CEL", "cel.json", "$.nodes[0].config.expression"),
  invalid("a reserved id", "reserved.json", "$.nodes[0].id", "reserved"),
  invalid("an unknown type", "type.json", "$.nodes[0].type", 'Did you mean "function"?'),
  invalid("a deployment", "deploy.json", "NOT_SUPPORTED_YET", "$.nodes[1].type", "deploy"),
  invalid("all faults at once", "many.json", "$.nodes[0].type", "$.nodes[1].id", "$.edges[0].to"),
  {
    name: "a missing file",
    args: submit("absent.yaml"),
    code: 2,
    error: "FILE_NOT_FOUND",
    tells: ["absent.yaml"],
  },
  { name: "a folder", args: submit("./"), code: 2, error: "FILE_UNREADABLE", tells: ["is a folder"] },
  {
    name: "no such workflow",
    args: submit("unheard_of"),
    code: 2,
    error: "WORKFLOW_NOT_FOUND",
    tells: ["unheard_of"],
  },
  {
    name: "broken --input",
    args: submit("good.json", "--input", "{n: 1}"),
    code: 2,
    error: "INVALID_INPUT",
    tells: ["line 1, column 2"],
  },
  {
    name: "a file as --input",
    args: submit("good.json", "--input", "good.json"),
    code: 2,
    error: "BAD_INPUT",
    tells: ["@good.json"],
  },
  {
    name: "--input against input_schema",
    args: submit("strict.json", "--input", "{}"),
    code: 2,
    error: "INVALID_INPUT",
    tells: ["INPUT_SCHEMA"],
  },
  {
    name: "an unknown command",
    args: ["sumbit"],
    code: 2,
    error: "USAGE",
    tells: ["sumbit", "Did you mean submit?"],
  },
  {
    name: "an unknown flag",
    args: submit("good.json", "--wiat"),
    code: 2,
    error: "USAGE",
    tells: ["--wiat", "Did you mean --wait?"],
  },
  {
    name: "a wrong number",
    args: submit("good.json", "--count", "many"),
    code: 2,
    error: "USAGE",
    tells: ["--count", "whole number"],
  },
  { name: "a missing argument", args: ["run", "show"], code: 2, error: "USAGE", tells: ["run_id"] },
  {
    name: "an unknown run",
    args: ["run", "show", "nothing"],
    code: 2,
    error: "RUN_NOT_FOUND",
    tells: ["nothing", "run list"],
  },
  {
    name: "no handler module",
    args: ["worker", "--handlers", "absent.ts"],
    code: 2,
    error: "HANDLERS_NOT_FOUND",
    tells: ["absent.ts"],
  },
  {
    name: "no servers",
    args: submit("good.json"),
    code: 2,
    error: "NO_SERVERS",
    tells: ["hitzero up", "HITZERO_REDIS_URL", "HITZERO_DATABASE_URL"],
    env: () => ({ HITZERO_REDIS_URL: "", HITZERO_DATABASE_URL: "" }),
  },
  {
    name: "Redis away",
    args: submit("good.json"),
    code: 3,
    error: "SERVER_UNREACHABLE",
    tells: ["Redis at 127.0.0.1:", "HITZERO_REDIS_URL"],
    env: () => away("HITZERO_REDIS_URL"),
  },
  {
    name: "Postgres away",
    args: submit("good.json"),
    code: 3,
    error: "SERVER_UNREACHABLE",
    tells: ["Postgres at ", "HITZERO_DATABASE_URL"],
    env: () => away("HITZERO_DATABASE_URL"),
  },
  {
    name: "a silent Redis",
    args: submit("good.json"),
    code: 3,
    error: "SERVER_UNREACHABLE",
    tells: ["Redis at 127.0.0.1:", "HITZERO_REDIS_URL"],
    env: () => silent("HITZERO_REDIS_URL"),
  },
  {
    name: "a silent Postgres",
    args: submit("good.json"),
    code: 3,
    error: "SERVER_UNREACHABLE",
    tells: ["Postgres at 127.0.0.1:", "HITZERO_DATABASE_URL"],
    env: () => silent("HITZERO_DATABASE_URL"),
  },
  {
    name: "a silent Postgres, to migrate",
    args: ["migrate"],
    code: 3,
    error: "SERVER_UNREACHABLE",
    tells: ["Postgres at 127.0.0.1:", "HITZERO_DATABASE_URL"],
    env: () => silent("HITZERO_DATABASE_URL"),
  },
  {
    name: "a wrong Redis password",
    args: submit("good.json"),
    code: 3,
    error: "WRONG_PASSWORD",
    tells: ["Redis"],
    env: () => wrongPassword("HITZERO_REDIS_URL"),
  },
  {
    name: "a wrong Postgres password",
    args: submit("good.json"),
    code: 3,
    error: "WRONG_PASSWORD",
    tells: ["Postgres"],
    env: () => wrongPassword("HITZERO_DATABASE_URL"),
  },
  {
    name: "a worker without Redis",
    args: ["worker"],
    code: 3,
    error: "SERVER_UNREACHABLE",
    tells: ["Redis"],
    env: () => away("HITZERO_REDIS_URL"),
  },
  {
    name: "a supervisor without Postgres",
    args: ["supervisor"],
    code: 3,
    error: "SERVER_UNREACHABLE",
    tells: ["Postgres"],
    env: () => away("HITZERO_DATABASE_URL"),
  },
];

describe.concurrent("each wrong input has its answer", () => {
  test.each(CASES)("$name", async ({ name, args, code, error, tells, env }) => {
    const run = AS_PROCESSES.includes(name) ? engine.run : engine.here;
    const result = await run(args, { cwd: folder, env: (await env?.()) ?? {} });
    expect(result.code, result.stderr).toBe(code);
    expect(result.stdout).toBe("");
    expect(result.stderr).toContain(`error ${error}: `);
    expect(result.stderr).toContain("hint: ");
    for (const word of tells) expect(result.stderr).toContain(word);
    expect(result.stderr).not.toMatch(/^ {4}at /m);
    expect(result.stderr).not.toContain(SECRET);
  });

  const inJson = ["all faults at once", "an unknown flag", "no such workflow", "a wrong Postgres password"];
  test.each(CASES.filter(({ name }) => inJson.includes(name)))(
    "$name, with --json",
    async ({ name, args, code, error, tells, env }) => {
      const run = name === "no such workflow" ? engine.run : engine.here;
      const result = await run([...args, "--json"], { cwd: folder, env: (await env?.()) ?? {} });
      expect(result.code, result.stderr).toBe(code);
      expect(result.stderr).toBe("");
      const document = JSON.parse(result.stdout);
      const text = expect.stringMatching(/./);
      expect(document).toEqual({
        error: { code: error, message: text, hint: text, faults: expect.any(Array) },
      });
      for (const fault of document.error.faults)
        expect(fault).toEqual({ code: text, path: text, message: text, hint: text });
      for (const word of tells) expect(result.stdout).toContain(JSON.stringify(word).slice(1, -1));
      expect(result.stdout).not.toContain(SECRET);
    },
  );
});

test("a stack is shown with --log-level debug, and only then", async () => {
  const result = await engine.run(["submit", "absent.yaml", "--log-level", "debug"], { cwd: folder });
  expect(result.code).toBe(2);
  expect(result.stderr).toMatch(/^ {4}at /m);
});

test("help and version", async () => {
  const [help, version, none] = await Promise.all([
    runCli(["submit", "--help"]),
    runCli(["--version"]),
    runCli([]),
  ]);
  expect([help.code, version.code, none.code]).toEqual([0, 0, 2]);
  expect(help.stdout).toContain("Examples:");
  expect(help.stdout).toContain("--redis-url");
  expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(none.stdout).toContain("Usage: hitzero");
});

test("compile tells what a workflow holds, from a file and from standard input", async () => {
  const out = join(folder, "good.ir.json");
  const [text, json] = await Promise.all([
    runCli(["compile", "good.json", "--out", out], { cwd: folder }),
    runCli(["compile", "-", "--json"], { input: "name: piped\nnodes:\n  - { id: a, type: parallel }\n" }),
  ]);
  expect(text.code, text.stderr).toBe(0);
  expect(text.stdout).toContain("1 node, 0 edges, 1 level");
  expect(JSON.parse(json.stdout)).toMatchObject({
    name: "piped",
    nodes: 1,
    edges: 0,
    levels: 1,
    entries: ["a"],
    terminals: ["a"],
  });
  const again = await runCli(["compile", out, "--json"]);
  expect(text.stdout).toContain(JSON.parse(again.stdout).digest);
});

test("a workflow without a name is called like its file; what nothing reads is a warning, and a fault with --strict", async () => {
  const here = (...args: string[]) => engine.here(args, { cwd: folder });
  const [text, json, strict] = [
    await here("compile", "nameless.flow.json"),
    await here("compile", "nameless.flow.json", "--json"),
    await here("compile", "nameless.flow.json", "--strict", "--json"),
  ];
  expect(text.stdout).toContain("nameless.flow is valid");
  expect(text.stderr).toContain("IGNORED_PROPERTY at $.nodes[0].config.colour");
  const warnings = [expect.objectContaining({ code: "IGNORED_PROPERTY", path: "$.nodes[0].config.colour" })];
  expect(JSON.parse(json.stdout)).toMatchObject({ name: "nameless.flow", warnings });
  expect(strict.code).toBe(2);
  expect(strict.stdout + strict.stderr).toContain("IGNORED_PROPERTY");
});

test("nothing is left behind", async () => {
  const client = new pg.Client({ connectionString: engine.database.url });
  await client.connect();
  const { rows } = await client.query(
    "select (select count(*)::int from hitzero.runs) as runs, (select count(*)::int from hitzero.workflows) as workflows",
  );
  await client.end();
  expect(rows).toEqual([{ runs: 0, workflows: 0 }]);
});
