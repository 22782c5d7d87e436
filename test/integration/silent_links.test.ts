/** Connections that fall silent without closing, lead to a replica, or have a clock of their own. */

import { Redis } from "ioredis";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { HitzeroError } from "../../src/base/errors.ts";
import { examine } from "../../src/cli/doctor/examine.ts";
import { Client } from "../../src/engine/client/client.ts";
import { Supervisor } from "../../src/engine/reader/supervisor.ts";
import { resolveSettings } from "../../src/engine/settings.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { Database } from "../../src/postgres/database.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { createTestDatabase } from "../support/database.ts";
import { startEngine } from "../support/engine.ts";
import { fn } from "../support/flow.ts";
import { type Direction, type Link, startLink } from "../support/link.ts";
import { redisUrl, startPrivateRedis, testNamespace } from "../support/redis.ts";
import { until, withinLimit } from "../support/until.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function linkTo(url: string): Promise<Link> {
  const link = await startLink(url);
  closers.push(() => link.close());
  return link;
}

async function connectTo(url: string, silenceMs = 1_500): Promise<RedisConnection> {
  const connection = await RedisConnection.open(url, { silenceMs });
  closers.push(() => connection.close());
  return connection;
}

const ways: Direction[][] = [["to_server"], ["to_client"], ["to_server", "to_client"]];

describe("a connection to Redis that falls silent is given up and made anew", () => {
  test.each(ways.map((way) => [way.join(" and "), way] as const))("%s", async (_name, directions) => {
    const link = await linkTo(redisUrl());
    const calls = await connectTo(link.url);
    const blocking = await calls.duplicate();
    closers.push(() => blocking.close());
    const listener = await calls.duplicate();
    closers.push(() => listener.close());
    const channel = testNamespace();
    const heard: string[] = [];
    await listener.subscribe(channel, (message) => heard.push(message));
    const read = blocking.redis.xread("BLOCK", 2_000, "STREAMS", testNamespace(), "0");

    link.silence(...directions);
    const lost = [calls.redis.get("x"), read, calls.redis.set(channel, "late", "PX", 60_000)];
    const ends = await Promise.allSettled(lost);
    expect(ends.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);

    link.speak();
    // Each of them has a socket of its own again, and nothing of what was asked before is taken for an answer.
    await until(() => calls.identity(), "calls go on");
    expect(await calls.redis.echo("mine")).toBe("mine");
    await until(() => blocking.identity(), "reads go on");
    expect(await blocking.redis.echo("its own")).toBe("its own");
    await until(async () => {
      await calls.redis.publish(channel, "again");
      return heard.length > 0;
    }, "the listener hears again");
  });

  test("one that never speaks is refused at the start", async () => {
    const link = await linkTo(redisUrl());
    link.silence("to_client");
    await expect(RedisConnection.open(link.url, { silenceMs: 300 })).rejects.toMatchObject({
      code: "SERVER_UNREACHABLE",
      exitCode: 3,
      message: expect.stringContaining("cannot be reached (ESILENT)"),
    });
    expect(await until(() => link.open === 0, "nothing stays open")).toBe(true);
  });

  test("not while it is this process that stands still", async () => {
    const connection = await connectTo((await linkTo(redisUrl())).url, 300);
    const identity = await connection.identity();
    const client = await connection.redis.client("ID");
    const reply = connection.redis.echo("while it was busy");
    const begun = performance.now();
    while (performance.now() - begun < 800);
    expect(await reply).toBe("while it was busy");
    expect(await connection.identity()).toBe(identity);
    expect(await connection.redis.client("ID")).toBe(client);
  });
});

describe("a connection to Postgres that falls silent is given up and made anew", () => {
  test.each(ways.map((way) => [way.join(" and "), way] as const))("%s", async (_name, directions) => {
    const testDatabase = await createTestDatabase();
    closers.push(testDatabase.drop);
    const link = await linkTo(testDatabase.url);
    const database = new Database(link.url, { limitMs: 300, size: 1 });
    closers.push(() => database.close());
    const away = { code: "SERVER_UNREACHABLE", exitCode: 3 };
    const cutOff = database.transaction(async (client) => {
      await client.query("select 1");
      link.silence(...directions);
      await client.query("select 2");
    });
    await expect(cutOff).rejects.toMatchObject(away);
    link.speak();
    await database.query("select 3");
    link.silence(...directions);
    await expect(database.query("select 4")).rejects.toMatchObject(away);
    link.speak();
    const { rows } = await until(() => database.query("select 4 as four"), "queries go on");
    expect(rows).toEqual([{ four: 4 }]);
  });

  test("also when it is closed while idle, or while a query is under way", async () => {
    const testDatabase = await createTestDatabase();
    closers.push(testDatabase.drop);
    const link = await linkTo(testDatabase.url);
    const database = new Database(link.url, { limitMs: 600_000 });
    let underWay = false;
    const cutOff = database.transaction(async (client) => {
      await client.query("select 1");
      link.silence("to_client");
      underWay = true;
      await client.query("select 2");
    });
    const lost = cutOff.catch((error: { code: string }) => error.code);
    await until(() => underWay, "a query is under way");
    await database.close();
    expect(await lost).toBe("SERVER_UNREACHABLE");
    await until(() => link.open === 0, "nothing stays open");

    link.speak();
    const idle = new Database(link.url, { limitMs: 600_000 });
    await idle.query("select 1");
    link.silence("to_client");
    await idle.close();
    await until(() => link.open === 0, "nothing stays open");
  });

  test("not while it is this process that stands still", async () => {
    const testDatabase = await createTestDatabase();
    closers.push(testDatabase.drop);
    const database = new Database(testDatabase.url, { limitMs: 300 });
    closers.push(() => database.close());
    await database.transaction(async (client) => {
      await client.query("select 1");
      const reply = client.query("select 2 as two");
      const begun = performance.now();
      while (performance.now() - begun < 800);
      expect((await reply).rows).toEqual([{ two: 2 }]);
    });
  });
});

