/**
 * The small step (lua/step.lua): plain executions, which are most, for a fraction of what the general one costs. Arguments and reply are lists
 * by position. What it answers `slow` goes to the general one (`advance.ts`), on the same state; so does what is known not to be plain.
 */

import { ARRIVAL, OUTCOME, TOKEN } from "../../token/letters.ts";
import type { IR, IREdge, IRNode } from "../../workflow/ir/ir.ts";
import type { AdvanceCall, ClaimEntry, ClaimItem, FinishedEntry, FinishedItem } from "../calls.ts";
import { KeyList } from "../key_list.ts";
import { queuesOf } from "../pack.ts";
import type { Partition } from "../partition.ts";
import type { AdvanceReply, HandedToken } from "../replies.ts";
import { callAdvance } from "./advance.ts";

const isNone = (list: readonly unknown[] | undefined) => list === undefined || list.length === 0;

/** Nodes of an IR whose edges lead where the small step knows its way. */
const plainNodes = new WeakMap<IR, (boolean | undefined)[]>();

function isPlainNode(ir: IR, index: number, wide: number): boolean {
  let known = plainNodes.get(ir);
  if (known === undefined) {
    known = [];
    plainNodes.set(ir, known);
  }
  known[index] ??= (ir.nodes[index] as IRNode).out.every((edge) => {
    const { exits, enters, to } = ir.edges[edge] as IREdge;
    const target = ir.nodes[to] as IRNode;
    return !exits && isNone(enters) && target.cancels_at !== "fire" && target.in.length <= wide;
  });
  return known[index];
}

/** Does an edge that is not taken skip what it leads to? */
function skips(ir: IR, { node, arrivals }: FinishedItem): boolean {
  if (!arrivals.includes(ARRIVAL.not_taken, 1)) return false;
  return (ir.nodes[node] as IRNode).out.some(
    (edge, index) =>
      arrivals[index + 1] === ARRIVAL.not_taken && ir.nodes[(ir.edges[edge] as IREdge).to]?.in.length === 1,
  );
}

/** May the small step know its way with this finished execution? */
export function isPlainFinish({ item, ir }: FinishedEntry, wide: number): boolean {
  if ("work" in item || item.outcome !== OUTCOME.completed || item.scope !== "" || item.delivery !== 1)
    return false;
  if (item.limited || item.waits || item.withdraws || item.guarded || item.again || item.endsItem)
    return false;
  if (item.blob !== undefined || item.compensation !== undefined || item.keepAt !== undefined) return false;
  if (item.forgets !== undefined || !isNone(item.unoffered) || Object.keys(item.needs).length > 0)
    return false;
  return isPlainNode(ir, item.node, wide) && !skips(ir, item);
}

export function isPlainClaim({ item }: ClaimEntry): boolean {
  if (item.scope !== "" || item.delivery !== 1 || item.suspects || item.unoffered !== undefined) return false;
  return (
    !item.limited &&
    !item.waits &&
    !item.withdraws &&
    !item.guarded &&
    isNone(item.unless) &&
    isNone(item.needs)
  );
}

/** What each item was answered; the tokens of the reply, whose payloads are its strings by position. */
export interface StepReply {
  finished: ("done" | "slow")[];
  claims: ("run" | "slow")[];
  tokens: HandedToken[];
  payloads: string[];
}

/** In place of an output: the predecessor's own, which its worker has. */
const OWN = "-";

const WORDS = new Set(["done", "run", "slow"]);

const tokenOf = ({ runId, generation, digest }: FinishedItem | ClaimItem) =>
  `${TOKEN.execution}|${runId}|${generation}|${digest}|`;

/** What the journal says of it, as far as the worker knows: the script goes on with what comes of it. */
function recordOf({ runId: id, generation: g, node, attempt, outcome, arrivals }: FinishedItem): string {
  return JSON.stringify({ id, g, node, scope: "", attempt, delivery: 1, outcome, arrivals }).slice(0, -1);
}

/** @throws FenceError, RedisAwayError */
export async function step(partition: Partition, call: AdvanceCall): Promise<StepReply> {
  const { keys, limits } = partition;
  const list = new KeyList([keys.meta, keys.journal(partition.epoch), keys.leases, keys.nudge]);
  const queues = new Set<string>();
  for (const { ir } of call.finished) for (const queue of queuesOf(ir)) queues.add(queue);
  const { layout, installation, epoch, timeline, call: nonce, now } = await partition.fence(partition.epoch);
  const args: (string | number)[] = [layout, installation, epoch, timeline, nonce, now];
  args.push(call.worker, call.leaseMs, call.take, limits.plainEdges, limits.part);
  args.push(queues.size, call.finished.length, call.claims.length);
  for (const queue of queues)
    args.push(queue, list.position(keys.ready(queue)), call.reads.includes(queue) ? 1 : 0);
  for (const { item } of call.finished as readonly { item: FinishedItem }[]) {
    args.push(list.position(keys.run(item.runId)), list.position(keys.ir(item.digest)), tokenOf(item));
    args.push(item.generation, item.node, item.attempt, item.nonce, item.queue, item.arrivals.slice(1));
    args.push(item.keep ? 1 : 0, item.hand ? 1 : 0, recordOf(item), item.detail, item.output);
    args.push(item.outputInJournal ? item.output : "");
  }
  for (const { item } of call.claims) {
    args.push(list.position(keys.run(item.runId)), tokenOf(item), item.generation, item.node, item.attempt);
    args.push(item.nonce, item.queue, list.position(keys.stream(item)), item.entry);
  }
  const reply = await partition.callStep("step", list.keys, args.map(String));
  if (reply[0] !== "ok") partition.refuse(reply);
  return readReply(reply, call);
}

