/** What is known of a node whatever becomes of its executions: computed once for each IR, as steps of any number ask for it. */

import { assert } from "../../base/assert.ts";
import type { ClaimItem, Need, RunTraits, StreamPosition } from "../../redis/calls.ts";
import { PARKING } from "../../redis/pack.ts";
import { FIELD, fieldOf } from "../../redis/run_state.ts";
import type { ExecutionToken } from "../../token/token.ts";
import { functionOf } from "../../workflow/ir/function_of.ts";
import type { IR, IRBody, IREdge, IRNode } from "../../workflow/ir/ir.ts";
import { bodyPath, scopePrefix, storageDepth } from "../../workflow/ir/scopes.ts";
import { arrivalsOfSuccess } from "../nodes/routed.ts";

/** The node that an edge leads to. */
export interface Target {
  node: number;
  edge: IREdge;
}

export interface NodeFacts extends RunTraits {
  readonly ir: IR;
  readonly index: number;
  readonly node: IRNode;
  readonly mapped: boolean;
  /** It holds semaphores. */
  readonly guarded: boolean;
  /** Its type waits. */
  readonly waits: boolean;
  /** It withdraws others when the event arrives that it waits for; when it completed. */
  readonly withdrawsAtEvent: boolean;
  readonly withdrawsWhenDone: boolean;
  /** It undoes another one, when the run is over but for that: no halt concerns it. */
  readonly isCompensation: boolean;
  /** A user's handler is called. */
  readonly runsHandler: boolean;
  /** Nothing but expressions is evaluated: it is over when the call returns, and nothing can escape from it. */
  readonly isImmediate: boolean;
  /** Does an expression decide which edges are taken? */
  readonly hasConditions: boolean;
  /** Arrivals of each success, where no expression decides. */
  readonly arrivals: string | undefined;
  /** Does anybody read the output? */
  readonly isKept: boolean;
  /** Does a success that takes no edge end an item of a map, in a scope? */
  readonly mayEndItem: boolean;
  /** Outputs of ancestors that it needs, as they are named outside of scopes. */
  readonly needs: readonly Need[];
  /** Nodes whose completion skips it, likewise. */
  readonly unless: readonly Need[] | undefined;
  /** Where its edges lead, and what is needed there, likewise. */
  readonly targets: readonly Target[];
  readonly targetNeeds: Record<string, Need[]>;
  /** None of them leads into a scope, or out of one. */
  readonly entersNothing: boolean;
  /** Maps around it, by body, outer first. */
  readonly mapBodies: readonly number[];
}

const known = new WeakMap<IR, NodeFacts[]>();

export function factsOf(ir: IR, index: number): NodeFacts {
  let facts = known.get(ir);
  if (facts === undefined) {
    facts = [];
    known.set(ir, facts);
  }
  let found = facts[index];
  if (found === undefined) {
    found = computeFacts(ir, index);
    facts[index] = found;
  }
  return found;
}

const traitsKnown = new WeakMap<IR, RunTraits & { mapped: boolean }>();

export function traitsOf(ir: IR): RunTraits & { mapped: boolean } {
  let traits = traitsKnown.get(ir);
  if (traits === undefined) {
    traits = {
      limited: ir.max_parallel_nodes > 0 || Object.keys(ir.semaphores).length > 0,
      mapped: ir.bodies.some(({ kind }) => kind === "map"),
    };
    traitsKnown.set(ir, traits);
  }
  return traits;
}

/** Types that evaluate expressions at most, unless they name a function. */
const IMMEDIATE: ReadonlySet<IRNode["type"]> = new Set([
  "transform",
  "filter",
  "aggregate",
  "conditional",
  "parallel",
  "loop",
]);

