/**
 * The small step (lua/step.lua): plain executions, which are most, for a fraction of what the general one costs. Arguments and reply are lists
 * by position. What it answers `slow` goes to the general one (`advance.ts`), on the same state; so does what is known not to be plain.
 */

import { encodePlain } from "../../token/journal.ts";
import { ANSWER } from "../../token/letters.ts";
import { encodeLease } from "../../token/token.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { AdvanceCall, ClaimItem, FinishedItem } from "../calls.ts";
import { queuesOf } from "../pack.ts";
import type { Partition } from "../partition.ts";
import { placeIn } from "../plain.ts";
import type { HandedToken } from "../replies.ts";
import { atScope } from "../run_state.ts";

/** What each item was answered, by a letter of `ANSWER`; the tokens of the reply, whose payloads are its strings by position. */
export interface StepReply {
  /** Of the finished items, then of the claims. */
  letters: string;
  tokens: HandedToken[];
  payloads: string[];
}

/** Before the tokens: ok, the items' letters. */
const REPLY_HEAD = 2;

const handOutOf = ({ nonce, delivery }: FinishedItem | ClaimItem) => `${nonce}:${delivery}:`;
const leaseOf = (item: FinishedItem | ClaimItem) => encodeLease(item.queue, item);
const isTrue = (is: boolean | undefined) => (is ? "1" : "0");
const toDo = ({ keep, hand, handItems }: FinishedItem) => isTrue(keep) + isTrue(hand) + isTrue(handItems);

/** @throws FenceError, RedisAwayError */
export async function step(partition: Partition, call: AdvanceCall): Promise<StepReply> {
  const { keys } = partition;
  const named = [keys.meta, keys.journal, keys.leases, keys.nudge];
  const fence = await partition.fence(keys);
  const args: string[] = [fence.layout, fence.installation, fence.epoch, fence.timeline, fence.call];
  const irs = addHead(named, args, partition, call, fence.now);
  for (const { item, ir } of call.finished as readonly { item: FinishedItem; ir: IR }[]) {
    named.push(keys.run(item.runId));
    args.push(irs.get(item.digest) as string, String(item.generation), `${item.runId}|${item.generation}|`);
    args.push(String(item.node), handOutOf(item), leaseOf(item), toDo(item) + item.arrivals.slice(1));
    args.push(encodePlain(item), item.output, atScope(item.scope));
    if (item.scope === "") continue;
    const { counter, map, item: own, node, outer } = placeIn(ir, item);
    if (map !== "") named.push(keys.scopes(item.runId));
    args.push(counter, map, own, node, outer, item.forgets ?? "");
  }
  for (const { item, ir } of call.claims) {
    named.push(keys.run(item.runId), keys.stream(item));
    args.push(String(item.generation), String(item.node), handOutOf(item), leaseOf(item), item.entry);
    args.push(atScope(item.scope), item.scope === "" ? "" : placeIn(ir, item).map);
  }
  const reply = await partition.callStep("step", named, args);
  if (reply[0] !== "ok") partition.refuse(reply);
  return readReply(reply, call, fence.call);
}

/** What the call says before its items, behind the fence; answers the names of its IRs, by digest. */
function addHead(
  named: string[],
  args: string[],
  { keys, limits }: Partition,
  { worker, leaseMs, take, reads, finished, claims }: AdvanceCall,
  now: number,
): ReadonlyMap<string, string> {
  const queues = new Set<string>();
  const irs = new Map<string, string>();
  for (const { ir, item } of finished) {
    if (irs.has(item.digest)) continue;
    irs.set(item.digest, String(irs.size));
    for (const queue of queuesOf(ir)) queues.add(queue);
  }
  const numbers = [
    take,
    limits.plainEdges,
    limits.part,
    queues.size,
    irs.size,
    finished.length,
    claims.length,
  ];
  args.push(String(now), worker, String(leaseMs), ...numbers.map(String));
  for (const queue of queues) {
    named.push(keys.ready(queue));
    args.push(queue, isTrue(reads.includes(queue)));
  }
  for (const [digest, name] of irs) {
    named.push(keys.ir(digest));
    args.push(name, digest);
  }
  return irs;
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
    claim: undefined,
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
  for (let after = 0; after < call.finished.length; after += 1) {
    const letter = letters[after];
    if (letter === ANSWER.done || letter === ANSWER.slow) continue;
    const { item } = call.finished[after] as { item: FinishedItem };
    for (let handed = letter === ANSWER.handed ? 1 : Number(reply[next++]); handed > 0; handed -= 1) {
      const token = tokenOf(item, reply[next] as string, nonce);
      token.after = after;
      if (reply[next + 1] === ANSWER.own_alone) {
        token.sources = [item.node];
        token.inputs = [-1];
        next += 2;
      } else next = readSources(token, reply, next + 1);
      tokens.push(token);
    }
  }
  const ends = call.finished.length;
  for (const [index, { item }] of call.claims.entries()) {
    if (letters[ends + index] !== ANSWER.runs) continue;
    const token = tokenOf(item, item.node + atScope(item.scope), item.nonce);
    token.claim = index;
    token.input = readSources(token, reply, next);
    next = token.input + 1;
    tokens.push(token);
  }
  return { letters, tokens, payloads: reply };
}
