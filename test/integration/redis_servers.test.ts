/** A Redis as people have it: users with narrow rights, databases that are not there, Cluster, TLS, a script that does not end. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Client } from "../../src/engine/client/client.ts";
import { Supervisor } from "../../src/engine/reader/supervisor.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { aclRules, COMMANDS, refuseMissingRights } from "../../src/redis/rights.ts";
import { runHere } from "../e2e/here.ts";
import { createTestDatabase } from "../support/database.ts";
import { type PrivateRedis, startPrivateRedis, testNamespace } from "../support/redis.ts";

const namespace = testNamespace();
let server: PrivateRedis;
let admin: Redis;

beforeAll(async () => {
  server = await startPrivateRedis();
  admin = new Redis(server.url);
});
afterAll(async () => {
  admin.disconnect();
  await server.stop();
});

/** URL of a user with these rules only. */
async function urlOf(rules: readonly string[], database = ""): Promise<string> {
  await admin.call("ACL", "SETUSER", "narrow", "reset", "on", ">pa:ss w@rd", ...rules);
  const url = new URL(server.url);
  [url.username, url.password, url.pathname] = ["narrow", "pa:ss w@rd", database];
  return url.href;
}

async function start(url: string): Promise<void> {
  const connection = await RedisConnection.open(url);
  await refuseMissingRights(connection, namespace).finally(() => connection.close());
}

test("a user with exactly the documented rights does for everything", async () => {
  const database = await createTestDatabase();
  const settings = { redisUrl: await urlOf(aclRules(namespace)), databaseUrl: database.url, namespace };
  const supervisor = new Supervisor(settings);
  const worker = new Worker({
    ...settings,
    handlers: {
      big: () => "x".repeat(50_000),
      slow: ({ signal }) => new Promise((end) => signal.addEventListener("abort", end)),
    },
  });
  await supervisor.start();
  await worker.start();
  const client = await Client.connect(settings);
  try {
    const node = (id: string, name: string) => ({ id, type: "function", config: { function_name: name } });
    const ends = await client.register({
      name: "ends",
      nodes: [node("a", "big"), node("b", "big")],
      edges: [{ from: "a", to: "b" }],
    });
    const [first] = (await client.submit(ends)).runIds as [string];
    expect(await client.wait(first)).toMatchObject({ status: "COMPLETED" });
    const lasts = await client.register({ name: "lasts", nodes: [node("a", "slow")], edges: [] });
    const [second] = (await client.submit(lasts)).runIds as [string];
    await client.cancel(second);
    expect(await client.wait(second)).toMatchObject({ status: "CANCELLED" });
    const log = (await admin.call("ACL", "LOG")) as unknown[][];
    expect(log.filter((entry) => !/^client\|set(info|name)/.test(String(entry[7])))).toEqual([]);
  } finally {
    await client.close();
    await worker.stop();
    await supervisor.stop();
    await database.drop();
  }
});

test("each right that is missing is named at the start", async () => {
  // The library says so, too.
  vi.spyOn(console, "warn").mockImplementation(() => {});
  const rules = aclRules(namespace);
  for (const rule of rules) {
    const url = await urlOf(rules.filter((other) => other !== rule));
    const fault = await start(url).catch((error: unknown) => error);
    expect(fault, rule).toMatchObject({ code: "PERMISSION_DENIED", exitCode: 3 });
    const { message, hint } = fault as { message: string; hint: string };
    expect(hint, rule).toBe(`Give it with: ACL SETUSER USER '${rule}'`);
    expect(message).toContain(
      rule.startsWith("+") ? rule.slice(1).replace("|", " ").toUpperCase() : rule.slice(1),
    );
  }
  await start(await urlOf(rules));
  vi.restoreAllMocks();
});

/** Commands of which ACL rules name the second word, too. */
const CONTAINERS = new Set(["client", "config", "pubsub", "xgroup", "xinfo"]);
/** Calls by which nothing is sent, or only what is named elsewhere. */
const SENDS_NOTHING = ["acl_check_cmd", "close", "connect", "disconnect", "duplicate", "on", "pipeline"];
/** What processes do without: `doctor` reads a setting if it may, `clear-redis` is an administrator's, a number in the URL is named. */
const NOT_NEEDED = ["config|get", "scan", "select"];

