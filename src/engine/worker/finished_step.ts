/** From a performed execution to the step that `advance` applies. */

import type { FinishedItem, Need, Park } from "../../redis/calls.ts";
import { newNonce } from "../../redis/nonce.ts";
import type { ExecutionDetail } from "../../token/journal.ts";
import { ARRIVAL, OUTCOME, OUTPUT } from "../../token/letters.ts";
import type { IRBody, IRNode } from "../../workflow/ir/ir.ts";
import {
  depthOf,
  enterScope,
  nextIteration,
  scopePrefix,
  startScope,
  storageDepth,
} from "../../workflow/ir/scopes.ts";
import type { Routed } from "../nodes/routed.ts";
import { needOf } from "./node_facts.ts";
import type { Slot } from "./slot.ts";

export interface Performed {
  step: FinishedItem;
  /** Large values, to be stored under their names before the step. */
  blobs: readonly { name: string; value: string }[];
}

/** What may come straight back to this worker: nodes that follow, the next item of the map around it. */
export interface HandOver {
  next: boolean;
  items: boolean;
  /** Nodes whose functions this worker does not offer. */
  unoffered: ReadonlySet<number>;
}

/** A step without output or arrivals: cancelled, to be tried again at `due`, or waiting as `park` says. */
export function bareStep(
  slot: Slot,
  outcome: Exclude<FinishedItem["outcome"], typeof OUTCOME.completed | typeof OUTCOME.failed>,
  detail: ExecutionDetail,
  more: { due?: number; park?: Park } = {},
): FinishedItem {
  const { facts } = slot;
  return {
    limited: facts.limited,
    mapped: facts.mapped,
    runId: slot.runId,
    generation: slot.generation,
    digest: slot.digest,
    queue: facts.node.queue,
    node: slot.nodeIndex,
    scope: slot.scope,
    attempt: slot.attempt,
    delivery: slot.delivery,
    nonce: slot.nonce,
    guarded: facts.guarded,
    waits: facts.waits,
    forgets: slot.follows,
    due: more.due,
    park: more.park,
    outcome,
    arrivals: "",
    unhandled: false,
    halt: false,
    hand: false,
    handItems: false,
    needs: {},
    detail,
    output: "",
    outputInJournal: false,
    keep: false,
  };
}

/** The nodes that may be handed straight to this worker, each with the scope in which it would run. */
function* targetsOf(slot: Slot, again: boolean): Generator<[target: number, scope: () => string]> {
  const { ir, scope, nodeIndex, facts } = slot;
  const { loop } = facts.node;
  if (again && loop) yield [loop.entry, () => nextIteration(ir, scope, nodeIndex)];
  else for (const { node, edge } of facts.targets) yield [node, () => enterScope(ir, scope, edge)];
  if (scope === "") return;
  // What the next item's entries need lies outside of their map: it is the same for each item.
  for (const index of facts.mapBodies) {
    const item = scopePrefix(scope, depthOf(ir, index));
    for (const entry of (ir.bodies[index] as IRBody).entries)
      yield [entry, () => startScope(ir, item, entry)];
  }
}

/** What a target needs of other nodes when it is handed straight to this worker. */
function needsOfTargets(slot: Slot, again: boolean): Record<string, Need[]> {
  if (slot.scope === "" && slot.facts.entersNothing) return slot.facts.targetNeeds;
  const needs: Record<string, Need[]> = {};
  for (const [target, scopeOf] of targetsOf(slot, again)) {
    const wanted = (slot.ir.nodes[target] as IRNode).needs;
    if (wanted.length === 0) continue;
    const scope = scopeOf();
    needs[target] = wanted.map((need) => needOf(slot.ir, need, scope));
  }
  return needs;
}

const NONE: readonly number[] = [];
export const NO_BLOBS: Performed["blobs"] = [];

function unofferedTargets(slot: Slot, again: boolean, unoffered: ReadonlySet<number>): readonly number[] {
  if (unoffered.size === 0) return NONE;
  return [...targetsOf(slot, again)].flatMap(([target]) => (unoffered.has(target) ? [target] : []));
}

/** What dependents see, and the value that is stored for it if it is large. */
function outputOf({ nodeIndex, scope }: Slot, outcome: Routed["outcome"], inlineBytes: number) {
  if ("error" in outcome) {
    const { code, message } = outcome.error;
    return { output: `${OUTPUT.error}${JSON.stringify({ error: { code, message } })}`, blob: undefined };
  }
  const { text } = outcome;
  if (text.length * 3 <= inlineBytes || Buffer.byteLength(text) <= inlineBytes)
    return { output: OUTPUT.json + text, blob: undefined };
  const at = scope === "" ? "" : `@${scope}`;
  // One delivery may be performed twice, and the step of one of them counts: only its value may stand behind it.
  const name = `${nodeIndex}${at}.${newNonce()}`;
  return { output: OUTPUT.blob + name, blob: { name, value: text } };
}

export function finishedStep(
  slot: Slot,
  routed: Routed,
  detail: ExecutionDetail,
  mayHandOver: HandOver,
  inlineBytes: number,
): Performed {
  const { facts, scope } = slot;
  const { node } = facts;
  const { outcome, again, arrivals } = routed;
  const failed = "error" in outcome;
  const { output, blob } = outputOf(slot, outcome, inlineBytes);
  const endsItem = facts.mayEndItem && !failed && scope !== "" && !again;
  const step: FinishedItem = {
    limited: facts.limited,
    mapped: facts.mapped,
    runId: slot.runId,
    generation: slot.generation,
    digest: slot.digest,
    queue: node.queue,
    node: slot.nodeIndex,
    scope,
    attempt: slot.attempt,
    delivery: slot.delivery,
    nonce: slot.nonce,
    guarded: facts.guarded,
    waits: facts.waits,
    forgets: slot.follows,
    outcome: failed ? OUTCOME.failed : OUTCOME.completed,
    arrivals,
    unhandled: failed && routed.unhandled,
    halt: failed && routed.unhandled && facts.ir.fail_fast,
    hand: mayHandOver.next,
    handItems: mayHandOver.items && scope !== "",
    unoffered: unofferedTargets(slot, again, mayHandOver.unoffered),
    needs: needsOfTargets(slot, again),
    detail,
    output,
    outputInJournal: !failed,
    keep: facts.isKept,
    again,
    // It took none of its edges.
    endsItem: endsItem && !arrivals.includes(ARRIVAL.taken),
    withdraws: facts.withdrawsWhenDone && !failed && !again,
    keepAt: node.loop && scopePrefix(scope, storageDepth(facts.ir, slot.nodeIndex)),
    compensation: node.compensation,
    blob: blob?.name,
  };
  return { step, blobs: blob === undefined ? NO_BLOBS : [blob] };
}
