/**
 * A worker or supervisor as its users start it: the built command line in a process of its own. Unlike those of `up` it is not
 * started again when it dies: then the benchmark fails. Processes of other engines are started in the same way.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { resolve } from "node:path";
import { pause } from "../src/base/wait.ts";

const MAIN = resolve(import.meta.dirname, "../dist/cli/main.js");

/** Of what a process said last: characters that are kept, lines that are told, and how long one waits for them after its end. */
const WORDS_LENGTH = 4_000;
const WORDS_LINES = 12;
const WORDS_LIMIT_MS = 500;

/** A worker that cannot drain waits for ever by itself. */
const STOP_LIMIT_MS = 20_000;

export interface EngineProcess {
  readonly pid: number;
  /** Rejects when it ends without being asked to. Never resolves. */
  readonly died: Promise<never>;
  /** Has it end in order, or, if that takes too long, at once; waits for its end. May be called again. */
  stop(): Promise<void>;
}

/** One that is spoken to over Node's channel. */
export interface ToldProcess extends EngineProcess {
  readonly child: ChildProcess;
}

/** Starts `hitzero <args>`; resolves once it serves. It ends with this process, however that ends. */
export function startEngineProcess(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  nodeArgs: readonly string[] = [],
): Promise<EngineProcess> {
  const all = [...nodeArgs, MAIN, ...args, "--log-level", "warn"];
  return startNodeProcess(`hitzero ${args[0]}`, all, env);
}

/**
 * Starts `node <args>`; resolves once it has sent `{ready: true}`. It must end when its channel closes.
 * @param name for the error when it dies
 */
export async function startNodeProcess(
  name: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<ToldProcess> {
  const child = spawn(process.execPath, args, {
    env: { ...withoutSettings(process.env), ...env },
    // Not reached by the terminal's Ctrl-C: the benchmark ends it in order.
    detached: true,
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  const lastWords = listen(child);
  let stopping = false;
  const ended = new Promise<void>((done) => {
    child.once("exit", () => done());
    child.once("error", () => done());
  });
  const died = ended.then(async () => {
    if (stopping) return new Promise<never>(() => {});
    const words = await lastWords();
    const how = child.signalCode ?? child.exitCode;
    throw new Error(`${name} ended while it was measured (${how})${words === "" ? "" : `: ${words}`}`);
  });
  died.catch(() => {});
  await Promise.race([ready(child), died]);
  return {
    child,
    pid: child.pid as number,
    died,
    stop: async () => {
      stopping = true;
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      const impatience = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
      await ended;
      clearTimeout(impatience);
    },
  };
}

/** Passes on what a process says on its standard error; the function returns the end of it, once it ended. */
function listen({ stderr }: ChildProcess): () => Promise<string> {
  let words = "";
  stderr?.on("data", (chunk: Buffer) => {
    process.stderr.write(chunk);
    words = (words + chunk.toString()).slice(-WORDS_LENGTH);
  });
  // A child of its own may keep the pipe open.
  const closed = new Promise<void>((done) => stderr?.once("close", done));
  return async () => {
    await Promise.race([closed, pause(WORDS_LIMIT_MS)]);
    return words.trim().split("\n").slice(-WORDS_LINES).join("\n");
  };
}

function ready(child: ChildProcess): Promise<void> {
  return new Promise((done) => {
    child.on("message", (message: { ready?: boolean }) => {
      if (message.ready) done();
    });
  });
}

/** The user's own servers must not be measured, nor burdened. */
function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^(HITZERO_(?!CACHE)|REDIS_URL$|DATABASE_URL$)/.test(name)),
  );
}
