/**
 * Redis and Postgres for a project folder, shared by all who work in it.
 *
 * Owns: `.hitzero/` with `servers.json` (state), `redis/` and `postgres/` (data).
 * Invariants: at most one server of each kind runs per folder; a server stops when its last user leaves; users are processes,
 * and a dead one counts as gone. All changes happen under the folder's lock.
 * A killed user leaves the servers running; the next start in the folder attaches to them, and stops them when it leaves.
 */

import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { chmod, mkdir, realpath, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { assert } from "../base/assert.ts";
import { tryFolderLock, withFolderLock } from "./folder_lock.ts";
import type { LocalServer, OnProgress } from "./local_server.ts";
import { POSTGRES_STOP, startPostgresServer } from "./postgres_server.ts";
import { endProcess, identify, isAlive, signalProcess, waitForEnd } from "./processes.ts";
import { REDIS_STOP, startRedisServer } from "./redis_server.ts";
import {
  readState,
  type ServerEntry,
  type Serves,
  type StackState,
  type UserEntry,
  writeState,
} from "./stack_state.ts";

export interface LocalServersOptions {
  /** Folder for data and state; `.hitzero` in the working directory unless given. */
  dir?: string;
  /** Receives one line per thing that takes a while. */
  onProgress?: OnProgress;
  /** A Redis that runs elsewhere: then none is started or stopped here. */
  redisUrl?: string;
  /** A Postgres that runs elsewhere: then none is started or stopped here. */
  databaseUrl?: string;
  /** Aborted: what is still being fetched or waited for is given up. */
  signal?: AbortSignal;
  /** What this user's workers offer, for others to know. */
  serves?: Serves;
  /** Removes the folder when the last user leaves, and trades the safety of its data for speed. For `demo`. */
  throwAway?: boolean;
}

export interface LocalServers {
  redisUrl: string;
  databaseUrl: string;
  /** Where each server comes from, in words without secrets. */
  origin: { redis: string; postgres: string };
  /** What workers of others in the folder offer. */
  others: readonly Serves[];
  /** Leaves the servers; the last user stops them and waits for their end. May be called again. */
  stop(): Promise<void>;
}

/** Long enough for another process to fetch packages over a slow line. */
const LOCK_LIMIT_MS = 180_000;
const EXIT_LOCK_ATTEMPTS = 50;

/**
 * Makes Redis and Postgres available: given URLs are taken as they are, for the rest servers of the folder are started or,
 * if they run, attached to. When the process exits without `stop()`, the servers are told to end nevertheless; when it
 * is killed they run on until somebody else in the folder leaves.
 *
 * @throws HitzeroError of `startRedisServer` and `startPostgresServer`, and LOCAL_SERVERS_BUSY; all exit code 3. The signal's
 *   reason when it is aborted: then nothing that was started here runs on.
 */
export async function startLocalServers(options: LocalServersOptions): Promise<LocalServers> {
  const { redisUrl, databaseUrl } = options;
  if (redisUrl !== undefined && databaseUrl !== undefined) {
    const origin = { redis: `given: ${hostOf(redisUrl)}`, postgres: `given: ${hostOf(databaseUrl)}` };
    return { redisUrl, databaseUrl, origin, others: [], stop: async () => {} };
  }
  const onProgress = options.onProgress ?? (() => {});
  const folder = await makeFolder(options.dir ?? ".hitzero", options.throwAway ?? false);
  const waiting = () => onProgress("waiting for another hitzero that starts or stops servers in this folder");
  const start = async () => {
    options.signal?.throwIfAborted();
    const before = readState(folder);
    await waitForStopping(before);
    const started = await startMissing(folder, before, options, onProgress);
    const process = identify(globalThis.process.pid);
    assert(process, "the running process has an identity");
    const user: UserEntry = {
      ...process,
      id: randomBytes(8).toString("hex"),
      ...(options.serves ? { serves: options.serves } : {}),
    };
    const own: OwnServers = {
      ...(started.redis && { redis: started.redis.entry }),
      ...(started.postgres && { postgres: started.postgres.entry }),
    };
    writeState(folder, {
      ...before,
      ...own,
      users: [...before.users, user],
      stopping: false,
    });
    const exit = () => leaveWhileExiting(folder, user, own);
    globalThis.process.once("exit", exit);
    let stopped: Promise<void> | undefined;
    return {
      redisUrl: redisUrl ?? started.redis?.entry.url ?? "",
      databaseUrl: databaseUrl ?? started.postgres?.entry.url ?? "",
      origin: {
        redis: redisUrl === undefined ? (started.redis?.origin ?? "") : `given: ${hostOf(redisUrl)}`,
        postgres:
          databaseUrl === undefined ? (started.postgres?.origin ?? "") : `given: ${hostOf(databaseUrl)}`,
      },
      others: before.users.flatMap(({ serves }) => serves ?? []),
      stop: () => {
        globalThis.process.off("exit", exit);
        stopped ??= leave(folder, user, own, options.throwAway ?? false);
        return stopped;
      },
    };
  };
  return withFolderLock(folder, LOCK_LIMIT_MS, waiting, start, options.signal);
}

interface Started {
  entry: ServerEntry;
  origin: string;
}

/** The servers that one user asked for. */
type OwnServers = Pick<StackState, "redis" | "postgres">;

/** Starts or attaches to what no URL was given for; if one of the two fails, the other is not left running for nobody. */
async function startMissing(
  folder: string,
  before: StackState,
  options: LocalServersOptions,
  onProgress: OnProgress,
): Promise<{ redis?: Started; postgres?: Started }> {
  const redisDir = join(folder, "redis");
  const durable = !options.throwAway;
  const [redis, postgres] = await Promise.allSettled([
    options.redisUrl === undefined
      ? startRedisServer({ dir: redisDir, onProgress, ...(options.signal && { signal: options.signal }) })
      : undefined,
    options.databaseUrl === undefined
      ? startPostgresServer({ dir: join(folder, "postgres"), durable, onProgress })
      : undefined,
  ]);
  if (redis.status === "fulfilled" && postgres.status === "fulfilled") {
    return {
      ...(redis.value && { redis: started(redis.value, redisDir) }),
      ...(postgres.value && { postgres: started(postgres.value, postgres.value.dir) }),
    };
  }
  if (before.users.length === 0) {
    for (const outcome of [redis, postgres]) if (outcome.status === "fulfilled") await outcome.value?.stop();
  }
  throw redis.status === "rejected" ? redis.reason : (postgres as PromiseRejectedResult).reason;
}

function started(server: LocalServer, dir: string): Started {
  return {
    entry: { process: server.process, port: server.port, url: server.url, dir },
    origin: server.origin,
  };
}

async function leave(folder: string, user: UserEntry, own: OwnServers, throwAway: boolean): Promise<void> {
  // Whoever removed the folder meanwhile took the state away, not the servers.
  await mkdir(folder, { recursive: true });
  await withFolderLock(
    folder,
    LOCK_LIMIT_MS,
    () => {},
    async () => {
      const state = readState(folder);
      const users = state.users.filter((other) => other.id !== user.id);
      if (users.length > 0) return writeState(folder, { ...state, users });
      const { redis, postgres } = { ...own, ...state };
      await Promise.all([
        redis && endProcess(redis.process, REDIS_STOP),
        postgres && endProcess(postgres.process, POSTGRES_STOP),
      ]);
      writeState(folder, { users: [], stopping: false });
      if (throwAway && postgres) await rm(postgres.dir, { recursive: true, force: true });
      if (throwAway) await rm(folder, { recursive: true, force: true });
    },
  );
}

/** The exit handler's form of `leave`: nothing can be awaited, so the servers are only told to end. */
function leaveWhileExiting(folder: string, user: UserEntry, own: OwnServers): void {
  mkdirSync(folder, { recursive: true });
  for (let attempt = 0; attempt < EXIT_LOCK_ATTEMPTS; attempt++) {
    const lock = tryFolderLock(folder);
    if (!lock) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
      continue;
    }
    const state = readState(folder);
    const users = state.users.filter((other) => other.id !== user.id);
    if (users.length === 0) {
      const { redis, postgres } = { ...own, ...state };
      if (redis) signalProcess(redis.process, REDIS_STOP[0].signal);
      if (postgres) signalProcess(postgres.process, POSTGRES_STOP[0].signal);
    }
    writeState(folder, { ...state, users, stopping: users.length === 0 });
    lock.release();
    return;
  }
}

/** Servers that were told to end must not be taken for servers that run. */
async function waitForStopping(state: StackState): Promise<void> {
  if (!state.stopping) return;
  for (const [entry, requests] of [
    [state.redis, REDIS_STOP],
    [state.postgres, POSTGRES_STOP],
  ] as const) {
    if (!entry || !isAlive(entry.process)) continue;
    if (!(await waitForEnd(entry.process, requests[0].waitMs))) await endProcess(entry.process, requests);
  }
}

/** Makes the folder: private, but for root's Postgres to pass through, and invisible to git, as it holds passwords. */
async function makeFolder(dir: string, throwAway: boolean): Promise<string> {
  const made = await mkdir(resolve(dir), { recursive: true });
  const folder = await realpath(resolve(dir));
  // A folder that was there has its owner's mode and may hold other things.
  if (made === undefined && !throwAway) return folder;
  await chmod(folder, 0o711);
  await writeFile(join(folder, ".gitignore"), "*\n");
  return folder;
}

/** Host and port of a URL, for the user's eyes. */
function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : "a URL that does not parse";
}