function readReply(reply: string[], call: AdvanceCall): StepReply {
  const behindWords = 1 + call.finished.length + call.claims.length;
  const words = reply.slice(1, behindWords);
  if (!words.every((word) => WORDS.has(word))) throw new Error(`the small step answers ${words.join(", ")}`);
  const tokens: HandedToken[] = [];
  for (let at = behindWords; at < reply.length; ) {
    const [after, node, attempt, nonce, sources, count] = reply.slice(at, at + 6) as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    const position = Number(after);
    const { item } = (
      position > 0 ? call.finished[position - 1] : call.claims[-position - 1]
    ) as FinishedEntry;
    const first = at + 6;
    const behind = first + Number(count);
    const inputs: number[] = [];
    for (let index = first; index < behind; index += 1)
      inputs.push(reply[index] === OWN ? -1 : reply[index] === "" ? 0 : index);
    tokens.push({
      id: item.runId,
      g: item.generation,
      digest: item.digest,
      node: Number(node),
      scope: "",
      attempt: Number(attempt),
      delivery: 1,
      nonce,
      after: position > 0 ? position - 1 : undefined,
      sources: sources === "" ? [] : sources.split(",").map(Number),
      inputs,
      needs: [],
      input: position > 0 ? 0 : behind,
    });
    at = behind + 1;
  }
  return {
    finished: words.slice(0, call.finished.length) as StepReply["finished"],
    claims: words.slice(call.finished.length) as StepReply["claims"],
    tokens,
    payloads: reply,
  };
}

/** Items of a call that go together, with their places in it. */
interface Part {
  finished: number[];
  claims: number[];
}

function partsOf({ finished, claims }: Part, most: number): Part[] {
  const parts: Part[] = [];
  const [all, ends] = [finished.length + claims.length, finished.length];
  for (let first = 0; first < all; first += most) {
    const last = first + most;
    parts.push({
      finished: finished.slice(first, last),
      claims: claims.slice(Math.max(0, first - ends), Math.max(0, last - ends)),
    });
  }
  return parts;
}

/**
 * Applies a call: what is plain in one small step, all else in general ones of `most` items each. A call that is repeated, as its answer was
 * lost, comes to the same: what was applied is answered as a duplicate.
 * @throws FenceError, RedisAwayError
 */
export async function applyCall(
  partition: Partition,
  call: AdvanceCall,
  most: number,
): Promise<{ reply: AdvanceReply; payloads: string[] }> {
  const { wide } = partition.limits;
  const plain: Part = { finished: [], claims: [] };
  const other: Part = { finished: [], claims: [] };
  for (const [index, entry] of call.finished.entries())
    (isPlainFinish(entry, wide) ? plain : other).finished.push(index);
  for (const [index, entry] of call.claims.entries())
    (isPlainClaim(entry) ? plain : other).claims.push(index);
  const reply: AdvanceReply = { word: "ok", finished: [], claims: [], tokens: [], opened: false };
  const payloads: string[] = [];
  const taken = ({ finished, claims }: Part): AdvanceCall => {
    const ended = finished.map((index) => call.finished[index] as FinishedEntry);
    return {
      worker: call.worker,
      leaseMs: call.leaseMs,
      reads: call.reads,
      take: Math.min(call.take, ended.filter(({ item }) => !("work" in item)).length),
      finished: ended,
      claims: claims.map((index) => call.claims[index] as ClaimEntry),
    };
  };
  const addTokens = (part: Part, tokens: readonly HandedToken[], more: readonly string[]) => {
    const offset = payloads.length;
    // Each claim that is to run brings its token, in their order.
    const claimed = part.claims.filter((index) => reply.claims[index]?.word === "run");
    const moved = (position: number) => (position > 0 ? position + offset : position);
    for (const token of tokens) {
      token.inputs = token.inputs.map(moved);
      token.needs = token.needs.map(([node, position]) => [node, moved(position)]);
      token.input = moved(token.input);
      if (token.woken !== undefined) token.woken = moved(token.woken);
      if (token.after !== undefined) token.after = part.finished[token.after];
      else token.claim = claimed.shift();
      reply.tokens.push(token);
    }
    for (const payload of more) payloads.push(payload);
  };
  if (plain.finished.length + plain.claims.length > 0) {
    const answer = await step(partition, taken(plain));
    for (const [at, index] of plain.finished.entries())
      if (answer.finished[at] === "slow") other.finished.push(index);
      else reply.finished[index] = { word: "done" };
    for (const [at, index] of plain.claims.entries())
      if (answer.claims[at] === "slow") other.claims.push(index);
      else reply.claims[index] = { word: "run" };
    addTokens(plain, answer.tokens, answer.payloads);
  }
  for (const part of partsOf(other, most)) {
    const answer = await callAdvance(partition, taken(part));
    for (const [at, index] of part.finished.entries())
      reply.finished[index] = answer.reply.finished[at] as (typeof reply.finished)[number];
    for (const [at, index] of part.claims.entries())
      reply.claims[index] = answer.reply.claims[at] as (typeof reply.claims)[number];
    addTokens(part, answer.reply.tokens, answer.payloads);
    reply.opened ||= answer.reply.opened;
  }
  return { reply, payloads };
}
