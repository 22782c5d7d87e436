import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Redis } from "ioredis";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { isAlive, type ProcessIdentity, signalProcess, waitForEnd } from "../../src/local/processes.ts";
import { type LocalServers, startLocalServers } from "../../src/local/stack.ts";
import { readState } from "../../src/local/stack_state.ts";
import { killStackUsers, startStackUser } from "../support/stack_user.ts";
import { until } from "../support/until.ts";

let folder: string;
let opened: LocalServers[];

beforeEach(async () => {
  folder = await newFolder();
  opened = [];
});

/** A folder whose servers were made and ended before. Making them is dear, and most tests begin with the next start. */
let used: string | undefined;
function useAgain(): void {
  used ??= folder;
  folder = used;
}

/** A project's folder for servers, not made yet. */
async function newFolder(): Promise<string> {
  const parent = await mkdtemp(join(inject("runFolder"), "stack-"));
  await chmod(parent, 0o711);
  return join(parent, ".hitzero");
}

afterEach(async () => {
  killStackUsers();
  for (const servers of opened) await servers.stop();
  for (const process of running()) signalProcess(process, "SIGKILL");
});

async function start(options: Parameters<typeof startLocalServers>[0] = {}): Promise<LocalServers> {
  const servers = await startLocalServers({ dir: folder, ...options });
  opened.push(servers);
  return servers;
}

/** The folder's servers by its state file, those that live. */
function running(of: string = folder): ProcessIdentity[] {
  if (!existsSync(of)) return [];
  const { redis, postgres } = readState(of);
  return [redis, postgres].flatMap((entry) => (entry && isAlive(entry.process) ? [entry.process] : []));
}

async function askRedis<T>(url: string, ask: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => null });
  let refusal: Error | undefined;
  redis.on("error", (error) => {
    refusal = error;
  });
  try {
    await redis.connect();
    return await ask(redis);
  } catch (error) {
    throw refusal ?? error;
  } finally {
    redis.disconnect();
  }
}

