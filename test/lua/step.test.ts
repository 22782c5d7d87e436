/**
 * The small step does what the general one does. Random runs are played by both, call by call, on two partitions: state, journal, tokens,
 * leases and replies must be the same, whatever mixture of plain and other executions comes. HITZERO_SIMULATION_SEED chooses which.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { claimTraits } from "../../src/engine/worker/node_facts.ts";
import type { ClaimItem, FinishedItem, Park } from "../../src/redis/calls.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { GROUP } from "../../src/redis/keys.ts";
import { queuesOf } from "../../src/redis/pack.ts";
import { Partition } from "../../src/redis/partition.ts";
import { isPlainClaim, isPlainFinish } from "../../src/redis/plain.ts";
import type { HandedToken } from "../../src/redis/replies.ts";
import { callAdvance } from "../../src/redis/scripts/advance.ts";
import { applyCommand } from "../../src/redis/scripts/command.ts";
import { ensureQueues } from "../../src/redis/scripts/ensure_queues.ts";
import { loadIR } from "../../src/redis/scripts/load_ir.ts";
import { openFence } from "../../src/redis/scripts/open.ts";
import { step } from "../../src/redis/scripts/step.ts";
import { decodeJournalEntry } from "../../src/token/journal.ts";
import { ANSWER } from "../../src/token/letters.ts";
import { decodeToken, type ExecutionToken } from "../../src/token/token.ts";
import { compile } from "../../src/workflow/compile/compile.ts";
import { TRIGGER_RULES } from "../../src/workflow/file/schema.ts";
import type { IR, TriggerRule } from "../../src/workflow/ir/ir.ts";
import { scopePrefix, storageDepth } from "../../src/workflow/ir/scopes.ts";
import { Dice } from "../simulation/dice.ts";
import { edges as edgesOf, fn } from "../support/flow.ts";
import { irOf } from "../support/ir.ts";
import { redisUrl, testNamespace } from "../support/redis.ts";
import { advance, finished, type Game, INSTALLATION, start, type Waiting, WORKER } from "./game.ts";

const seed = Number(process.env.HITZERO_SIMULATION_SEED ?? 2026);
const GAMES = 60;
const RULES: readonly TriggerRule[] = [...TRIGGER_RULES, { quorum: 2 }];

let connection: RedisConnection;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
});
afterAll(() => connection.close());

function randomIR(dice: Dice): IR {
  const ids = Array.from({ length: dice.between(2, 9) }, (_value, index) => `n${index}`);
  const rules: Record<string, TriggerRule> = {};
  const edges: string[] = [];
  for (const [to, id] of ids.entries()) {
    const before = ids.slice(0, to).filter(() => dice.chance(0.5));
    for (const from of before) edges.push(`${from} -> ${id}${dice.chance(0.2) ? " on always" : ""}`);
    const rule = dice.pick(RULES) as TriggerRule;
    if (before.length > 0 && dice.chance(0.6) && (typeof rule !== "object" || before.length > 2))
      rules[id] = rule;
  }
  const ir = irOf(ids.join(" "), edges, rules);
  for (const node of ir.nodes) {
    if (dice.chance(0.3)) node.queue = "left";
    if (dice.chance(0.1)) node.unless = [dice.between(0, ids.length - 1)];
  }
  return ir;
}

interface Body {
  nodes: object[];
  edges: object[];
  first: string;
  last: string;
}

const SHAPES = [[], ["i0 -> i1"], ["i0 -> i1", "i1 -> i2"], ["i0 -> i1", "i0 -> i2"]];

/** A map or a loop, or one in the other, between two nodes. */
function randomBodies(dice: Dice): IR {
  const shape = dice.pick(SHAPES) as string[];
  const ids = ["i0", "i1", "i2"].filter(
    (id, index) => index === 0 || shape.some((edge) => edge.includes(id)),
  );
  const inner: Body = {
    nodes: ids.map((id) => fn(id, "echo", {}, dice.chance(0.2) ? { queue: "left" } : {})),
    edges: edgesOf(...shape),
    first: "i0",
    last: ids.at(-1) as string,
  };
  const map = (id: string, { nodes, edges }: Body): Body => {
    const config = { items: "[]", max_concurrency: dice.between(1, 4), body: { nodes, edges } };
    return { nodes: [{ id, type: "map", config }], edges: [], first: id, last: id };
  };
  const loop = ({ nodes, edges, first, last }: Body): Body => {
    const config = { loop_back_to: first, max_iterations: 3, condition: "true" };
    const node = { id: "l", type: "loop", config };
    return { nodes: [...nodes, node], edges: [...edges, ...edgesOf(`${last} -> l`)], first, last: "l" };
  };
  const maps = [() => map("m", inner), () => loop(map("m", inner)), () => map("m", map("k", inner))];
  const loops = [() => loop(inner), () => map("m", loop(inner))];
  // All of a loop leads to its node.
  const makes = shape.at(-1) === "i0 -> i2" ? maps : [...maps, ...loops];
  const middle = (dice.pick(makes) as () => Body)();
  const nodes = [fn("a"), ...middle.nodes, fn("z", "echo", {}, { trigger_rule: "all_done" })];
  const edges = [...middle.edges, ...edgesOf(`a -> ${middle.first}`, `${middle.last} -> z`)];
  return compile({ name: "bodies", nodes, edges }).ir;
}

