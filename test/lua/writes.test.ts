/**
 * No script breaks in the middle: it decides, then writes. Each kind of call is made by hand, and before it many forms of it that lack a
 * key or a value, or meet a value of the wrong kind in the run's state: such a call either does what it is to do or changes nothing.
 */

import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { claimTraits } from "../../src/engine/worker/node_facts.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { runScript, type ScriptName } from "../../src/redis/load_scripts.ts";
import { clearOlderEpochs } from "../../src/redis/scripts/clear_older.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { compensateNext } from "../../src/redis/scripts/compensate.ts";
import { countUnoffered } from "../../src/redis/scripts/count_unoffered.ts";
import { fireTimers } from "../../src/redis/scripts/fire.ts";
import { forget } from "../../src/redis/scripts/forget.ts";
import { noteRunning } from "../../src/redis/scripts/note_running.ts";
import { nudgeReader } from "../../src/redis/scripts/nudge.ts";
import { openFence } from "../../src/redis/scripts/open.ts";
import { reclaimExpired } from "../../src/redis/scripts/reclaim.ts";
import { requeueUnclaimed } from "../../src/redis/scripts/requeue.ts";
import { reviveRun } from "../../src/redis/scripts/revive.ts";
import { giveSignal } from "../../src/redis/scripts/signal.ts";
import { callStart } from "../../src/redis/scripts/start.ts";
import { step } from "../../src/redis/scripts/step.ts";
import { storeItems } from "../../src/redis/scripts/store.ts";
import { sweepRun } from "../../src/redis/scripts/sweep.ts";
import { tidyStreams } from "../../src/redis/scripts/tidy.ts";
import { wakeParent } from "../../src/redis/scripts/wake.ts";
import { ANSWER } from "../../src/token/letters.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import { edges, fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import { beginGame, finished, list, tokens, WORKER } from "./game.ts";
import { FAILED, Play } from "./play.ts";

type Call = { name: string; keys: readonly string[]; args: readonly string[] };
type Run = (call: Call) => Promise<string[]>;

const LUA = new URL("../../lua/", import.meta.url);
const files = readdirSync(LUA, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".lua"));
const scriptNames = files.filter((name) => !name.includes("/")).map((name) => basename(name, ".lua"));
const sourceOf = (name: string) => readFileSync(new URL(name, LUA), "utf8").replace(/--.*$/gm, "");

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});

/** Has `before` tried each call of a script on this connection first. */
async function intercept(before: (call: Call, run: Run) => Promise<void>): Promise<void> {
  const names = new Map<string, string>();
  for (const name of scriptNames) {
    const learn = { evalsha: async (sha: string) => names.set(sha, name) };
    await runScript(learn as never, name as ScriptName, [], []);
  }
  const { redis } = connection;
  const [evalsha, evaluate] = [redis.evalsha.bind(redis), redis.eval.bind(redis)] as const;
  const run: Run = ({ name, keys, args }) =>
    runScript({ evalsha, eval: evaluate } as never, name as ScriptName, keys, args);
  redis.evalsha = (async (sha: string, count: number, ...lists: string[][]) => {
    const rest = lists.flat();
    const name = names.get(sha) as string;
    await before({ name, keys: rest.slice(0, count), args: rest.slice(count) }, run);
    return evalsha(sha, count, ...rest);
  }) as never;
}
afterAll(() => connection.close());

