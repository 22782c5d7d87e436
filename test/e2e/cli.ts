/** The real command line in processes of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdtemp } from "node:fs/promises";
import { join, resolve } from "node:path";
import { inject } from "vitest";
import { until } from "../support/until.ts";

const MAIN = resolve(import.meta.dirname, "../../dist/cli/main.js");
/** In TypeScript. */
export const HANDLERS = resolve(import.meta.dirname, "handlers.ts");
/** Some of them in JavaScript, for workers whose handlers do not matter much. */
export const PLAIN_HANDLERS = resolve(import.meta.dirname, "handlers.mjs");
export const EXAMPLES = resolve(import.meta.dirname, "../../test_data/workflow_examples.json");

export interface CliOptions {
  /** Added to an environment that names no servers. */
  env?: Record<string, string>;
  cwd?: string;
  /** Text for standard input. */
  input?: string;
}

export interface CliResult {
  /** Exit code, or the signal that ended it. */
  code: number | NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface CliProcess {
  readonly pid: number;
  /** What it printed so far, both streams. */
  readonly said: string;
  readonly ended: Promise<CliResult>;
  /** Waits until it has printed this. */
  says(text: string | RegExp): Promise<void>;
  /** Sends a signal as a terminal does: to the whole process group. */
  signal(signal: NodeJS.Signals): void;
}

const running = new Set<ChildProcess>();

/** Ends what a failed test left behind. */
export function killAll(): void {
  for (const child of running) if (child.pid !== undefined) signalGroup(child.pid, "SIGKILL");
}

/** The environment without what names servers or belongs to the tests. */
export function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(HITZERO_(?!CACHE)|REDIS_URL|DATABASE_URL|NODE_OPTIONS|VITEST)/.test(name),
    ),
  );
}

export function startCli(args: readonly string[], options: CliOptions = {}): CliProcess {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: options.cwd ?? inject("runFolder"),
    env: { ...environment(), ...options.env },
    detached: true,
  });
  running.add(child);
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");
  let over = false;
  const ended = new Promise<CliResult>((done) => {
    child.once("close", (code, signal) => {
      running.delete(child);
      over = true;
      done({ code: code ?? signal, stdout, stderr });
    });
  });
  const pid = child.pid as number;
  const said = () => stdout + stderr;
  return {
    pid,
    get said() {
      return said();
    },
    ended,
    says: async (text) => {
      const found = () => (typeof text === "string" ? said().includes(text) : text.test(said()));
      await until(
        () => found() || over,
        `hitzero ${args.join(" ")} says ${text}; it said: ${said()}`,
        60_000,
      );
      if (!found())
        throw new Error(`hitzero ${args.join(" ")} ended without saying ${text}; it said: ${said()}`);
    },
    signal: (signal) => signalGroup(pid, signal),
  };
}

export function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return startCli(args, options).ended;
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // It ended before.
  }
}

/** A new folder that other users may pass, as Postgres runs as one of them when tests run as root. */
export async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(inject("runFolder"), "e2e-"));
  await chmod(folder, 0o711);
  return folder;
}
