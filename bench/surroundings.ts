/** On what was measured, and whether the servers keep what they are told. */
import { statfsSync } from "node:fs";
import { arch, cpus, loadavg, platform, release, totalmem } from "node:os";
import { VERSION } from "../src/engine/version.ts";
import type { Rig } from "./rig.ts";

export interface Surroundings {
  hitzero: string;
  node: string;
  system: string;
  cpu: string;
  cpus: number;
  memory_mb: number;
  /** Processes that wanted to run in the last minute before the benchmark. More than a fraction: the numbers are too low. */
  load_before: number;
  /** False when the folder lies in memory, where a flush costs nothing. */
  on_disk: boolean;
  redis: Record<string, string>;
  postgres: Record<string, string>;
}

const TMPFS = 0x01021994;
/** What durable means here. */
const REDIS_SETTINGS = { appendonly: "yes", appendfsync: "everysec", "maxmemory-policy": "noeviction" };
const POSTGRES_SETTINGS = { fsync: "on", synchronous_commit: "on", full_page_writes: "on" };

/** @throws Error when a server is not durable */
export async function surroundingsOf(rig: Rig): Promise<Surroundings> {
  const redis: Record<string, string> = {
    version: /redis_version:(\S+)/.exec(await rig.redis.info())?.[1] ?? "",
  };
  for (const name of Object.keys(REDIS_SETTINGS)) {
    const [, value] = (await rig.redis.config("GET", name)) as string[];
    redis[name] = value ?? "";
  }
  const postgres: Record<string, string> = {};
  for (const name of ["server_version", ...Object.keys(POSTGRES_SETTINGS)]) {
    const { rows } = await rig.database.query<{ value: string }>("select current_setting($1) as value", [
      name,
    ]);
    postgres[name] = rows[0]?.value ?? "";
  }
  for (const [name, wanted] of Object.entries({ ...REDIS_SETTINGS, ...POSTGRES_SETTINGS })) {
    const found = redis[name] ?? postgres[name];
    if (found !== wanted) throw new Error(`not durable: ${name} is ${found}, not ${wanted}`);
  }
  return {
    hitzero: VERSION,
    node: process.version,
    system: `${platform()} ${release()} ${arch()}`,
    cpu: cpus()[0]?.model ?? "",
    cpus: cpus().length,
    memory_mb: Math.round(totalmem() / 2 ** 20),
    load_before: loadavg()[0] ?? 0,
    on_disk: statfsSync(rig.folder).type !== TMPFS,
    redis,
    postgres,
  };
}
