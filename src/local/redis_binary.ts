/**
 * Finds a Redis server program: on PATH, else unpacked from the distribution's packages.
 */

import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { HitzeroError } from "../base/errors.ts";
import type { OnProgress } from "./local_server.ts";
import { canFetchPackages, fetchRedis, unpackedRedis, unpackedRedisFolder } from "./redis_packages.ts";

const run = promisify(execFile);

/** The oldest Redis whose behaviour is tested; Valkey counts from 7.2. */
const OLDEST_REDIS_MAJOR = 7;

/** How to run the server that was found. */
export interface RedisBinary {
  program: string;
  env: NodeJS.ProcessEnv;
  /** Such as `redis-server 7.0.15 from PATH`. */
  origin: string;
}

/**
 * A Redis or Valkey server of version 7 or newer: `redis-server`, then `valkey-server` on PATH, then the one in the cache
 * folder, which is filled from the distribution's packages on Debian and Ubuntu if it is empty.
 *
 * @throws HitzeroError REDIS_NOT_FOUND (exit code 3), naming the one command that helps; the signal's reason when it is aborted
 */
export async function findRedisBinary(onProgress: OnProgress, signal?: AbortSignal): Promise<RedisBinary> {
  const passedOver: string[] = [];
  for (const name of ["redis-server", "valkey-server"]) {
    const program = await onPath(name);
    if (!program) continue;
    const version = await versionOf(program, process.env);
    if (version && major(version) >= OLDEST_REDIS_MAJOR) {
      return { program, env: process.env, origin: `${name} ${version} from PATH` };
    }
    passedOver.push(`${program} ${version ? `is version ${version}` : "does not run"}`);
  }
  if (!canFetchPackages()) throw notFound(passedOver);
  return fromPackages(passedOver, onProgress, signal);
}

async function fromPackages(
  passedOver: string[],
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<RedisBinary> {
  const folder = await unpackedRedisFolder();
  const cached = await usable(folder);
  if (cached) return cached;
  try {
    await fetchRedis(folder, onProgress, signal);
  } catch (error) {
    signal?.throwIfAborted();
    const reason =
      error instanceof Error
        ? error.message.split("\n").find((line) => /^(E:|apt has)/.test(line))
        : undefined;
    throw notFound([...passedOver, `fetching the package failed${reason ? `: ${reason}` : ""}`], error);
  }
  const fetched = await usable(folder);
  if (fetched) return fetched;
  throw notFound([
    ...passedOver,
    `the distribution's Redis, unpacked in ${folder}, does not run or is older than ${OLDEST_REDIS_MAJOR}`,
  ]);
}

async function usable(folder: string): Promise<RedisBinary | undefined> {
  const unpacked = await unpackedRedis(folder);
  if (!unpacked) return undefined;
  const env = { ...process.env, LD_LIBRARY_PATH: unpacked.libraries };
  const version = await versionOf(unpacked.program, env);
  if (!version || major(version) < OLDEST_REDIS_MAJOR) return undefined;
  return { program: unpacked.program, env, origin: `redis-server ${version} from ${folder}` };
}

async function onPath(name: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    if (folder === "") continue;
    const program = join(folder, name);
    const runs = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return program;
  }
  return undefined;
}

/** Version such as `7.0.15`, or undefined if the program does not run. */
async function versionOf(program: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  try {
    const { stdout } = await run(program, ["--version"], { env, timeout: 10_000 });
    return /\bv=(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  } catch {
    return undefined;
  }
}

function major(version: string): number {
  return Number.parseInt(version, 10);
}

function notFound(reasons: readonly string[], cause?: unknown): HitzeroError {
  const detail = reasons.length > 0 ? ` (${reasons.join("; ")})` : "";
  return new HitzeroError(
    "REDIS_NOT_FOUND",
    `no Redis ${OLDEST_REDIS_MAJOR} or newer was found on this machine${detail}`,
    {
      hint: `Run: ${installCommand()} – or point HITZERO_REDIS_URL at a Redis that runs elsewhere.`,
      exitCode: 3,
      cause,
    },
  );
}

function installCommand(): string {
  if (process.platform === "darwin") return "brew install redis";
  return canFetchPackages()
    ? "sudo apt-get update && sudo apt-get install -y redis-server"
    : "install the package `redis` of your distribution";
}
