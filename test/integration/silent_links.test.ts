/** Connections that fall silent without closing, lead to a replica, or have a clock of their own. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { type Direction, type Link, startLink } from "../support/link.ts";
import { redisUrl, testNamespace } from "../support/redis.ts";
import { until } from "../support/until.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function proxyOf(url: string): Promise<Link> {
  const proxy = await startLink(url);
  closers.push(() => proxy.close());
  return proxy;
}

async function connectTo(url: string, silenceMs = 1_500): Promise<RedisConnection> {
  const connection = await RedisConnection.open(url, { silenceMs });
  closers.push(() => connection.close());
  return connection;
}

const ways: Direction[][] = [["to_server"], ["to_client"], ["to_server", "to_client"]];

describe("a connection to Redis that falls silent is given up and made anew", () => {
  test.each(ways.map((way) => [way.join(" and "), way] as const))("%s", async (_name, directions) => {
    const proxy = await proxyOf(redisUrl());
    const calls = await connectTo(proxy.url);
    const blocking = await calls.duplicate();
    closers.push(() => blocking.close());
    const listener = await calls.duplicate();
    closers.push(() => listener.close());
    const channel = testNamespace();
    const heard: string[] = [];
    await listener.subscribe(channel, (message) => heard.push(message));
    const read = blocking.redis.xread("BLOCK", 2_000, "STREAMS", testNamespace(), "0");

    proxy.silence(...directions);
    const lost = [calls.redis.get("x"), read, calls.redis.set(channel, "late", "PX", 60_000)];
    const ends = await Promise.allSettled(lost);
    expect(ends.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);

    proxy.speak();
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
    const proxy = await proxyOf(redisUrl());
    proxy.silence("to_client");
    await expect(RedisConnection.open(proxy.url, { silenceMs: 300 })).rejects.toMatchObject({
      code: "SERVER_UNREACHABLE",
      exitCode: 3,
      message: expect.stringContaining("cannot be reached (ESILENT)"),
    });
    expect(await until(() => proxy.open === 0, "nothing stays open")).toBe(true);
  });

  test("not while it is this process that stands still", async () => {
    const connection = await connectTo((await proxyOf(redisUrl())).url, 300);
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