/** Two partitions with the same run, in which each call has the same nonce. */
class Pair {
  readonly games: readonly [general: Game, small: Game];
  #calls = 0;

  constructor(games: readonly [Game, Game]) {
    this.games = games;
    for (const { partition } of games) {
      const fence = partition.fence.bind(partition);
      partition.fence = async (epoch) => ({ ...(await fence(epoch)), call: `c${this.#calls}` });
    }
  }

  nextCall(): void {
    this.#calls += 1;
  }
}

async function begin(ir: IR): Promise<Pair> {
  const ids = { runId: crypto.randomUUID(), digest: "digest", ir };
  const open = async (): Promise<Game> => {
    const partition = new Partition(connection, testNamespace(), 0, INSTALLATION);
    await openFence(partition, { epoch: "1", create: true });
    await ensureQueues(partition, queuesOf(ir));
    await loadIR(partition, ids.digest, ir);
    return { ...ids, partition };
  };
  const pair = new Pair([await open(), await open()]);
  pair.nextCall();
  for (const game of pair.games) expect(await start(game)).toBe("started");
  return pair;
}

const own = (text: string | null | undefined) => text ?? null;

/** What came into the ready streams since. */
async function arrived({ partition, ir }: Game): Promise<Waiting[]> {
  const found: Waiting[] = [];
  for (const queue of queuesOf(ir)) {
    const key = partition.keys.ready(queue);
    const reply = await connection.redis.xreadgroup("GROUP", GROUP, WORKER, "STREAMS", key, ">");
    const [[, entries]] = (reply ?? [["", []]]) as [[string, [string, string[]][]]];
    for (const [entry, fields] of entries)
      found.push({ ...(decodeToken(fields[1] as string) as ExecutionToken), queue, entry });
  }
  return found;
}

/** All that a call changes, apart from ids of entries and times. */
async function snapshot({ partition, runId, ir }: Game) {
  const { redis } = connection;
  const { keys } = partition;
  const state = await redis.hgetall(keys.run(runId));
  const entries = await redis.xrange(keys.journal, "-", "+");
  const scopes = (await redis.smembers(keys.scopes(runId))).sort();
  const journal = entries.map(([id, fields]) => ({ ...decodeJournalEntry(id, fields), at: 0 }));
  const queues = [...new Set(ir.nodes.map(({ queue }) => queue))].sort();
  const ready = await Promise.all(
    queues.map(async (queue) =>
      (await redis.xrange(keys.ready(queue), "-", "+")).map(([, [, text]]) => text),
    ),
  );
  return { state, scopes, journal, ready, leases: (await redis.zrange(keys.leases, 0, -1)).sort() };
}

/** A reply's tokens with the values that its payloads are. */
function told(list: readonly HandedToken[], payloads: readonly string[]) {
  const value = (position: number) =>
    position === -1 ? "own" : position === 0 ? null : own(payloads[position]);
  return list.map(({ inputs, input, after, claim, ...token }) => ({
    ...token,
    inputs: inputs.map(value),
    input: after === undefined ? value(input) : null,
    handed: after !== undefined,
  }));
}

/** An execution that is held, with what its worker knows of it. */
type Held = Waiting & { isWoken: boolean; follows: string | undefined };

