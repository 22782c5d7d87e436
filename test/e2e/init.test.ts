/** `init`: a project that compiles, runs, and overwrites nothing; and what `completion` offers. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { killAll, makeFolder, runCli } from "./cli.ts";
import { type CliEngine, connectCli } from "./engine.ts";
import { runHere } from "./here.ts";

let engine: CliEngine;
let folder: string;

beforeAll(async () => {
  folder = await makeFolder();
  engine = await connectCli("migrated");
});
afterAll(async () => {
  await engine?.stop();
  killAll();
});

const FILES = [
  ".gitignore",
  "README.md",
  "docker-compose.yml",
  "handlers.ts",
  "hitzero.config.json",
  "package.json",
  "workflow.yaml",
];

describe("init", () => {
  test("the project compiles, and its workflow runs as its README says", async () => {
    const made = await runCli(["init", "My Orders"], { cwd: folder });
    expect(made.code, made.stderr).toBe(0);
    const project = join(folder, "My Orders");
    expect(readdirSync(project).sort()).toEqual(FILES);
    expect(made.stdout).toContain("Next:\n  cd My Orders\n  npm install\n  npx hitzero up");
    expect(JSON.parse(readFileSync(join(project, "package.json"), "utf8"))).toMatchObject({
      name: "my-orders",
      dependencies: { hitzero: expect.stringMatching(/^(\^\d|file:)/) },
    });
    const compose = parse(readFileSync(join(project, "docker-compose.yml"), "utf8"));
    expect(compose.services.redis.command).toContain("--appendonly yes");
    const compiled = await runHere(["compile", "workflow.yaml", "--json"], { cwd: project });
    expect(JSON.parse(compiled.stdout), compiled.stdout).toMatchObject({ name: "order", warnings: [] });

    const supervisor = engine.start(["supervisor"], { cwd: project });
    // Without --handlers: hitzero.config.json names them.
    const worker = engine.start(["worker"], { cwd: project });
    engine.processes.push(supervisor, worker);
    await Promise.all([supervisor.says("records runs"), worker.says("serves queue default: 4 functions")]);
    const submit = (order_id: string) =>
      engine.here(["submit", "workflow.yaml", "--input", JSON.stringify({ order_id }), "--wait", "--json"], {
        cwd: project,
      });
    const [small, large] = [await submit("A-17"), await submit("A-1700000")];
    expect(small.code, small.stderr).toBe(0);
    expect(JSON.parse(small.stdout).output).toEqual({
      receipt: "A-17: 100 EUR, approved by the machine",
    });
    expect(JSON.parse(large.stdout).output).toEqual({
      receipt: "A-1700000: 225 EUR, approved by a person",
    });
  });

  test("what is there stays as it is", async () => {
    const project = join(folder, "existing");
    mkdirSync(project);
    writeFileSync(join(project, "package.json"), "mine");
    const first = await runHere(["init", "--json"], { cwd: project });
    expect(JSON.parse(first.stdout).kept).toEqual(["package.json"]);
    expect(readFileSync(join(project, "package.json"), "utf8")).toBe("mine");
    const again = await runHere(["init"], { cwd: project });
    expect(again.code).toBe(0);
    expect(again.stdout.match(/was there and stays as it is/g)).toHaveLength(FILES.length);
    expect(again.stdout).not.toContain("cd ");
  });

  test("a folder that cannot be written to is told", async () => {
    writeFileSync(join(folder, "a-file"), "");
    const result = await runHere(["init", "a-file"], { cwd: folder });
    expect(result.code).toBe(2);
    expect(result.stderr).toContain("error FILE_UNWRITABLE: files cannot be written to a-file");
  });
});

describe("completion", () => {
  /** What bash offers for a line, by the script as it stands. */
  function offered(script: string, ...words: string[]): string[] {
    const program = `
      source "$1"; shift
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
      _hitzero
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const file = join(folder, "completion.bash");
    writeFileSync(file, script);
    const args = ["--norc", "-c", program, "bash", file, "hitzero", ...words];
    return execFileSync("bash", args, { encoding: "utf8" }).split("\n").filter(Boolean);
  }

  test("bash completes commands, subcommands, flags and choices", async () => {
    const { stdout, code } = await runCli(["completion", "bash"]);
    expect(code).toBe(0);
    expect(offered(stdout, "ru")).toEqual(["run"]);
    expect(offered(stdout, "run", "c")).toEqual(["cancel"]);
    expect(offered(stdout, "--json", "run", "")).toEqual(
      expect.arrayContaining(["list", "show", "watch", "events", "graph", "cancel", "pause", "resume"]),
    );
    expect(offered(stdout, "run", "events", "--f")).toEqual(["--follow"]);
    expect(offered(stdout, "run", "graph", "--format", "m")).toEqual(["mermaid"]);
    expect(offered(stdout, "worker", "--pro")).toEqual(["--processes"]);
    expect(offered(stdout, "worker", "--handlers", "")).toEqual([]);
    expect(offered(stdout, "worker", "--suspects")).toEqual([]); // nor does help show it
    expect(offered(stdout, "submit", "--js")).toEqual(["--json"]);
    expect(offered(stdout, "dead-letter", "re")).toEqual(["redrive"]);
    expect(offered(stdout, "completion", "z")).toEqual(["zsh"]);
  });

  test("zsh and fish have every command; another shell is refused", async () => {
    const [zsh, fish, json, wrong] = await Promise.all([
      runHere(["completion", "zsh"]),
      runHere(["completion", "fish"]),
      runHere(["completion", "bash", "--json"]),
      runHere(["completion", "csh"]),
    ]);
    const { places } = JSON.parse(json.stdout) as {
      places: { place: string; commands: { name: string }[] }[];
    };
    expect(places.map(({ place }) => place)).toEqual(
      expect.arrayContaining(["", "run", "run cancel", "dead-letter redrive", "doctor"]),
    );
    for (const { place, commands } of places) {
      expect(zsh.stdout).toContain(`    "${place}")`);
      for (const { name } of commands)
        expect(fish.stdout).toContain(`-n '__hitzero_at '\\''${place}'\\''' -f -a ${name} `);
    }
    expect([wrong.code, wrong.stderr.includes("bash, zsh, fish")]).toEqual([2, true]);
  });
});
