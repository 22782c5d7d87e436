/**
 * A Redis of hitzero's own, for `up`, `demo` and tests.
 *
 * Owns: a folder with `redis.conf`, `redis.json` (port, password and, once it runs, process),
 * `redis.pid`, `redis.log` and `data/`.
 * Invariants: at most one server runs on a folder; it listens on the loopback only and asks for a password; each
 * acknowledged write is in the append-only file within a second. The caller holds the folder's lock while it starts one.
 * The server is a process group of its own, so the terminal's Ctrl-C does not reach it. When its starter is killed it
 * runs on, and the next `startRedisServer` on the folder finds it by `redis.json`, which is written before it starts.
 */

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { mkdir, realpath, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { HitzeroError } from "../base/errors.ts";
import { readIfPresent, writeWhole } from "./files.ts";
import { freePort } from "./free_port.ts";
import type { LocalServer, OnProgress } from "./local_server.ts";
import { endProcess, identify, isAlive, type ProcessIdentity } from "./processes.ts";
import { findRedisBinary, type RedisBinary } from "./redis_binary.ts";
import { probeRedis } from "./redis_probe.ts";

export interface RedisServerOptions {
  /** Folder of the server; made if missing. Its data outlives the server. */
  dir: string;
  onProgress?: OnProgress;
  /** Further lines of `redis.conf`, for tests. */
  extraConfig?: readonly string[];
  /** Ends the fetching of a server program. */
  signal?: AbortSignal;
}

const Notes = z.object({
  port: z.number().int(),
  password: z.string(),
  process: z.object({ pid: z.number().int(), started: z.string() }).optional(),
});
type Notes = z.infer<typeof Notes>;

const START_ATTEMPTS = 5;
const READY_LIMIT_MS = 60_000;
const POLL_MS = 5;
/** How to end the server, in order of harshness. */
export const REDIS_STOP = [
  { signal: "SIGTERM", waitMs: 15_000 },
  { signal: "SIGKILL", waitMs: 5_000 },
] as const;

/**
 * Starts the folder's Redis, or attaches to it if it runs.
 *
 * @throws HitzeroError REDIS_NOT_FOUND, REDIS_NOT_STARTED, LOCAL_SERVER_STUCK (all exit code 3)
 */
export async function startRedisServer(options: RedisServerOptions): Promise<LocalServer> {
  await mkdir(options.dir, { recursive: true, mode: 0o700 });
  const dir = await realpath(options.dir);
  const notes = readNotes(dir);
  const running = notes && (await attach(dir, notes));
  if (running) return running;
  const binary = await findRedisBinary(options.onProgress ?? (() => {}), options.signal);
  await mkdir(join(dir, "data"), { recursive: true });
  for (let attempt = 1; ; attempt++) {
    const port = await freePort(attempt === 1 ? notes?.port : undefined);
    const next: Notes = { port, password: notes?.password ?? randomBytes(18).toString("hex") };
    const server = await launch(dir, next, binary, options.extraConfig ?? []);
    if (server) return server;
    if (attempt === START_ATTEMPTS) throw notStarted(dir);
  }
}

/** Attaches to the server of the notes if it is there; waits for one that is starting. */
async function attach(dir: string, notes: Notes): Promise<LocalServer | undefined> {
  const limit = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const identity = await probeRedis(notes.port, notes.password);
    const ours = identity?.configFile === configFile(dir);
    if (ours && identity.ready) {
      const process = identify(identity.pid);
      if (process) return describe(notes, process, `found running, process ${process.pid}`);
    }
    const noted = notes.process && isAlive(notes.process);
    if (!ours && !noted) return undefined;
    if (performance.now() > limit) {
      throw new HitzeroError("LOCAL_SERVER_STUCK", `the Redis of ${dir} runs but does not answer`, {
        hint: `See ${join(dir, "redis.log")}; end it with: kill -9 ${notes.process?.pid ?? identity?.pid}`,
        exitCode: 3,
      });
    }
    await sleep(POLL_MS);
  }
}

/** One attempt to start; undefined if the server ended at once, as it does when its port was taken meanwhile. */
async function launch(
  dir: string,
  notes: Notes,
  binary: RedisBinary,
  extra: readonly string[],
): Promise<LocalServer | undefined> {
  await writeFile(configFile(dir), configuration(dir, notes, extra), { mode: 0o600 });
  writeWhole(notesFile(dir), JSON.stringify(notes));
  const log = openSync(join(dir, "redis.log"), "a", 0o600);
  const child = spawn(binary.program, [configFile(dir)], {
    cwd: dir,
    env: binary.env,
    detached: true,
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  let ended = false;
  child.once("exit", () => {
    ended = true;
  });
  child.once("error", () => {
    ended = true;
  });
  child.unref();
  const process = child.pid === undefined ? undefined : identify(child.pid);
  if (!process) return undefined;
  writeWhole(notesFile(dir), JSON.stringify({ ...notes, process }));

  const limit = performance.now() + READY_LIMIT_MS;
  while (!ended) {
    const identity = await probeRedis(notes.port, notes.password);
    if (identity?.pid === process.pid && identity.ready) return describe(notes, process, binary.origin);
    if (performance.now() > limit) {
      await endProcess(process, REDIS_STOP);
      throw notStarted(dir);
    }
    await sleep(POLL_MS);
  }
  return undefined;
}

function describe(notes: Notes, process: ProcessIdentity, origin: string): LocalServer {
  return {
    url: `redis://:${notes.password}@127.0.0.1:${notes.port}`,
    process,
    port: notes.port,
    origin,
    stop: () => endProcess(process, REDIS_STOP),
  };
}

function configuration(dir: string, notes: Notes, extra: readonly string[]): string {
  return [
    "bind 127.0.0.1",
    "protected-mode yes",
    `port ${notes.port}`,
    `requirepass ${notes.password}`,
    "daemonize no",
    `pidfile "${quotable(join(dir, "redis.pid"))}"`,
    `dir "${quotable(join(dir, "data"))}"`,
    `logfile "${quotable(join(dir, "redis.log"))}"`,
    "# Durable: each write reaches the append-only file within a second, and no snapshot runs beside it.",
    "appendonly yes",
    "appendfsync everysec",
    // A rewrite in command form can drop pending entries of a stream.
    "aof-use-rdb-preamble yes",
    'save ""',
    "# hitzero's state must never be evicted.",
    "maxmemory-policy noeviction",
    ...extra,
    "",
  ].join("\n");
}

/** A path as it stands between double quotes in redis.conf. */
function quotable(path: string): string {
  return path.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
}

function configFile(dir: string): string {
  return join(dir, "redis.conf");
}

function notesFile(dir: string): string {
  return join(dir, "redis.json");
}

/** Notes of an earlier start; undefined if there are none, or they are not ours to read. */
function readNotes(dir: string): Notes | undefined {
  const text = readIfPresent(notesFile(dir));
  if (text === undefined) return undefined;
  try {
    return Notes.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function notStarted(dir: string): HitzeroError {
  return new HitzeroError("REDIS_NOT_STARTED", "the local Redis did not start", {
    hint: `The reason stands at the end of ${join(dir, "redis.log")}.`,
    exitCode: 3,
  });
}