/** One call of each kind with the same items: the small step, then the general one for what is not plain or was too slow. */
async function play(
  pair: Pair,
  makes: readonly Partial<FinishedItem>[],
  held: readonly Held[],
  claims: readonly Waiting[][],
  /** How often each way was gone. */
  counts: { plain: number; inBodies: number; slow: number },
) {
  const [general, small] = pair.games;
  const ir = small.ir;
  const more = { leaseMs: 30_000, reads: ["default"] };
  const items = held.map((token, index) => {
    const item = { ...finished(small, token, makes[index]), forgets: token.follows };
    return { item, ir };
  });
  const wanted = claims.map((list) =>
    list.map((token): { item: ClaimItem; ir: IR } => ({
      item: { ...token, ...claimTraits(ir, token.node, token.scope) },
      ir,
    })),
  ) as [{ item: ClaimItem; ir: IR }[], { item: ClaimItem; ir: IR }[]];
  const plain = items.filter((entry) => isPlainFinish(entry, small.partition.limits.wide));
  const plainClaims = wanted[1].map(isPlainClaim);
  const take = plain.length;
  pair.nextCall();
  const answer = await step(small.partition, {
    ...more,
    worker: WORKER,
    take,
    finished: plain,
    claims: wanted[1].filter((_entry, index) => plainClaims[index]),
  });
  const quick = plain.filter((_entry, index) => answer.letters[index] !== ANSWER.slow);
  const [byGeneral, bySmall] = wanted.map((list) =>
    list.filter((_entry, index) => plainClaims[index]),
  ) as typeof wanted;
  const taken = (list: typeof byGeneral) =>
    list.filter((_entry, index) => answer.letters[plain.length + index] === ANSWER.runs);
  counts.plain += quick.length + taken(bySmall).length;
  counts.inBodies += quick.filter(({ item }) => item.scope !== "").length;
  counts.slow += items.length - quick.length + wanted[1].length - taken(bySmall).length;
  const reference = await callAdvance(general.partition, {
    ...more,
    worker: WORKER,
    take,
    finished: quick,
    claims: taken(byGeneral),
  });
  expect(reference.reply.finished.map(({ word }) => word)).toEqual(quick.map(() => "done"));
  expect(reference.reply.claims.map(({ word }) => word)).toEqual(taken(byGeneral).map(() => "run"));
  expect(told(answer.tokens, answer.payloads)).toEqual(told(reference.reply.tokens, reference.payloads));
  const handed = answer.tokens.map((token) => heldAs(token, quick));
  // What is left goes the general way in both.
  const rest = items.filter((entry) => !quick.includes(entry));
  const left = wanted.map((list, index) =>
    list.filter((entry) => !taken(index === 0 ? byGeneral : bySmall).includes(entry)),
  );
  if (rest.length + (left[0]?.length ?? 0) > 0) {
    pair.nextCall();
    const [first, second] = await Promise.all(
      pair.games.map((game, index) =>
        callAdvance(game.partition, {
          ...more,
          worker: WORKER,
          take: rest.length,
          finished: rest,
          claims: left[index] ?? [],
        }),
      ),
    );
    expect(first?.reply.finished).toEqual(second?.reply.finished);
    for (const token of second?.reply.tokens ?? []) handed.push(heldAs(token, rest));
  }
  expect(await snapshot(small)).toEqual(await snapshot(general));
  return handed;
}

const heldAs = (token: HandedToken, origins: readonly { item: FinishedItem }[]): Held => {
  const origin = token.after === undefined ? undefined : origins[token.after]?.item;
  const isElsewhere =
    origin !== undefined && origin.scope !== "" && itemOf(origin.scope) !== itemOf(token.scope);
  return {
    ...token,
    kind: "execution",
    runId: token.id,
    generation: token.g,
    queue: "",
    entry: "",
    isWoken: token.woken !== undefined,
    follows: isElsewhere ? `n${origin.node}@${origin.scope}` : undefined,
  };
};

/** The innermost item of a scope. */
const itemOf = (scope: string) => /^(.*\bm:\d+|)/.exec(scope)?.[0];

const letters = (ir: IR, node: number, dice: Dice) =>
  `=${ir.nodes[node]?.out.map(() => (dice.chance(0.9) ? "t" : "n")).join("")}`;

