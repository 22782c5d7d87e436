/**
 * A Postgres of hitzero's own, for `up`, `demo` and tests.
 *
 * Owns: a folder with `data/` (the cluster), `password`, `port` and `postgres.log`, all of the server's user.
 * Invariants: at most one server runs on a folder (Postgres's own lock, `postmaster.pid`, sees to it); it listens on the
 * loopback only, by TCP only, and asks for a random password (scram); `data/` is a whole cluster or absent, as it is made
 * elsewhere and renamed. The caller holds the folder's lock while it starts one.
 * The server is a process group of its own, so the terminal's Ctrl-C does not reach it. When its starter is killed it
 * runs on, and the next `startPostgresServer` on the folder finds it by `postmaster.pid`.
 */

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync } from "node:fs";
import { chown, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { HitzeroError } from "../base/errors.ts";
import { readIfPresent } from "./files.ts";
import { freePort } from "./free_port.ts";
import type { LocalServer, OnProgress } from "./local_server.ts";
import { type Account, prepareFolder } from "./postgres_account.ts";
import { findPostgresBinaries, type PostgresBinaries } from "./postgres_binary.ts";
import { readPostmaster, removeForeignPostmasterFile } from "./postmaster_file.ts";
import { endProcess, identify, isAlive, type ProcessIdentity } from "./processes.ts";

export interface PostgresServerOptions {
  /** Folder of the server; made if missing. Where the user that root's server runs as cannot reach it, it becomes a link to /var/lib/hitzero. */
  dir: string;
  /** False trades safety for speed, for tests: no fsync, no autovacuum. */
  durable?: boolean;
  onProgress?: OnProgress;
}

export interface LocalPostgres extends LocalServer {
  /** The folder that is really used. */
  dir: string;
}

const USER = "hitzero";
const DATABASE = "hitzero";
const START_ATTEMPTS = 6;
const READY_LIMIT_MS = 60_000;
const POLL_MS = 5;
const RETRY_PAUSE_MS = 200;
/** How to end the server, in order of harshness. */
export const POSTGRES_STOP = [
  // The fast shutdown (ends sessions), the immediate one, and the one without care.
  { signal: "SIGINT", waitMs: 20_000 },
  { signal: "SIGQUIT", waitMs: 5_000 },
  { signal: "SIGKILL", waitMs: 5_000 },
] as const;

/** What is needed to reach the server of a folder. */
interface Place {
  dir: string;
  account: Account | undefined;
  password: string;
}

/**
 * Starts the folder's Postgres, or attaches to it if it runs. Its database `hitzero` exists when this returns.
 *
 * @throws HitzeroError POSTGRES_NOT_FOUND, POSTGRES_DATA_VERSION, POSTGRES_NEEDS_USER, POSTGRES_NOT_STARTED,
 *   LOCAL_SERVER_STUCK (all exit code 3)
 */
export async function startPostgresServer(options: PostgresServerOptions): Promise<LocalPostgres> {
  const onProgress = options.onProgress ?? (() => {});
  const { dir, account } = await prepareFolder(options.dir);
  const place = { dir, account, password: await password(dir, account) };
  const running = await attach(place);
  if (running) return running;

  const dataVersion = readIfPresent(join(dir, "data", "PG_VERSION"));
  const binaries = await findPostgresBinaries(
    account,
    dataVersion ? Number(dataVersion) : undefined,
    onProgress,
  );
  if (!dataVersion) await createCluster(place, binaries, options.durable ?? true);
  const previousPort = Number(readIfPresent(join(dir, "port"))) || undefined;
  for (let attempt = 1; ; attempt++) {
    const port = await freePort(attempt === 1 ? previousPort : undefined);
    const server = await launch(place, binaries, port, options.durable ?? true);
    if (server) return server;
    if (attempt === START_ATTEMPTS) throw notStarted(dir);
    // The port was taken meanwhile, or sessions of a server that was killed are still about to end.
    await sleep(attempt * RETRY_PAUSE_MS);
  }
}

/** Attaches to the server of `postmaster.pid` if it is there; waits for one that is starting. */
async function attach(place: Place): Promise<LocalPostgres | undefined> {
  const data = join(place.dir, "data");
  const limit = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const postmaster = readPostmaster(data);
    const process = postmaster && identify(postmaster.pid);
    if (!postmaster || !process) return undefined;
    if (postmaster.ready && (await isOurs(place, postmaster.port))) {
      return describe(place, process, postmaster.port, `found running, process ${process.pid}`);
    }
    if (removeForeignPostmasterFile(data, postmaster.pid)) return undefined;
    if (performance.now() > limit) {
      throw new HitzeroError("LOCAL_SERVER_STUCK", `the Postgres of ${place.dir} runs but does not answer`, {
        hint: `See ${join(place.dir, "postgres.log")}; end it with: kill -QUIT ${postmaster.pid}`,
        exitCode: 3,
      });
    }
    await sleep(POLL_MS);
  }
}

