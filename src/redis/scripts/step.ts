/**
 * The small step (lua/step.lua): plain executions, which are most, for a fraction of what the general one costs. Arguments and reply are lists
 * by position. What it answers `slow` goes to the general one (`advance.ts`), on the same state; so does what is known not to be plain.
 */

import { encodePlain } from "../../token/journal.ts";
import { ANSWER, ARRIVAL, OUTCOME } from "../../token/letters.ts";
import { encodeLease } from "../../token/token.ts";
import type { IR, IRBody, IREdge, IRNode } from "../../workflow/ir/ir.ts";
import { bodyPath, scopePrefix } from "../../workflow/ir/scopes.ts";
import type { AdvanceCall, ClaimEntry, ClaimItem, FinishedEntry, FinishedItem } from "../calls.ts";
import { KeyList } from "../key_list.ts";
import { isCounted, queuesOf } from "../pack.ts";
import type { Partition } from "../partition.ts";
import type { AdvanceReply, HandedToken } from "../replies.ts";
import { atScope, FIELD, fieldOf, SCOPE } from "../run_state.ts";
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

/** Where executions of a body stand: how many components of their scope are up to the item of the map around them. */
interface BodyPlace {
  /** The map node around; -1: none. */
  map: number;
  /** Components of an item's scope. */
  depth: number;
  /** Is the item's scope their own? */
  isItem: boolean;
}

const bodyPlaces = new WeakMap<IR, (BodyPlace | null)[]>();

/** Undefined where the small step does not know its way: in maps within maps, in loops that count. */
function bodyPlace(ir: IR, body: number): BodyPlace | undefined {
  const known = bodyPlaces.get(ir) ?? ir.bodies.map((_body, index) => findPlace(ir, index));
  bodyPlaces.set(ir, known);
  return known[body] ?? undefined;
}

function findPlace(ir: IR, body: number): BodyPlace | null {
  const path = bodyPath(ir, body);
  const maps = path.filter((index) => ir.bodies[index]?.kind === "map");
  if (maps.length > 1 || path.some((index) => ir.bodies[index]?.kind === "loop" && isCounted(ir, index)))
    return null;
  const [map] = maps;
  if (map === undefined) return { map: -1, depth: 0, isItem: false };
  return { map: (ir.bodies[map] as IRBody).node, depth: path.indexOf(map) + 1, isItem: path.at(-1) === map };
}

/** What the script is told of an execution in a body: fields of its counter and map, its item, the map's node and scope. */
function placeIn(ir: IR, { node, scope }: FinishedItem | ClaimItem) {
  const { map, depth, isItem } = bodyPlace(ir, (ir.nodes[node] as IRNode).body) as BodyPlace;
  if (map < 0) return { counter: "", map: "", item: "", node: "", outer: "" };
  const item = isItem ? scope : scopePrefix(scope, depth);
  const outerScope = scopePrefix(item, depth - 1);
  const outer = atScope(outerScope);
  const counter = `${SCOPE.counter}@${item}`;
  return {
    counter,
    map: fieldOf(FIELD.map, map, outerScope),
    item: isItem ? scope : "",
    node: `${map}`,
    outer,
  };
}

const isPlainPlace = (ir: IR, { node, scope }: FinishedItem | ClaimItem) =>
  scope === "" || bodyPlace(ir, (ir.nodes[node] as IRNode).body) !== undefined;

const isFirst = ({ attempt, delivery }: FinishedItem | ClaimItem) => attempt === 1 && delivery === 1;

/** May the small step know its way with this finished execution? */
export function isPlainFinish({ item, ir }: FinishedEntry, wide: number): boolean {
  if ("work" in item || item.outcome !== OUTCOME.completed || !isFirst(item)) return false;
  if (item.limited || item.waits || item.withdraws || item.guarded || item.again || item.endsItem)
    return false;
  if (item.blob !== undefined || item.compensation !== undefined || item.keepAt !== undefined) return false;
  if (!isNone(item.unoffered) || Object.keys(item.needs).length > 0) return false;
  return isPlainNode(ir, item.node, wide) && !skips(ir, item) && isPlainPlace(ir, item);
}