function outcome(ir: IR, { node, scope, isWoken }: Held, dice: Dice): Partial<FinishedItem> {
  const { type } = ir.nodes[node] as IR["nodes"][number];
  const parks: Park = { kind: "m", total: dice.between(0, 5), closes: true, blobs: [] };
  if (type === "map" && !isWoken) return { outcome: "W", arrivals: "", park: parks };
  if (type === "map") return { hand: dice.chance(0.7) };
  const kept = { hand: dice.chance(0.7), keepAt: scopePrefix(scope, storageDepth(ir, node)) };
  if (type === "loop" && dice.chance(0.5) && !/l:3$/.test(scope))
    return { ...kept, arrivals: "", again: true };
  if (type === "loop") return kept;
  if (dice.chance(0.1))
    return { outcome: "F", arrivals: "X", unhandled: true, outputInJournal: false, output: 'e{"error":{}}' };
  return { arrivals: letters(ir, node, dice), hand: dice.chance(0.7), handItems: dice.chance(0.7) };
}

test.each([
  [GAMES, "graphs", randomIR],
  [GAMES / 2, "bodies", randomBodies],
])(`%i random runs of %s come to the same by both (seed ${seed})`, async (games, _name, make) => {
  const dice = new Dice(seed);
  const counts = { plain: 0, inBodies: 0, slow: 0 };
  for (let game = 0; game < games; game += 1) {
    const ir = make(dice);
    const pair = await begin(ir);
    let held: Held[] = [];
    const waiting: [Waiting[], Waiting[]] = [[], []];
    for (let calls = 0; calls < 300; calls += 1) {
      for (const [index, one] of pair.games.entries()) waiting[index as 0 | 1].push(...(await arrived(one)));
      const key = ({ node, scope, nonce }: Waiting) => `${node} ${scope} ${nonce}`;
      expect(waiting[0].map(key)).toEqual(waiting[1].map(key));
      if (held.length + waiting[0].length === 0) break;
      const claimed = waiting[0].map(() => dice.chance(0.6));
      const ending = held.filter(() => dice.chance(0.6));
      const makes = ending.map((token) => outcome(ir, token, dice));
      const claims = waiting.map((list) => list.filter((_token, index) => claimed[index]));
      for (const index of [0, 1] as const)
        waiting[index] = waiting[index].filter((_token, at) => !claimed[at]);
      held = held.filter((token) => !ending.includes(token));
      held.push(...(await play(pair, makes, ending, claims, counts)));
    }
    expect(held).toEqual([]);
    expect((await snapshot(pair.games[1])).state.s).toMatch(/^[CF]$/);
  }
  // Both ways are gone often.
  expect(counts.plain).toBeGreaterThan(games);
  expect(counts.slow).toBeGreaterThan(games);
  if (make === randomBodies) expect(counts.inBodies).toBeGreaterThan(games);
});

describe("the small step leaves to the general one, with nothing written,", () => {
  const chain = () => begin(irOf("a b", ["a -> b"]));
  const untouched = async (pair: Pair, make: (token: Waiting, game: Game) => Promise<unknown>) => {
    const [, game] = pair.games;
    const [token] = (await arrived(game)) as [Waiting];
    await advance(game, [], { claims: [{ ...token, ...claimTraits(game.ir, token.node, "") }] });
    await make(token, game);
    const before = await snapshot(game);
    pair.nextCall();
    const item = finished(game, token);
    const answer = await step(game.partition, {
      worker: WORKER,
      leaseMs: 30_000,
      take: 1,
      reads: ["default"],
      finished: [{ item, ir: game.ir }],
      claims: [],
    });
    expect(answer).toMatchObject({ letters: ANSWER.slow, tokens: [] });
    expect(await snapshot(game)).toEqual(before);
  };

  test("what was finished before", async () => {
    await untouched(await chain(), async (token, game) => advance(game, [finished(game, token)]));
  });

  test.each(["pause", "cancel"] as const)("an execution of a run that has a %s", async (kind) => {
    await untouched(await chain(), (_token, game) => applyCommand(game.partition, game.runId, kind, 1));
  });

  test("a token of another hand-out or another generation", async () => {
    const of = (change: Partial<Waiting>) => async (token: Waiting) => Object.assign(token, change);
    await untouched(await chain(), of({ nonce: "other" }));
    await untouched(await chain(), of({ generation: 2 }));
    await untouched(await chain(), of({ delivery: 2 }));
  });
});
