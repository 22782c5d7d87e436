/**
 * Applies a worker's call: what is plain in one small step, all else in general ones, on the same state.
 */
import { ANSWER } from "../token/letters.ts";
import type { AdvanceCall, ClaimEntry, FinishedEntry } from "./calls.ts";
import type { Partition } from "./partition.ts";
import { isPlainClaim, isPlainFinish } from "./plain.ts";
import type { AdvanceReply, HandedToken } from "./replies.ts";
import { callAdvance } from "./scripts/advance.ts";
import { type StepReply, step } from "./scripts/step.ts";

/** What a call was answered: the reply's payloads are these strings, by position. */
interface Applied {
  reply: AdvanceReply;
  payloads: string[];
}

/** Items of a call that go together, by their places in it. */
interface Part {
  finished: number[];
  claims: number[];
}

const DONE: AdvanceReply["finished"][number] = { word: "done" };
const RUNS: AdvanceReply["claims"][number] = { word: "run" };

/**
 * `most`: items of a general step. A call that is repeated, as its answer was lost, comes to the same: what was applied is answered as a
 * duplicate.
 * @throws FenceError, RedisAwayError
 */
export async function applyCall(partition: Partition, call: AdvanceCall, most: number): Promise<Applied> {
  const { plain, other } = sorted(call, partition.limits.wide);
  const isAllPlain = other.finished.length + other.claims.length === 0;
  const applied: Applied = {
    reply: { word: "ok", finished: [], claims: [], tokens: [], opened: false },
    payloads: [],
  };
  if (plain.finished.length + plain.claims.length > 0) {
    const answer = await step(partition, isAllPlain ? call : taken(call, plain));
    if (isAllPlain && !answer.letters.includes(ANSWER.slow)) return allDone(call, answer);
    addPlain(applied, plain, other, answer);
  }
  for (const part of partsOf(other, most)) {
    const { reply, payloads } = await callAdvance(partition, taken(call, part));
    for (const [at, index] of part.finished.entries())
      applied.reply.finished[index] = reply.finished[at] as (typeof reply.finished)[number];
    for (const [at, index] of part.claims.entries())
      applied.reply.claims[index] = reply.claims[at] as (typeof reply.claims)[number];
    // Each claim that is to run brings its token, in their order.
    const claimed = part.claims.filter((index) => applied.reply.claims[index]?.word === RUNS.word);
    for (const token of reply.tokens) if (token.after === undefined) token.claim = claimed.shift();
    addTokens(applied, part, reply.tokens, payloads);
    applied.reply.opened ||= reply.opened;
  }
  return applied;
}

function sorted({ finished, claims }: AdvanceCall, wide: number): { plain: Part; other: Part } {
  const plain: Part = { finished: [], claims: [] };
  const other: Part = { finished: [], claims: [] };
  for (let index = 0; index < finished.length; index += 1)
    (isPlainFinish(finished[index] as FinishedEntry, wide) ? plain : other).finished.push(index);
  for (let index = 0; index < claims.length; index += 1)
    (isPlainClaim(claims[index] as ClaimEntry) ? plain : other).claims.push(index);
  return { plain, other };
}

/** The call with a part of its items. */
function taken(call: AdvanceCall, { finished, claims }: Part): AdvanceCall {
  const ended = finished.map((index) => call.finished[index] as FinishedEntry);
  return {
    worker: call.worker,
    leaseMs: call.leaseMs,
    reads: call.reads,
    take: Math.min(call.take, ended.filter(({ item }) => !("work" in item)).length),
    finished: ended,
    claims: claims.map((index) => call.claims[index] as ClaimEntry),
  };
}

/** All of a call was plain: the small step's answer is the call's. */
function allDone({ finished, claims }: AdvanceCall, { tokens, payloads }: StepReply): Applied {
  const words = { finished: finished.map(() => DONE), claims: claims.map(() => RUNS) };
  return { reply: { word: "ok", ...words, tokens, opened: false }, payloads };
}

/** What was too slow for the small step joins the others. */
function addPlain(applied: Applied, plain: Part, other: Part, answer: StepReply): void {
  const { letters, tokens, payloads } = answer;
  for (const [at, index] of plain.finished.entries())
    if (letters[at] === ANSWER.slow) other.finished.push(index);
    else applied.reply.finished[index] = DONE;
  const ends = plain.finished.length;
  for (const [at, index] of plain.claims.entries())
    if (letters[ends + at] === ANSWER.slow) other.claims.push(index);
    else applied.reply.claims[index] = RUNS;
  for (const token of tokens) if (token.claim !== undefined) token.claim = plain.claims[token.claim];
  addTokens(applied, plain, tokens, payloads);
}

/** Adds tokens of a part's reply, whose payloads come behind those that are there. */
function addTokens(
  { reply, payloads }: Applied,
  part: Part,
  tokens: readonly HandedToken[],
  more: readonly string[],
): void {
  const offset = payloads.length;
  const moved = (position: number) => (position > 0 ? position + offset : position);
  for (const token of tokens) {
    token.inputs = token.inputs.map(moved);
    token.needs = token.needs.map(([node, position]) => [node, moved(position)]);
    token.input = moved(token.input);
    if (token.woken !== undefined) token.woken = moved(token.woken);
    if (token.after !== undefined) token.after = part.finished[token.after];
    reply.tokens.push(token);
  }
  for (const payload of more) payloads.push(payload);
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