export function isPlainClaim({ item, ir }: ClaimEntry): boolean {
  if (!isFirst(item) || item.suspects || item.unoffered !== undefined || !isPlainPlace(ir, item))
    return false;
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

/** Before the tokens: ok, the items' letters, how many were handed over. */
const REPLY_HEAD = 3;

const handOutOf = ({ nonce, delivery }: FinishedItem | ClaimItem) => `${nonce}:${delivery}:`;
const leaseOf = (item: FinishedItem | ClaimItem) => encodeLease(item.queue, item);
const isTrue = (is: boolean | undefined) => (is ? "1" : "0");

/** @throws FenceError, RedisAwayError */
export async function step(partition: Partition, call: AdvanceCall): Promise<StepReply> {
  const { keys, limits } = partition;
  const list = new KeyList([keys.meta, keys.journal, keys.leases, keys.nudge]);
  const queues = new Set<string>();
  const digests = new Set<string>();
  for (const { ir, item } of call.finished) {
    for (const queue of queuesOf(ir)) queues.add(queue);
    digests.add(item.digest);
  }
  const { layout, installation, epoch, timeline, call: nonce, now } = await partition.fence(keys);
  const args: string[] = [layout, installation, epoch, timeline, nonce, `${now}`];
  args.push(call.worker, `${call.leaseMs}`, `${call.take}`, `${limits.plainEdges}`, `${limits.part}`);
  args.push(`${queues.size}`, `${digests.size}`, `${call.finished.length}`, `${call.claims.length}`);
  for (const queue of queues)
    args.push(queue, `${list.position(keys.ready(queue))}`, isTrue(call.reads.includes(queue)));
  for (const digest of digests) args.push(`${list.position(keys.ir(digest))}`, digest);
  for (const { item, ir: graph } of call.finished as readonly { item: FinishedItem; ir: IR }[]) {
    const [run, ir] = [list.position(keys.run(item.runId)), list.position(keys.ir(item.digest))];
    args.push(`${run}`, `${ir}`, `${item.generation}`, `${item.runId}|${item.generation}|`, `${item.node}`);
    const mayBe = isTrue(item.keep) + isTrue(item.hand) + isTrue(item.handItems);
    args.push(handOutOf(item), leaseOf(item), mayBe + item.arrivals.slice(1), encodePlain(item), item.output);
    args.push(atScope(item.scope));
    if (item.scope === "") continue;
    const place = placeIn(graph, item);
    args.push(place.counter, place.map, place.item, place.node, place.outer);
    args.push(place.map === "" ? "" : `${list.position(keys.scopes(item.runId))}`, item.forgets ?? "");
  }
  for (const { item, ir } of call.claims) {
    const [run, stream] = [list.position(keys.run(item.runId)), list.position(keys.stream(item))];
    args.push(`${run}`, `${item.generation}`, `${item.node}`, handOutOf(item), leaseOf(item));
    args.push(`${stream}`, item.entry, atScope(item.scope), item.scope === "" ? "" : placeIn(ir, item).map);
  }
  const reply = await partition.callStep("step", list.keys, args);
  if (reply[0] !== "ok") partition.refuse(reply);
  return readReply(reply, call, nonce);
}

/** A token of the small step: of a first attempt and delivery. `place`: node, and `@` and its scope. */
function tokenOf(item: FinishedItem | ClaimItem, place: string, nonce: string): HandedToken {
  const [node, scope] = place.split("@");
  return {
    id: item.runId,
    g: item.generation,
    digest: item.digest,
    node: Number(node),
    scope: scope ?? "",
    attempt: 1,
    delivery: 1,
    nonce,
    after: undefined,
    sources: [],
    inputs: [],
    needs: [],
    input: 0,
  };
}

/** Fills in the sources of a token, whose outputs lie behind `at`; answers the position behind these. */
function readSources(token: HandedToken, reply: readonly string[], at: number): number {
  const sources = reply[at] as string;
  if (sources === "") return at + 1;
  token.sources = sources.split(",").map(Number);
  const behind = at + 1 + token.sources.length;
  for (let index = at + 1; index < behind; index += 1)
    token.inputs.push(reply[index] === ANSWER.own ? -1 : reply[index] === "" ? 0 : index);
  return behind;
}

function readReply(reply: string[], call: AdvanceCall, nonce: string): StepReply {
  const letters = reply[1] as string;
  const tokens: HandedToken[] = [];
  let next = REPLY_HEAD;
  for (let handed = Number(reply[2]); handed > 0; handed -= 1) {
    const after = Number(reply[next]) - 1;
    const { item } = call.finished[after] as { item: FinishedItem };
    const token = tokenOf(item, reply[next + 1] as string, nonce);
    token.after = after;
    if (reply[next + 2] === ANSWER.own_alone) {
      token.sources = [item.node];
      token.inputs = [-1];
      next += REPLY_HEAD;
    } else next = readSources(token, reply, next + 2);
    tokens.push(token);
  }
  const ends = call.finished.length;
  for (const [index, { item }] of call.claims.entries()) {
    if (letters[ends + index] !== ANSWER.runs) continue;
    const token = tokenOf(item, item.node + atScope(item.scope), item.nonce);
    token.input = readSources(token, reply, next);
    next = token.input + 1;
    tokens.push(token);
  }
  return {
    finished: call.finished.map((_entry, index) => (letters[index] === ANSWER.done ? "done" : "slow")),
    claims: call.claims.map((_entry, index) => (letters[ends + index] === ANSWER.runs ? "run" : "slow")),
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
