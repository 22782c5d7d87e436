/**
 * Routing: which edges a resolved execution takes. Pure: conditions are evaluated by the caller's `evaluate`, whose failure
 * is a value, so that a failing condition is never read as false.
 */
import type { IR, IREdge, IRLoop, IRNode } from "../workflow/ir/ir.ts";

/** A condition's outcome: its truth, or why it has none. */
export type ConditionResult = { ok: true; value: boolean } | { ok: false; message: string };

export type EvaluateCondition = (edgeIndex: number) => ConditionResult;

export interface Routing {
  /** For each outgoing edge, in the order of `node.out`: was it taken? */
  taken: boolean[];
  /** Edges whose condition could not be evaluated, with the reason. */
  faults: { edge: number; message: string }[];
}

/** What a failure does: handled (some failure or always edge was taken) or not. */
export interface FailureRouting extends Routing {
  handled: boolean;
}

function edgesOf(ir: IR, node: IRNode): { index: number; edge: IREdge }[] {
  return node.out.map((index) => ({ index, edge: ir.edges[index] as IREdge }));
}

function ask(routing: Routing, index: number, edge: IREdge, evaluate: EvaluateCondition): boolean {
  if (edge.condition === undefined) return true;
  const result = evaluate(index);
  if (result.ok) return result.value;
  routing.faults.push({ edge: index, message: result.message });
  return false;
}

/**
 * Edges taken after a success. With `faults`, the execution must be failed instead (CONDITION_FAILED) and routed by
 * `routeFailure`.
 */
export function routeSuccess(ir: IR, node: IRNode, evaluate: EvaluateCondition): Routing {
  const routing: Routing = { taken: [], faults: [] };
  const exclusive = node.type === "conditional";
  const firstOnly = exclusive && node.config.mode !== "all";
  let matched = false;
  for (const { index, edge } of edgesOf(ir, node)) {
    let taken: boolean;
    if (edge.on === "failure") taken = false;
    else if (!exclusive || edge.on === "always") taken = ask(routing, index, edge, evaluate);
    else if (edge.condition === undefined) taken = !matched;
    else {
      taken = firstOnly && matched ? false : ask(routing, index, edge, evaluate);
      matched ||= taken;
    }
    routing.taken.push(taken);
  }
  return routing;
}

/** What a loop node decided after an iteration. */
export type LoopDecision = "again" | "break" | "timeout";

/** After a pass: first the condition, then the bound. */
export function decideLoop(loop: IRLoop, goesOn: boolean, iteration: number): LoopDecision {
  if (!goesOn) return "break";
  return loop.max_iterations !== undefined && iteration >= loop.max_iterations ? "timeout" : "again";
}

/**
 * Edges taken when a loop ends: those that its decision names, else the ordinary ones; always edges decide for themselves. Without
 * an edge for `timeout` the execution fails (LOOP_EXHAUSTED), which is the caller's.
 */
export function routeLoopEnd(
  ir: IR,
  node: IRNode,
  decision: "break" | "timeout",
  evaluate: EvaluateCondition,
): Routing {
  const loop = node.loop as IRLoop;
  const named = decision === "break" ? loop.break : loop.timeout;
  const routing: Routing = { taken: [], faults: [] };
  for (const { index, edge } of edgesOf(ir, node)) {
    let taken: boolean;
    if (edge.on === "failure") taken = false;
    else if (edge.on === "always") taken = ask(routing, index, edge, evaluate);
    else if (named !== undefined) taken = named.includes(index);
    else taken = !loop.timeout?.includes(index) && ask(routing, index, edge, evaluate);
    routing.taken.push(taken);
  }
  return routing;
}

/** Edges taken after a failure. A condition that cannot be evaluated here counts as not taken and is reported. */
export function routeFailure(ir: IR, node: IRNode, evaluate: EvaluateCondition): FailureRouting {
  const routing: Routing = { taken: [], faults: [] };
  for (const { index, edge } of edgesOf(ir, node)) {
    routing.taken.push(edge.on !== "success" && ask(routing, index, edge, evaluate));
  }
  return { ...routing, handled: routing.taken.includes(true) };
}