test.each(files.filter((name) => name !== "lib/writes.lua"))("%s only reads by itself", (name) => {
  const reads = /^'(HGET|HMGET|HEXISTS|EXISTS|GET|PTTL|ZSCORE|XLEN|XRANGE|LRANGE|TIME|HLEN|XINFO|XPENDING)'/;
  const calls = sourceOf(name)
    .split(/redis\.p?call\(/)
    .slice(1);
  expect(calls.filter((text) => !reads.test(text)).map((text) => text.slice(0, 30))).toEqual([]);
  // A script's last word performs what it noted.
  if (!name.includes("/"))
    expect(sourceOf(name).trimEnd().split("\n").at(-1)).toMatch(/^return (commit|commit_list|answer)\(/);
});

/** A key as it is stored, and what is in it: the order of a large hash depends on how often it was read. */
interface Stored {
  bytes: Buffer;
  content: string;
}

/** These keys, as far as they are there. */
async function dump(names: Iterable<string>): Promise<Map<string, Stored>> {
  const { redis } = connection;
  const stored = await Promise.all(
    [...names].map(async (name): Promise<[string, Stored][]> => {
      const isHash = /:(meta|run|ir|functions)(:|$)/.test(name);
      const [bytes, fields] = await Promise.all([redis.dumpBuffer(name), isHash ? redis.hgetall(name) : {}]);
      if (bytes === null) return [];
      const content = isHash ? JSON.stringify(Object.entries(fields).sort()) : bytes.toString("hex");
      return [[name, { bytes, content }]];
    }),
  );
  return new Map(stored.flat());
}

function differences(one: Map<string, Stored>, other: Map<string, Stored>): string[] {
  const names = new Set([...one.keys(), ...other.keys()]);
  return [...names].filter((name) => one.get(name)?.content !== other.get(name)?.content);
}

async function restore(names: Iterable<string>, wanted: Map<string, Stored>): Promise<void> {
  for (const name of differences(await dump(names), wanted)) {
    const stored = wanted.get(name);
    if (stored) await connection.redis.restore(name, 0, stored.bytes, "REPLACE");
    else await connection.redis.del(name);
  }
}

/** Each form of a value in which one part of it is left out, or of another kind. */
function* spoilt(value: unknown): Generator<unknown> {
  if (value === null || typeof value !== "object") return;
  const list = Array.isArray(value);
  for (const [key, part] of Object.entries(value)) {
    const others = Object.entries(value).filter(([name]) => name !== key);
    if (list) yield value.filter((_, index) => String(index) !== key);
    else yield Object.fromEntries(others);
    const forms = [null, {}, typeof part === "number" ? "x" : 1e15, ...spoilt(part)];
    for (const form of forms) {
      if (list) yield value.map((one, index) => (String(index) === key ? form : one));
      else yield { ...value, [key]: form };
    }
  }
}

const FENCE = new Set(["layout", "installation", "epoch", "timeline"]);
/** Of the forms of a call and of the state that it meets so many are tried, all over them. */
const FORMS = 5;

function some<T>(list: readonly T[]): T[] {
  const step = Math.max(1, list.length / FORMS);
  return Array.from(
    { length: Math.min(FORMS, list.length) },
    (_, index) => list[Math.floor(index * step)] as T,
  );
}

const scripts = new Set<string>();
/** Those that refused a call for the lack of a queue. */
const refusing = new Set<string>();
const known = new Set<string>();

/** The other forms of a call whose arguments are a list, behind the four of the fence. */
function formsOfList({ name, keys, args }: Call): [string, Call][] {
  const fence = 4;
  const forms = args.slice(fence).flatMap((_arg, index): [string, string[]][] => {
    const at = fence + index;
    const others = ["x", "", "1e15", "0", "elsewhere"].map((other): [string, string[]] => [
      `argument ${at + 1} = ${other}`,
      args.map((arg, place) => (place === at ? other : arg)),
    ]);
    return [...others, [`no argument ${at + 1}`, args.filter((_other, place) => place !== at)]];
  });
  return forms.map(([what, other]) => [what, { name, keys, args: other }]);
}

/** The other forms of a call, each with what is other in it. */
function formsOf({ name, keys, args }: Call): [string, Call][] {
  const withoutKeys = keys
    .slice(1)
    .map((key, index): [string, Call] => [`no ${key}`, { name, keys: keys.slice(0, index + 1), args }]);
  if (!args[0]?.startsWith("{")) return [...withoutKeys, ...formsOfList({ name, keys, args })];
  const json = JSON.parse(args[0] as string) as Record<string, unknown>;
  const withJson = (form: object): Call => ({ name, keys, args: [JSON.stringify(form), ...args.slice(1)] });
  const queues = Object.entries(json.queues ?? {});
  const withoutQueue = queues.map(([queue]): [string, Call] => [
    `no stream of ${queue}`,
    withJson({ ...json, queues: Object.fromEntries(queues.filter(([other]) => other !== queue)) }),
  ]);
  const parts = Object.entries(json).filter(([part]) => !FENCE.has(part));
  const spoiltParts = parts.flatMap(([part, value]) =>
    [...spoilt({ [part]: value })].map((form): [string, Call] => [
      JSON.stringify(form),
      withJson({ ...json, [part]: undefined, ...(form as object) }),
    ]),
  );
  return [...withoutQueue, ...withoutKeys, ...some(spoiltParts)];
}

/** Values of the wrong kind in the run's state and its IR: hash, field and value. */
function spoiltFields(state: Map<string, Stored>): [string, string, string][] {
  const fields = [...state].flatMap(([key, { content }]) =>
    /:(run|ir):/.test(key) ? (JSON.parse(content) as [string, string][]).map((field) => [key, ...field]) : [],
  ) as [string, string, string][];
  return some(
    fields.flatMap(([key, field, value]) => {
      const cut = value.slice(0, Math.max(value.indexOf(":"), value.indexOf(",")) + 1);
      return ["x", cut].map((other): [string, string, string] => [key, field, other]);
    }),
  );
}

async function tryForms(call: Call, run: Run): Promise<void> {
  const { redis } = connection;
  scripts.add(call.name);
  for (const key of call.keys) known.add(key);
  const given = await dump(known);
  const attempt = async (what: string, form: Call, state: Map<string, Stored>) => {
    const answer = await run(form).catch((error: Error) => String(error));
    const reply = typeof answer === "string" ? answer : (answer[0] as string);
    const changed = differences(await dump(known), state);
    const failed = typeof answer === "string" || reply.includes('"refused"');
    if (failed) expect(changed, `${call.name} with ${what}: ${reply}`).toEqual([]);
    if (reply.includes('"queue"')) refusing.add(call.name);
    if (changed.length > 0) await restore(known, given);
  };
  for (const [what, form] of formsOf(call)) await attempt(what, form, given);
  for (const [key, field, other] of spoiltFields(given)) {
    await redis.hset(key, field, other);
    await attempt(`${field} = ${other}`, call, await dump(known));
    await restore([key], given);
  }
}

const elsewhere = { queue: "elsewhere" };

async function begin(document: object): Promise<Play> {
  known.clear();
  return new Play(await beginGame(connection, compile({ name: "game", edges: [], ...document }).ir));
}

/** Plays what calls every script, and most of what each does. */
async function playAll(): Promise<void> {
  const run = await begin({
    semaphores: { lab: 1 },
    nodes: [
      fn("a", "echo", {}, { holds: ["lab"], compensate_with: { function_name: "echo" } }),
      fn("b", "echo", {}, { holds: ["lab"], ...elsewhere }),
      { id: "s", type: "signal", config: { name: "go", timeout_ms: 1 }, ...elsewhere },
      { id: "t", type: "signal", config: { name: "go" } },
      fn("x", "echo", {}, { cancels: ["t"], ...elsewhere }),
      fn("c", "echo", {}, elsewhere),
      fn("f"),
    ],
    edges: edges("a -> c", "t -> c", "x -> c"),
  });
  const { game } = run;
  const { partition, runId } = game;
  await run.takesUp();
  await run.ends("s", { outcome: "W", arrivals: "", park: { kind: "s", signal: "go", due: 1 } });
  await run.ends("t", { outcome: "W", arrivals: "", park: { kind: "s", signal: "go" } });
  await giveSignal(partition, game, { seq: 1, name: "go", transient: false, payload: "1" });
  await run.ends("f", { outcome: "R", arrivals: "", due: 1 });
  await fireTimers(partition, async () => {});
  await run.ends("a");
  await run.takesUp();
  await run.ends("x");
  const held = await connection.redis.zrange(partition.keys.leases, 0, -1);
  await list(run.game, { held, leaseMs: 10 });
  await noteRunning(partition, "worker-1", [{ ...run.token("b"), startedAt: 1 }]);
  await connection.redis.zadd(partition.keys.leases, ...held.flatMap((kept) => [1, kept]));
  await reclaimExpired(partition);
  await run.came();
  await connection.redis.xadd(partition.keys.ready("elsewhere"), "*", "t", "junk");
  await tokens(game);
  await requeueUnclaimed(partition, elsewhere, 0);
  await run.came();
  await run.moves("b");
  const waiting = { ...elsewhere, functionName: "echo" };
  await countUnoffered(partition, [{ ...waiting, waits: 1, offered: true }]);
  await tidyStreams(partition, 0, ["elsewhere"]);
  await run.claims("b");
  await countUnoffered(partition, [{ ...waiting, waits: 0, offered: true }], -1);
  await connection.redis.del(partition.keys.leases);
  await reviveRun(partition, game);
  await run.came();
  await applyCommand(partition, runId, "pause", 2);
  await run.claims("b");
  await applyCommand(partition, runId, "resume", 3);
  await sweepRun(partition, game);
  await applyCommand(partition, runId, "cancel", 4);
  await sweepRun(partition, game);
  await finishAll(run);
  await compensateNext(partition, runId, game.ir);
  await forget(partition, 1, [{ runId, blobs: ["large"] }]);

  const mapped = await begin({
    nodes: [
      {
        id: "m",
        type: "map",
        config: {
          items: "input.items",
          max_concurrency: 1,
          body: { nodes: [fn("w", "echo", {}, elsewhere)] },
        },
      },
      { id: "sub", type: "subworkflow", config: { workflow: "other" } },
      fn("after", "echo", {}, elsewhere),
    ],
    edges: edges("m -> after", "sub -> after"),
  });
  await mapped.takesUp();
  const m = mapped.token("m");
  await storeItems(mapped.game.partition, m, "items", "[1]", 1_000);
  await mapped.ends("m", {
    outcome: "W",
    arrivals: "",
    park: { kind: "m", total: 2, closes: true, blobs: ["items"] },
  });
  await mapped.ends("sub", { outcome: "W", arrivals: "", park: { kind: "c" } });
  await mapped.takesUp();
  await mapped.ends("w@m:0");
  await mapped.takesUp();
  await mapped.ends("w@m:1", FAILED);
  const sub = mapped.token("sub");
  await wakeParent(mapped.game.partition, mapped.game, {
    node: sub.node,
    scope: "",
    ended: '{"status":"COMPLETED"}',
  });
  await finishAll(mapped);

  const plain = await begin({
    nodes: [fn("a"), fn("b"), fn("c")],
    edges: edges("a -> b", "a -> c", "b -> c"),
  });
  await plain.came();
  const { game: small } = plain;
  const a = plain.token("a");
  const common = { worker: WORKER, leaseMs: 30_000, take: 1, reads: ["default"], finished: [], claims: [] };
  const claims = [{ item: { ...a, ...claimTraits(small.ir, a.node, "") }, ir: small.ir }];
  expect(await step(small.partition, { ...common, claims })).toMatchObject({ letters: ANSWER.runs });
  const ended = [{ item: finished(small, a, { hand: true }), ir: small.ir }];
  expect(await step(small.partition, { ...common, finished: ended })).toMatchObject({
    letters: ANSWER.handed,
  });

  await begin({ nodes: Array.from({ length: 60 }, (_, index) => fn(`n${index}`)) });
  const looped = await begin({
    nodes: [
      fn("work", "echo", {}, elsewhere),
      { id: "again", type: "loop", config: { loop_back_to: "work", max_iterations: 3, condition: "true" } },
    ],
    edges: edges("work -> again"),
  });
  const { partition: its, ir, digest } = looped.game;
  // Begins with an iteration, and paused: two ways that are not the short one.
  const together = [{}, { paused: true }].map((more) => ({
    ...{ runId: crypto.randomUUID(), generation: 1, digest, ir, input: "{}" },
    ...more,
  }));
  const deadline = connection.now() + 60_000;
  expect(await callStart(its, { epoch: "1", deadline, runs: together })).toEqual(["started", "started"]);
  await looped.takesUp();
  await looped.ends("work@again:1");
  await looped.takesUp();
  await looped.ends("again@again:1", { again: true, arrivals: "" });
  await nudgeReader(its);
  await openFence(its, { epoch: "2", create: true });
  expect(await clearOlderEpochs(its)).toBeGreaterThan(0);
}

async function finishAll(run: Play): Promise<void> {
  for (const key of await run.came()) {
    await run.claims(key);
    await run.ends(key);
  }
}

test("a call in another form than a worker's does its work or changes nothing", async () => {
  await intercept(tryForms);
  await playAll();
  expect([...scripts].sort()).toEqual(scriptNames.sort());
  expect([...refusing].sort()).toEqual([
    "advance",
    "compensate",
    "fire",
    "reclaim",
    "revive",
    "signal",
    "start",
    "sweep",
    "wake",
  ]);
});