/** Whether the server at the port takes our password and keeps our data; makes sure of the database. */
async function isOurs(place: Place, port: number): Promise<boolean> {
  const client = new pg.Client({
    ...connection(place, port),
    database: "postgres",
    connectionTimeoutMillis: 5_000,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    const { rows } = await client.query<{ ours: boolean; present: boolean }>(
      "select current_setting('data_directory') = $1 as ours, exists (select from pg_database where datname = $2) as present",
      [join(place.dir, "data"), DATABASE],
    );
    if (rows[0]?.ours && !rows[0].present) await client.query(`create database ${DATABASE}`);
    return rows[0]?.ours ?? false;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}

async function createCluster(place: Place, binaries: PostgresBinaries, durable: boolean): Promise<void> {
  const draft = join(place.dir, `data.${randomBytes(4).toString("hex")}`);
  const args = ["-D", draft, "-U", USER, "--pwfile", join(place.dir, "password"), "--auth", "scram-sha-256"];
  args.push("--encoding", "UTF8", "--locale", "C", "--no-instructions", ...(durable ? [] : ["--no-sync"]));
  try {
    const { code, output } = await runToEnd(binaries.initdb, args, place);
    if (code !== 0) {
      await writeFile(join(place.dir, "postgres.log"), output, { flag: "a" });
      throw notStarted(place.dir);
    }
    await rename(draft, join(place.dir, "data"));
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

function runToEnd(
  program: string,
  args: string[],
  place: Place,
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    let output = "";
    const child = spawn(program, args, {
      ...asAccount(place),
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        output += chunk;
      });
    }
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, output }));
  });
}

/** One attempt to start; undefined if the server ended at once, as it does when its port was taken meanwhile. */
async function launch(
  place: Place,
  binaries: PostgresBinaries,
  port: number,
  durable: boolean,
): Promise<LocalPostgres | undefined> {
  const data = join(place.dir, "data");
  const log = openSync(join(place.dir, "postgres.log"), "a", 0o600);
  const child = spawn(binaries.postgres, ["-D", data, ...settings(port, durable)], {
    ...asAccount(place),
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

  const limit = performance.now() + READY_LIMIT_MS;
  while (!ended && isAlive(process)) {
    const postmaster = readPostmaster(data);
    if (postmaster?.pid === process.pid && postmaster.ready && (await isOurs(place, port))) {
      await writeFile(join(place.dir, "port"), `${port}\n`);
      return describe(place, process, port, binaries.origin);
    }
    if (performance.now() > limit) {
      await endProcess(process, POSTGRES_STOP);
      throw notStarted(place.dir);
    }
    await sleep(POLL_MS);
  }
  return undefined;
}

/** Settings on the command line, so that they hold for a cluster made by an older release, too. */
function settings(port: number, durable: boolean): string[] {
  const values: Record<string, string> = {
    port: String(port),
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    max_connections: "200",
    timezone: "UTC",
    log_timezone: "UTC",
    logging_collector: "off",
    fsync: durable ? "on" : "off",
    synchronous_commit: durable ? "on" : "off",
    full_page_writes: durable ? "on" : "off",
    autovacuum: durable ? "on" : "off",
  };
  return Object.entries(values).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

function describe(place: Place, process: ProcessIdentity, port: number, origin: string): LocalPostgres {
  return {
    url: `postgres://${USER}:${place.password}@127.0.0.1:${port}/${DATABASE}`,
    process,
    port,
    origin,
    dir: place.dir,
    stop: () => endProcess(process, POSTGRES_STOP),
  };
}

function connection(place: Place, port: number) {
  return { host: "127.0.0.1", port, user: USER, password: place.password };
}

/** Process options that run a program as the server's user, in a folder it can read, with the same words in its log everywhere. */
function asAccount(place: Place) {
  const ids = place.account ? { uid: place.account.uid, gid: place.account.gid } : {};
  return {
    ...ids,
    cwd: place.dir,
    env: { ...process.env, LC_ALL: "C", PGDATA: undefined, PGPORT: undefined },
  };
}

/** The superuser's password: made once, kept beside the data with mode 0600. */
async function password(dir: string, account: Account | undefined): Promise<string> {
  const path = join(dir, "password");
  if (!existsSync(path)) {
    const draft = `${path}.${randomBytes(4).toString("hex")}`;
    await writeFile(draft, `${randomBytes(18).toString("hex")}\n`, { mode: 0o600 });
    await giveTo(account, draft);
    await rename(draft, path);
  }
  return (await readFile(path, "utf8")).trim();
}

async function giveTo(account: Account | undefined, path: string): Promise<void> {
  if (account) await chown(path, account.uid, account.gid);
}

function notStarted(dir: string): HitzeroError {
  return new HitzeroError("POSTGRES_NOT_STARTED", "the local Postgres did not start", {
    hint: `The reason stands at the end of ${join(dir, "postgres.log")}.`,
    exitCode: 3,
  });
}
