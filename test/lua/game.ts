/** One run played by hand through the scripts: its tokens, and the calls that workers and the reader make. */

import { expect } from "vitest";
import { claimTraits, traitsOf } from "../../src/engine/worker/node_facts.ts";
import { CALL_LIMITS, type CallLimits } from "../../src/redis/call_limits.ts";
import type {
  AdvanceCall,
  ClaimItem,
  FinishedItem,
  SettleItem,
  StartCall,
  StartItem,
  StreamPosition,
} from "../../src/redis/calls.ts";
import type { RedisConnection } from "../../src/redis/connection.ts";
import { SETTLE_QUEUE } from "../../src/redis/keys.ts";
import { newNonce } from "../../src/redis/nonce.ts";
import { PARKING, queuesOf } from "../../src/redis/pack.ts";
import { Partition } from "../../src/redis/partition.ts";
import { readReady } from "../../src/redis/ready.ts";
import type { StartWord } from "../../src/redis/replies.ts";
import { RUN } from "../../src/redis/run_state.ts";
import { callAdvance } from "../../src/redis/scripts/advance.ts";
import { ensureQueues } from "../../src/redis/scripts/ensure_queues.ts";
import { loadIR } from "../../src/redis/scripts/load_ir.ts";
import { openFence } from "../../src/redis/scripts/open.ts";
import { type Listing, renewLeases } from "../../src/redis/scripts/renew.ts";
import { callStart } from "../../src/redis/scripts/start.ts";
import { decodeJournalEntry, type JournalEvent, type Step } from "../../src/token/journal.ts";
import { decodeToken, type ExecutionToken, type SettleToken } from "../../src/token/token.ts";
import type { IR, IRNode } from "../../src/workflow/ir/ir.ts";
import { testNamespace } from "../support/redis.ts";

export const WORKER = "worker-1";
/** Of the database that would belong to it. */
export const INSTALLATION = "installation-1";

export interface Game {
  partition: Partition;
  runId: string;
  ir: IR;
  digest: string;
}

export type Waiting = ExecutionToken & StreamPosition & Pick<ClaimItem, "unoffered">;

/** Starts a run in a partition of its own. */
export async function beginGame(
  connection: RedisConnection,
  ir: IR,
  input = "{}",
  limits: Partial<CallLimits> = {},
): Promise<Game> {
  const all = { ...CALL_LIMITS, ...limits };
  const partition = new Partition(connection, testNamespace(), 0, INSTALLATION, all);
  await openFence(partition, { epoch: "1", create: true });
  await ensureQueues(partition, queuesOf(ir));
  const game = { partition, runId: crypto.randomUUID(), ir, digest: newNonce() };
  await loadIR(partition, game.digest, ir);
  expect(await start(game, input)).toBe("started");
  return game;
}

/** Starts the game's run; `more` of the item or of the call. */
export async function start(
  game: Game,
  input = "{}",
  { deadline = game.partition.connection.now() + 60_000, ...more }: Partial<StartItem & StartCall> = {},
): Promise<StartWord | undefined> {
  const run = { runId: game.runId, generation: 1, digest: game.digest, input, ir: game.ir, ...more };
  const [word] = await callStart(game.partition, { epoch: game.partition.epoch, deadline, runs: [run] });
  return word;
}

/** Takes the executions that lie in the ready streams. */
export async function tokens(game: Game): Promise<Waiting[]> {
  const found = await readReady(
    game.partition.connection,
    queuesOf(game.ir).map((queue) => ({ partition: game.partition, queue })),
    WORKER,
    { count: 10_000, blockMs: 1 },
  );
  return found.map(({ text, entry, queue }) => ({ ...(decodeToken(text) as ExecutionToken), entry, queue }));
}

/** Settles rests of steps until there are none, also those that come of it; returns how many tokens they were. */
export async function settleRests(game: Game): Promise<number> {
  const streams = [{ partition: game.partition, queue: SETTLE_QUEUE }];
  for (let settled = 0; ; settled += 1) {
    const [found] = await readReady(game.partition.connection, streams, WORKER, { count: 1, blockMs: 1 });
    if (!found) return settled;
    const token = decodeToken(found.text) as SettleToken;
    const item = { ...token, ...traitsOf(game.ir), queue: found.queue, entry: found.entry };
    expect(["done", "stale"]).toContain(words(await advance(game, [item]))[0]);
  }
}

export function finished(game: Game, token: ExecutionToken, how: Partial<FinishedItem> = {}): FinishedItem {
  const node = game.ir.nodes[token.node] as IRNode;
  return {
    ...token,
    ...traitsOf(game.ir),
    queue: node.queue,
    outcome: "C",
    arrivals: `=${"t".repeat(node.out.length)}`,
    unhandled: false,
    halt: false,
    hand: false,
    needs: {},
    guarded: node.holds !== undefined,
    waits: PARKING.has(node.type),
    withdraws: node.cancels_at === "done",
    ...(node.compensation === undefined ? {} : { compensation: node.compensation }),
    detail: { worker: WORKER, started_at: 1, ended_at: 2, from: [] },
    output: `j"${node.id}"`,
    outputInJournal: true,
    keep: true,
    ...how,
  };
}

/** The next step: these executions are finished, these tokens are claimed. */
export function advance(
  { partition, ir }: Game,
  items: readonly (FinishedItem | SettleItem)[],
  { claims = [], ...more }: Partial<Omit<AdvanceCall, "claims">> & { claims?: readonly ClaimItem[] } = {},
) {
  return callAdvance(partition, {
    worker: WORKER,
    leaseMs: 30_000,
    take: items.length,
    reads: queuesOf(ir),
    finished: items.map((item) => ({ item, ir })),
    claims: claims.map((item) => ({ item, ir })),
    ...more,
  });
}

export const claim = (game: Game, list: readonly Waiting[], more: object = {}) =>
  advance(game, [], {
    claims: list.map((token) => ({ ...token, ...claimTraits(game.ir, token.node, token.scope) })),
    ...more,
  });

export async function journal(game: Game) {
  const raw = await game.partition.readJournal(0, 10_000);
  return raw.map(([id, fields]) => decodeJournalEntry(id, fields));
}

export const stepsOf = (events: readonly JournalEvent[]): Step[] =>
  events.flatMap((event) =>
    event.kind === "started" || event.kind === "settled" || event.kind === "finished" ? [event.step] : [],
  );

/** Its worker lists what it holds: by default nothing, with a lease of 10 s. */
export const list = ({ partition }: Game, more: Partial<Listing> = {}) =>
  renewLeases(partition, {
    worker: WORKER,
    leaseMs: 10_000,
    held: [],
    suspects: [],
    since: performance.now(),
    leaves: false,
    alone: "",
    ...more,
  });

/** What the run's own counter says. */
export const counter = async (game: Game) => Number((await state(game, RUN.counts))?.split(",")[1]);

export const state = (game: Game, field: string) =>
  game.partition.connection.redis.hget(game.partition.keys.run(game.runId), field);

/** What became of the finished items of a call. */
export const words = (answer: Awaited<ReturnType<typeof advance>>) =>
  answer.reply.finished.map(({ word }) => word);

export const ids = (game: Game, list: readonly { node: number }[]) =>
  list.map(({ node }) => game.ir.nodes[node]?.id);
