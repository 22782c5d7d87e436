/** Redis for tests: the run's shared server with a namespace per test, or a private one to mistreat. */

import { randomBytes } from "node:crypto";
import { cp, readdir, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { inject } from "vitest";
import { signalProcess, waitForEnd } from "../../src/local/processes.ts";
import { startRedisServer } from "../../src/local/redis_server.ts";

/** A namespace that no other test uses; part of every key. */
export function testNamespace(): string {
  return `test-${randomBytes(6).toString("hex")}`;
}

/** URL of the run's shared Redis. Tests must neither flush nor restart it. */
export function redisUrl(): string {
  const redis = inject("redis");
  if ("fault" in redis) throw new Error(`no Redis for tests: ${redis.fault}`);
  return redis.url;
}

/** What a key of a partition is for: `run`, `leases`, …. */
export const kindOf = (key: string) => /^\{[^}]*\}:(?:\d+:)?(\w+)/.exec(key)?.[1] as string;

/** A Redis of one test's own. */
export interface PrivateRedis {
  /** The same before and after a restart. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Kills the server as a crash would; returns when it is gone. Its data stay as they were on disk. */
  kill9(): Promise<void>;
  /** Starts the server again on the same port and data, after ending it in order if it still runs. */
  restart(): Promise<void>;
  /** Copies what it has on disk; the answer, called after `kill9`, puts that back. */
  copy(): Promise<() => Promise<void>>;
  /** Takes so many bytes off the end of what it wrote last; called after `kill9`. */
  cutOff(bytes: number): Promise<void>;
  /** Ends the server for good. May be called again. */
  stop(): Promise<void>;
}

/** Starts a Redis for one test; `config` holds further lines of redis.conf such as `appendfsync always`. */
export async function startPrivateRedis(config: readonly string[] = []): Promise<PrivateRedis> {
  const dir = join(inject("runFolder"), `redis-${randomBytes(6).toString("hex")}`);
  const start = () => startRedisServer({ dir, extraConfig: config });
  let server = await start();
  const { url, port } = server;
  return {
    url,
    port,
    get pid() {
      return server.process.pid;
    },
    kill9: async () => {
      signalProcess(server.process, "SIGKILL");
      await waitForEnd(server.process, 10_000);
    },
    restart: async () => {
      await server.stop();
      server = await start();
      if (server.port !== port)
        throw new Error(`port ${port} was taken by another process while Redis was down`);
    },
    copy: async () => {
      const [data, copied] = [join(dir, "data"), join(dir, `copy-${randomBytes(3).toString("hex")}`)];
      await cp(data, copied, { recursive: true });
      return async () => {
        await rm(data, { recursive: true });
        await cp(copied, data, { recursive: true });
      };
    },
    cutOff: async (bytes) => {
      const folder = join(dir, "data", "appendonlydir");
      const last = (await readdir(folder))
        .filter((name) => name.endsWith(".incr.aof"))
        .sort()
        .at(-1);
      const file = join(folder, last as string);
      await truncate(file, (await stat(file)).size - bytes);
    },
    stop: () => server.stop(),
  };
}
