/** From a performed execution to the item that `advance` applies. */

import type { FinishedItem, Need, Park } from "../../redis/calls.ts";
import { PARKING } from "../../redis/pack.ts";
import { newNonce } from "../../redis/partition.ts";
import type { ExecutionDetail } from "../../token/journal.ts";
import { ARRIVAL, OUTCOME, OUTPUT } from "../../token/letters.ts";
import type { IR, IRBody, IREdge, IRNode } from "../../workflow/ir/ir.ts";
import {
  bodyPath,
  depthOf,
  enterScope,
  nextIteration,
  scopePrefix,
  startScope,
  storageDepth,
} from "../../workflow/ir/scopes.ts";
import type { Routed } from "../nodes/routed.ts";
import { type HeldExecution, needOf, nodeOf, traitsOf } from "./held.ts";

export interface Performed {
  item: FinishedItem;
  /** Large values, to be stored under their names before the step. */
  blobs: { name: string; value: string }[];
}

/** What may come straight back to this worker: nodes that follow, the next item of the map around it. */
export interface HandOver {
  next: boolean;
  items: boolean;
  /** Nodes whose functions this worker does not offer. */
  unoffered: ReadonlySet<number>;
}

/** An item without output or arrivals: cancelled, to be tried again at `due`, or waiting as `park` says. */
export function bareItem(
  held: HeldExecution,
  outcome: Exclude<FinishedItem["outcome"], typeof OUTCOME.completed | typeof OUTCOME.failed>,
  detail: ExecutionDetail,
  more: { due?: number; park?: Park } = {},
): FinishedItem {
  const node = nodeOf(held);
  const { limited, mapped } = traitsOf(held.ir);
  return {
    limited,
    mapped,
    runId: held.runId,
    generation: held.generation,
    digest: held.digest,
    queue: node.queue,
    node: held.nodeIndex,
    scope: held.scope,
    attempt: held.attempt,
    delivery: held.delivery,
    nonce: held.nonce,
    guarded: node.holds !== undefined,
    waits: PARKING.has(node.type),
    forgets: held.follows,
    due: more.due,
    park: more.park,
    outcome,
    arrivals: "",
    unhandled: false,
    halt: false,
    hand: false,
    handItems: false,
    needs: {},
    detail: JSON.stringify(detail),
    output: "",
    outputInJournal: false,
    keep: false,
  };
}

/** The nodes that may be handed straight to this worker, each with the scope in which it would run. */
function* targetsOf(held: HeldExecution, again: boolean): Generator<[target: number, scope: () => string]> {
  const { ir, scope, nodeIndex } = held;
  const { loop, out } = nodeOf(held);
  if (again && loop) yield [loop.entry, () => nextIteration(ir, scope, nodeIndex)];
  else {
    for (const index of out) {
      const edge = ir.edges[index] as IREdge;
      yield [edge.to, () => enterScope(ir, scope, edge)];
    }
  }
  if (scope === "") return;
  // What the next item's entries need lies outside of their map: it is the same for each item.
  for (const index of bodyPath(ir, nodeOf(held).body)) {
    const { kind, entries } = ir.bodies[index] as IRBody;
    const item = scopePrefix(scope, depthOf(ir, index));
    if (kind === "map") for (const entry of entries) yield [entry, () => startScope(ir, item, entry)];
  }
}

/** What a target needs of other nodes when it is handed straight to this worker. */
function needsOfTargets(held: HeldExecution, again: boolean): Record<string, Need[]> {
  const needs: Record<string, Need[]> = {};
  for (const [target, scopeOf] of targetsOf(held, again)) {
    const wanted = (held.ir.nodes[target] as IRNode).needs;
    if (wanted.length === 0) continue;
    const scope = scopeOf();
    needs[target] = wanted.map((need) => needOf(held.ir, need, scope));
  }
  return needs;
}

function unofferedTargets(held: HeldExecution, again: boolean, unoffered: ReadonlySet<number>): number[] {
  if (unoffered.size === 0) return [];
  return [...targetsOf(held, again)].flatMap(([target]) => (unoffered.has(target) ? [target] : []));
}

/** Does anybody read the output? */
function isKept(ir: IR, index: number): boolean {
  const node = ir.nodes[index] as IRNode;
  if (node.out.length > 0 || node.loop !== undefined || node.compensation !== undefined) return true;
  return node.body >= 0 && (ir.bodies[node.body]?.terminals.includes(index) ?? false);
}

/** Does a success end an item of a map, as it took none of the node's edges? */
function endsItem({ ir, nodeIndex, scope }: HeldExecution, { arrivals, again }: Routed): boolean {
  if (scope === "" || again || arrivals.includes(ARRIVAL.taken)) return false;
  const { body, loop } = ir.nodes[nodeIndex] as IRNode;
  const around = loop === undefined ? body : (ir.bodies[body] as IRBody).parent;
  return ir.bodies[around]?.ends.includes(nodeIndex) ?? false;
}

export function finishedItem(
  held: HeldExecution,
  routed: Routed,
  detail: ExecutionDetail,
  mayHandOver: HandOver,
  inlineBytes: number,
): Performed {
  const node = nodeOf(held);
  const { outcome, again } = routed;
  const failed = "error" in outcome;
  const blobs: Performed["blobs"] = [];
  let output: string;
  if (failed) {
    const { code, message } = outcome.error;
    output = `${OUTPUT.error}${JSON.stringify({ error: { code, message } })}`;
  } else if (outcome.text.length * 3 > inlineBytes && Buffer.byteLength(outcome.text) > inlineBytes) {
    const at = held.scope === "" ? "" : `@${held.scope}`;
    // One delivery may be performed twice, and the step of one of them counts: only its value may stand behind it.
    const name = `${held.nodeIndex}${at}.${newNonce()}`;
    blobs.push({ name, value: outcome.text });
    output = `${OUTPUT.blob}${name}`;
  } else output = `${OUTPUT.json}${outcome.text}`;
  const { limited, mapped } = traitsOf(held.ir);
  const item: FinishedItem = {
    limited,
    mapped,
    runId: held.runId,
    generation: held.generation,
    digest: held.digest,
    queue: node.queue,
    node: held.nodeIndex,
    scope: held.scope,
    attempt: held.attempt,
    delivery: held.delivery,
    nonce: held.nonce,
    guarded: node.holds !== undefined,
    waits: PARKING.has(node.type),
    forgets: held.follows,
    outcome: failed ? OUTCOME.failed : OUTCOME.completed,
    arrivals: routed.arrivals,
    unhandled: failed && routed.unhandled,
    halt: failed && routed.unhandled && held.ir.fail_fast,
    hand: mayHandOver.next,
    handItems: mayHandOver.items && held.scope !== "",
    unoffered: unofferedTargets(held, again, mayHandOver.unoffered),
    needs: needsOfTargets(held, again),
    detail: JSON.stringify(detail),
    output,
    outputInJournal: !failed,
    keep: isKept(held.ir, held.nodeIndex),
    again,
    endsItem: !failed && endsItem(held, routed),
    withdraws: !failed && !again && node.cancels_at === "done",
    keepAt: node.loop && scopePrefix(held.scope, storageDepth(held.ir, held.nodeIndex)),
    compensation: node.compensation,
    blob: blobs[0]?.name,
  };
  return { item, blobs };
}