async function askPostgres(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

describe("servers of a folder", () => {
  test("run, keep their data over a stop, and are gone after it", async () => {
    const first = await start();
    const processes = running();
    expect(processes).toHaveLength(2);
    await askRedis(first.redisUrl, (redis) => redis.set("kept", "yes"));
    await askPostgres(first.databaseUrl, "create table kept as select 7 as number");
    await first.stop();
    await first.stop();
    expect(processes.filter(isAlive)).toEqual([]);

    const second = await start();
    expect(second.redisUrl).toBe(first.redisUrl);
    expect(second.databaseUrl).toBe(first.databaseUrl);
    expect(await askRedis(second.redisUrl, (redis) => redis.get("kept"))).toBe("yes");
    expect(await askPostgres(second.databaseUrl, "select number from kept")).toEqual([{ number: 7 }]);
  });

  test("are not started for URLs that were given", async () => {
    const given = {
      redisUrl: "redis://:secret@10.0.0.1:6379",
      databaseUrl: "postgres://u:secret@10.0.0.2/x",
    };
    const servers = await start(given);
    expect(servers).toMatchObject(given);
    expect(servers.origin).toEqual({ redis: "given: 10.0.0.1:6379", postgres: "given: 10.0.0.2" });
    await servers.stop();
    expect(existsSync(folder)).toBe(false);
  });

  test("are started only where no URL was given", async () => {
    const servers = await start({ databaseUrl: "postgres://u:p@10.0.0.2/x" });
    expect(await askRedis(servers.redisUrl, (redis) => redis.ping())).toBe("PONG");
    expect(running()).toHaveLength(1);
    expect(existsSync(join(folder, "postgres"))).toBe(false);
  });

  test("leave nothing behind if they were to be thrown away", async () => {
    const servers = await start({ throwAway: true });
    const data = readState(folder).postgres?.dir ?? "";
    expect(existsSync(data)).toBe(true);
    await servers.stop();
    expect(existsSync(folder)).toBe(false);
    expect(existsSync(data)).toBe(false);
  });
});

describe("servers that run", () => {
  let shared: string;
  let servers: LocalServers;

  beforeAll(async () => {
    used ??= await newFolder();
    shared = used;
    servers = await startLocalServers({ dir: shared });
  });

  afterAll(() => servers?.stop());

  test("are durable, evict nothing, and speak UTF-8", async () => {
    const settings = await askRedis(servers.redisUrl, async (redis) => {
      const names = ["appendonly", "appendfsync", "maxmemory-policy", "save", "bind", "aof-use-rdb-preamble"];
      return Object.fromEntries(
        await Promise.all(
          names.map(async (name) => [name, ((await redis.config("GET", name)) as string[])[1]]),
        ),
      );
    });
    expect(settings).toEqual({
      appendonly: "yes",
      appendfsync: "everysec",
      "maxmemory-policy": "noeviction",
      save: "",
      bind: "127.0.0.1",
      "aof-use-rdb-preamble": "yes",
    });
    const [durability] = await askPostgres(
      servers.databaseUrl,
      `select current_setting('fsync') as fsync, current_setting('synchronous_commit') as synchronous_commit,
        current_setting('full_page_writes') as full_page_writes, current_setting('listen_addresses') as address,
        pg_encoding_to_char(encoding) as encoding, datcollate as collate from pg_database where datname = current_database()`,
    );
    expect(durability).toEqual({
      fsync: "on",
      synchronous_commit: "on",
      full_page_writes: "on",
      address: "127.0.0.1",
      encoding: "UTF8",
      collate: "C",
    });
  });

  test("ask for their password, and keep it from other users of the machine", async () => {
    const withoutPassword = (url: string) => {
      const bare = new URL(url);
      bare.password = "guessed";
      return bare.href;
    };
    await expect(askRedis(withoutPassword(servers.redisUrl), (redis) => redis.ping())).rejects.toThrow(
      /WRONGPASS|NOAUTH/,
    );
    await expect(askPostgres(withoutPassword(servers.databaseUrl), "select 1")).rejects.toMatchObject({
      code: "28P01",
    });
    const state = readState(shared);
    const files = ["servers.json", "redis/redis.conf", "redis/redis.json"].map((name) => join(shared, name));
    files.push(join(state.postgres?.dir ?? "", "password"));
    for (const file of files) expect(statSync(file).mode & 0o077, file).toBe(0);
    expect(readFileSync(join(shared, ".gitignore"), "utf8")).toBe("*\n");
  });

  test("are no part of the terminal's process group, so that Ctrl-C leaves them to us", async () => {
    for (const { pid } of running(shared)) {
      const group = execFileSync("ps", ["-o", "pgid=", "-p", String(pid)], { encoding: "utf8" }).trim();
      expect(group).toBe(String(pid));
    }
  });
});

describe("a folder", () => {
  test.skipIf(process.getuid?.() !== 0)(
    "that root's Postgres cannot reach gets a stand-in that it can",
    async () => {
      await chmod(dirname(folder), 0o700);
      const first = await start();
      await askPostgres(first.databaseUrl, "create table kept as select 7 as number");
      const standIn = realpathSync(join(folder, "postgres"));
      try {
        expect(standIn).toMatch(/^\/var\/lib\/hitzero\/postgres-/);
        await first.stop();
        const second = await start();
        expect(await askPostgres(second.databaseUrl, "select number from kept")).toEqual([{ number: 7 }]);
        await second.stop();
      } finally {
        await rm(standIn, { recursive: true, force: true });
      }
    },
  );
});

describe("users of a folder", () => {
  test("starting at once share the servers, which stop when the last one leaves", async () => {
    const users = await Promise.all([1, 2, 3].map(() => startStackUser(folder)));
    expect(new Set(users.map((user) => user.redisUrl)).size).toBe(1);
    expect(new Set(users.map((user) => user.databaseUrl)).size).toBe(1);
    const processes = running();
    expect(processes).toHaveLength(2);
    await Promise.all([users[0]?.stop(), users[1]?.stop()]);
    expect(processes.filter(isAlive)).toHaveLength(2);
    await users[2]?.stop();
    expect(processes.filter(isAlive)).toEqual([]);
  });

  test("killed leave the servers running for the next, who stops them", async () => {
    useAgain();
    const killed = await startStackUser(folder);
    const processes = running();
    await killed.kill9();
    expect(processes.filter(isAlive)).toHaveLength(2);
    const next = await start();
    expect(next.redisUrl).toBe(killed.redisUrl);
    expect(running()).toEqual(processes);
    await next.stop();
    expect(processes.filter(isAlive)).toEqual([]);
  });

  test("are found by the servers' own files when servers.json was lost", async () => {
    useAgain();
    const killed = await startStackUser(folder);
    const processes = running();
    await killed.kill9();
    writeFileSync(join(folder, "servers.json"), "{ not JSON");
    const next = await start();
    expect(next.databaseUrl).toBe(killed.databaseUrl);
    expect(running()).toEqual(processes);
  });

  test("that exit without leaving stop the servers, and the next start does not take them for running", async () => {
    useAgain();
    const careless = await startStackUser(folder);
    const processes = running();
    await careless.exit();
    const next = await start();
    expect(running()).toHaveLength(2);
    expect(processes.filter(isAlive)).toEqual([]);
    expect(await askRedis(next.redisUrl, (redis) => redis.ping())).toBe("PONG");
    expect(await askPostgres(next.databaseUrl, "select 1 as one")).toEqual([{ one: 1 }]);
  });

  test("that exit without leaving stop the servers even if nobody comes", async () => {
    useAgain();
    const careless = await startStackUser(folder);
    const processes = running();
    await careless.exit();
    await until(() => processes.every((process) => !isAlive(process)), "both servers ended");
  });
});

describe("after a crash", () => {
  beforeEach(useAgain);

  test("of both servers they start again with their data", async () => {
    const first = await start();
    await askRedis(first.redisUrl, (redis) => redis.set("kept", "yes"));
    await askPostgres(first.databaseUrl, "create table kept as select 7 as number");
    await until(
      () =>
        askRedis(first.redisUrl, async (redis) =>
          /aof_pending_bio_fsync:0/.test(await redis.info("persistence")),
        ),
      "the write reached the disk",
    );
    const processes = running();
    for (const process of processes) signalProcess(process, "SIGKILL");
    for (const process of processes) await waitForEnd(process, 10_000);
    const second = await start();
    expect(await askRedis(second.redisUrl, (redis) => redis.get("kept"))).toBe("yes");
    expect(await askPostgres(second.databaseUrl, "select number from kept")).toEqual([{ number: 7 }]);
    expect(await askPostgres(first.databaseUrl, "select 1 as one")).toEqual([{ one: 1 }]);
  });

  test("a process that was given a dead server's id is not taken for the server", async () => {
    const first = await start();
    const data = join(readState(folder).postgres?.dir ?? "", "data");
    await first.stop();
    writeFileSync(
      join(data, "postmaster.pid"),
      [process.pid, data, 1, 5432, "", "127.0.0.1", "", "ready   ", ""].join("\n"),
    );
    writeFileSync(
      join(folder, "redis/redis.json"),
      JSON.stringify({ port: 1, password: "p", process: { pid: process.pid, started: "at another time" } }),
    );
    const second = await start();
    expect(await askPostgres(second.databaseUrl, "select 1 as one")).toEqual([{ one: 1 }]);
    expect(await askRedis(second.redisUrl, (redis) => redis.ping())).toBe("PONG");
  });

  test("a taken port is passed over", async () => {
    const first = await start();
    const port = readState(folder).redis?.port ?? 0;
    await first.stop();
    const { createServer } = await import("node:net");
    const squatter = createServer().listen(port, "127.0.0.1");
    await new Promise((resolve) => squatter.once("listening", resolve));
    try {
      const second = await start();
      expect(readState(folder).redis?.port).not.toBe(port);
      expect(await askRedis(second.redisUrl, (redis) => redis.ping())).toBe("PONG");
    } finally {
      squatter.close();
    }
  });
});

// The last one: it takes the folder that others use again.
test("a folder that is removed while its servers run does not keep them from being stopped", async () => {
  useAgain();
  const servers = await start();
  const processes = running();
  expect(processes).toHaveLength(2);
  await rm(folder, { recursive: true, force: true });
  await servers.stop();
  expect(processes.filter(isAlive)).toEqual([]);
});