/** Each command of these sources, as ACL rules name it. */
function commandsIn(folder: string, patterns: readonly RegExp[]): string[] {
  const root = join(import.meta.dirname, "../..", folder);
  const sources = readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((file) => /\.(lua|ts)$/.test(file))
    .map((file) => readFileSync(join(root, file), "utf8").replace(/^\s*(?:--|\*|\/\/).*$/gm, ""));
  const found = sources.flatMap((text) => patterns.flatMap((pattern) => [...text.matchAll(pattern)]));
  return found.map(([, command, more]) => {
    const name = (command as string).toLowerCase();
    return CONTAINERS.has(name) ? `${name}|${more?.toLowerCase()}` : name;
  });
}

test("the list of rights is that of what the scripts and processes send, and is documented", () => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/operations.md"), "utf8");
  expect(page).toContain(`\nACL SETUSER hitzero on >PASSWORD ${aclRules("hitzero").join(" ")}\n`);
  const called = [
    // Of TypeScript by the library's methods, in capitals where there is none.
    ...commandsIn("src", [
      /\b(?:redis|pipeline)\s*\.(?!call\b|p?call\b|exec\b)([a-z]\w*)\((?:\s*"([A-Z]+)")?/g,
      /\bredis\.call\(\s*"(\w+)"/g,
    ]),
    // What scripts write they note before.
    ...commandsIn("lua", [
      /\bredis\.p?call\('(\w+)'(?:, '([A-Z]+)')?/g,
      /\bwrite(?:_all)?\('(\w+)'(?:, '([A-Z]+)')?/g,
    ]),
  ];
  const sent = [...new Set(called)].filter((name) => !SENDS_NOTHING.includes(name));
  expect(sent.sort()).toEqual([...Object.keys(COMMANDS), ...NOT_NEEDED].sort());
});

test("clear-redis needs one right more than processes do, and names it", async () => {
  const database = await createTestDatabase();
  const env = (redisUrl: string) => ({
    HITZERO_REDIS_URL: redisUrl,
    HITZERO_DATABASE_URL: database.url,
    HITZERO_NAMESPACE: namespace,
  });
  const clear = async (rules: string[]) =>
    runHere(["clear-redis", "--json"], { env: env(await urlOf(rules)) });
  try {
    const refused = await clear(aclRules(namespace));
    expect(refused.code).toBe(3);
    expect(JSON.parse(refused.stdout).error).toMatchObject({
      code: "PERMISSION_DENIED",
      hint: "Give it with: ACL SETUSER USER '+scan'",
    });
    expect((await clear([...aclRules(namespace), "+scan"])).code).toBe(0);
  } finally {
    await database.drop();
  }
});

test("a database number that does not exist is refused; the right to another is named", async () => {
  await expect(RedisConnection.open(`${server.url}/99`.replace("//99", "/99"))).rejects.toMatchObject({
    code: "REDIS_DATABASE_MISSING",
    message: expect.stringContaining("no database 99"),
  });
  await expect(RedisConnection.open(`${server.url}/orders`.replace("//o", "/o"))).rejects.toMatchObject({
    code: "REDIS_URL_INVALID",
  });
  const url = await urlOf(aclRules(namespace), "/1");
  await expect(RedisConnection.open(url)).rejects.toMatchObject({
    code: "PERMISSION_DENIED",
    message: expect.stringContaining("SELECT"),
  });
  await start(await urlOf([...aclRules(namespace), "+select"], "/1"));
});

test("a plain server behind rediss:// is named", async () => {
  await expect(RedisConnection.open(server.url.replace("redis:", "rediss:"))).rejects.toMatchObject({
    code: "TLS_REFUSED",
    message: expect.stringContaining("does not speak TLS"),
  });
});

test("a node of a Redis Cluster is refused by name", async () => {
  const cluster = await startPrivateRedis(["cluster-enabled yes"]);
  try {
    await expect(RedisConnection.open(cluster.url)).rejects.toMatchObject({ code: "REDIS_IS_CLUSTER" });
  } finally {
    await cluster.stop();
  }
});

test("a script that does not end is named", async () => {
  const busy = await startPrivateRedis(["busy-reply-threshold 1"]);
  const other = new Redis(busy.url, { retryStrategy: () => null });
  other.on("error", () => {});
  try {
    const hangs = other.eval("while true do end", 0).catch(() => {});
    await expect(
      vi.waitUntil(async () => {
        const fault = await RedisConnection.open(busy.url).then((open) => open.close(), String);
        return fault?.includes("does not end") && fault;
      }, 20_000),
    ).resolves.toMatch(/REDIS_BUSY|runs a script that does not end/);
    await busy.kill9();
    await hangs;
  } finally {
    other.disconnect();
    await busy.stop();
  }
});