test("a client that is answered by nobody says so, and which server it is", async () => {
  const testDatabase = await createTestDatabase();
  closers.push(testDatabase.drop);
  const [redis, postgres] = [await linkTo(redisUrl()), await linkTo(testDatabase.url)];
  redis.silence("to_client");
  postgres.silence("to_client");
  const refused = (options: object) =>
    Client.connect({ redisUrl: redisUrl(), databaseUrl: testDatabase.url, ...options }).catch(
      ({ code, exitCode, message }: HitzeroError) => ({ code, exitCode, message }),
    );
  const answers = await Promise.all([
    refused({ redisUrl: redis.url }),
    refused({ databaseUrl: postgres.url }),
  ]);
  const unreachable = (name: string) => ({
    code: "SERVER_UNREACHABLE",
    exitCode: 3,
    message: expect.stringContaining(name),
  });
  expect(answers).toEqual([unreachable("Redis"), unreachable("Postgres")]);
});

describe("a planned failover", () => {
  /** Two servers, the second a replica that has caught up, and an address that leads to the first. */
  async function pair() {
    const first = await startPrivateRedis(["repl-diskless-sync-delay 0"]);
    closers.push(() => first.stop());
    const second = await startPrivateRedis();
    closers.push(() => second.stop());
    const [old, next] = [new Redis(first.url), new Redis(second.url)];
    for (const one of [old, next]) closers.push(() => one.disconnect());
    const { password } = new URL(first.url);
    for (const one of [old, next]) await one.config("SET", "masterauth", password);
    await next.config("SET", "requirepass", password);
    await next.replicaof("127.0.0.1", String(first.port));
    await until(
      async () => /master_link_status:up/.test(await next.info("replication")),
      "the replica follows",
      20_000,
    );
    const replica = new URL(first.url);
    replica.port = String(second.port);
    const link = await linkTo(first.url);
    return {
      replicaUrl: replica.href,
      link,
      /** Sockets stay as they are: it is the address that leads elsewhere now. */
      failOver: async () => {
        await old.wait(1, 10_000);
        await next.replicaof("NO", "ONE");
        await old.replicaof("127.0.0.1", String(second.port));
        link.leadTo(replica.href);
      },
    };
  }

  test("is followed by workers, supervisors, blocked reads and listeners, whose sockets stay open", async () => {
    const { link, failOver } = await pair();
    const gates: (() => void)[] = [];
    const handlers = { gate: () => new Promise<void>((resolve) => gates.push(resolve)), echo: () => "done" };
    const engine = await startEngine({ redisUrl: link.url, handlers, concurrency: 2 });
    closers.push(() => engine.stop());
    const { client } = engine;
    const workflow = await client.register({
      name: "failover",
      nodes: [fn("hold", "gate"), fn("after", "echo")],
      edges: [{ from: "hold", to: "after" }],
    });
    const [running] = (await client.submit(workflow)).runIds as [string];
    await until(() => gates.length === 1, "a handler runs");
    await failOver();
    const [later] = (await client.submit(workflow)).runIds as [string];
    await until(() => gates.length === 2, "the worker takes tokens from the new primary");
    const cancelled = (await client.submit(workflow)).runIds[0] as string;
    await client.cancel(cancelled);
    for (const open of gates) open();
    const ends = [running, later, cancelled].map((runId) => client.wait(runId, { signal: withinLimit() }));
    expect((await Promise.all(ends)).map(({ status }) => status)).toEqual([
      "COMPLETED",
      "COMPLETED",
      "CANCELLED",
    ]);
    const { checks } = await examine({ ...resolveSettings({}), ...engine.settings });
    expect(checks.filter(({ area, status }) => area === "partitions" && status !== "ok")).toEqual([]);
  });

  test("a replica is refused by name at the start, and by doctor", async () => {
    const { replicaUrl } = await pair();
    const testDatabase = await createTestDatabase();
    closers.push(testDatabase.drop);
    const settings = { redisUrl: replicaUrl, databaseUrl: testDatabase.url, namespace: testNamespace() };
    const refusal = { code: "REDIS_IS_REPLICA", exitCode: 3 };
    await expect(new Worker({ ...settings, handlers: {} }).start()).rejects.toMatchObject(refusal);
    await expect(new Supervisor(settings).start()).rejects.toMatchObject(refusal);
    await expect(Client.connect(settings)).rejects.toMatchObject(refusal);
    const { checks, away } = await examine({ ...resolveSettings({}), ...settings });
    expect(away).toBe(true);
    const redis = checks.filter(({ area }) => area === "redis");
    expect(redis).toMatchObject([{ status: "fail", message: expect.stringContaining("is a replica") }]);
  });
});

test("Redis's clock is known whatever happens to this machine's", async () => {
  const connection = await connectTo(redisUrl());
  const serverTime = async () => {
    const [seconds, micros] = await connection.redis.time();
    return Number(seconds) * 1_000 + Number(micros) / 1_000;
  };
  for (const step of [3_600_000, -3_600_000, -8_000]) {
    const real = Date.now;
    const wall = vi.spyOn(Date, "now").mockImplementation(() => real() + step);
    expect(Math.abs(connection.now() - (await serverTime()))).toBeLessThan(5_000);
    wall.mockRestore();
  }
});