function computeFacts(ir: IR, index: number): NodeFacts {
  const node = ir.nodes[index];
  assert(node !== undefined, `workflow ${ir.name} has a node ${index}`);
  const { limited, mapped } = traitsOf(ir);
  const runsHandler = functionOf(node) !== undefined;
  const hasConditions =
    node.loop !== undefined || node.out.some((edge) => ir.edges[edge]?.condition !== undefined);
  const targets = node.out.map((at) => {
    const edge = ir.edges[at] as IREdge;
    return { node: edge.to, edge };
  });
  return {
    ir,
    index,
    node,
    limited,
    mapped,
    guarded: node.holds !== undefined,
    waits: PARKING.has(node.type),
    withdrawsAtEvent: node.cancels_at === "event",
    withdrawsWhenDone: node.cancels_at === "done",
    isCompensation: node.compensates !== undefined,
    runsHandler,
    isImmediate: !runsHandler && IMMEDIATE.has(node.type),
    hasConditions,
    arrivals: hasConditions ? undefined : arrivalsOfSuccess(ir, node),
    isKept: isKept(ir, index, node),
    mayEndItem: mayEndItem(ir, index, node),
    needs: node.needs.map((need) => needOf(ir, need, "")),
    unless: node.unless?.map((other) => stateOf(other, "")),
    targets,
    targetNeeds: needsOfTargets(ir, targets),
    entersNothing: targets.every(({ edge }) => !edge.exits && !edge.enters?.length),
    mapBodies: bodyPath(ir, node.body).filter((body) => ir.bodies[body]?.kind === "map"),
  };
}

function isKept(ir: IR, index: number, node: IRNode): boolean {
  if (node.out.length > 0 || node.loop !== undefined || node.compensation !== undefined) return true;
  return node.body >= 0 && (ir.bodies[node.body]?.terminals.includes(index) ?? false);
}

function mayEndItem(ir: IR, index: number, { body, loop }: IRNode): boolean {
  const around = loop === undefined ? body : (ir.bodies[body] as IRBody).parent;
  return ir.bodies[around]?.ends.includes(index) ?? false;
}

function needsOfTargets(ir: IR, targets: readonly Target[]): Record<string, Need[]> {
  const needs: Record<string, Need[]> = {};
  for (const { node } of targets) {
    const wanted = (ir.nodes[node] as IRNode).needs;
    if (wanted.length > 0) needs[node] = wanted.map((need) => needOf(ir, need, ""));
  }
  return needs;
}

/** Where the output of a node is kept, as seen from an execution. */
export function needOf(ir: IR, node: number, scope: string): Need {
  const at = scope === "" ? "" : scopePrefix(scope, storageDepth(ir, node));
  return [node, fieldOf(FIELD.output, node, at)];
}

/** What an execution of a node needs, by the names that it has in a scope. */
function needsIn({ ir, node, needs }: NodeFacts, scope: string): Need[] {
  return scope === "" ? (needs as Need[]) : node.needs.map((need) => needOf(ir, need, scope));
}

/** Where the state of an execution is kept. */
export function stateOf(node: number, scope: string): Need {
  return [node, fieldOf(FIELD.execution, node, scope)];
}

interface ClaimTraits extends RunTraits {
  needs: Need[];
  waits: boolean;
  withdraws: boolean;
  guarded: boolean;
  unless?: Need[];
}

/** What a call that takes a token up says of its node. */
export function claimTraits(ir: IR, nodeIndex: number, scope: string): ClaimTraits {
  const facts = factsOf(ir, nodeIndex);
  const { limited, mapped, waits, withdrawsAtEvent, guarded, unless, node } = facts;
  const needs = needsIn(facts, scope);
  const traits: ClaimTraits = { limited, mapped, needs, waits, withdraws: withdrawsAtEvent, guarded };
  if (unless) traits.unless = node.unless?.map((other) => stateOf(other, scope)) as Need[];
  return traits;
}

/** What takes up a token that lies there. `unoffered`: its function, which this worker does not offer. */
export function claimOf(
  ir: IR,
  token: Omit<ExecutionToken, "kind">,
  { queue, functionName, suspects, entry }: StreamPosition,
  unoffered: string | undefined,
): ClaimItem {
  const { limited, mapped, waits, withdraws, guarded, needs, unless } = claimTraits(
    ir,
    token.node,
    token.scope,
  );
  // Named one by one: what is spread into an object is slow to make, and every token is taken up.
  const claim: ClaimItem = {
    runId: token.runId,
    generation: token.generation,
    digest: token.digest,
    limited,
    mapped,
    queue,
    entry,
    node: token.node,
    scope: token.scope,
    attempt: token.attempt,
    delivery: token.delivery,
    nonce: token.nonce,
    needs,
    waits,
    withdraws,
    guarded,
  };
  if (functionName !== undefined) claim.functionName = functionName;
  if (suspects !== undefined) claim.suspects = suspects;
  if (unless !== undefined) claim.unless = unless;
  if (unoffered !== undefined) claim.unoffered = unoffered;
  return claim;
}
