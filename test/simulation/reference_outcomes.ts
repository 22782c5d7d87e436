/** What an execution makes of its data, and where that leads. */
import type { Json } from "./expression.ts";
import { type Behaviour, targetsOf } from "./model.ts";
import type { Execution, Executions } from "./reference_executions.ts";
import {
  attempt,
  awaits,
  type Failure,
  failure,
  type Outcome,
  type Place,
  run,
  type Tried,
} from "./reference_nodes.ts";
import { decideLoop, type LoopDecision, type Routes, routesOfSuccess } from "./reference_routing.ts";

export type Routed = { attempts: number } & (
  | { output: Json; notBefore?: number; routes: Routes; decision: LoopDecision | undefined }
  | { failure: Failure }
);

/** Does an execution's work and, if it succeeds, routes its output. `awaited`: what came of that for which the node waits. */
export function outcomeOf(
  execution: Execution,
  executions: Executions,
  behaviour: Behaviour | undefined,
  awaited: () => Outcome,
): Routed {
  const { node } = execution;
  const place = executions.placeOf(execution);
  if (execution.data === undefined) return { ...failure(null), attempts: 1 };
  const outcome: Tried = awaits(node) ? { ...awaited(), attempts: 1 } : run(node, place, behaviour);
  if ("failure" in outcome) return outcome;
  const { output, attempts } = outcome;
  const variables = { ...place.bindings.variables, output, error: null };
  const bindings = { variables, nodes: { ...place.bindings.nodes, [node.id]: output } };
  return (
    attempt(() => routed(execution, outcome, { ...place, bindings })) ?? {
      ...failure("CONDITION_FAILED"),
      attempts,
    }
  );
}

function routed(
  { node, frame }: Execution,
  done: Exclude<Tried, { failure: Failure }>,
  place: Place,
): Routed {
  if (node.type !== "loop")
    return { ...done, routes: routesOfSuccess(place, done.output), decision: undefined };
  const decision = decideLoop(node, frame.index, place.bindings);
  if (decision === "again") return { ...done, routes: new Map(), decision };
  if (decision === "timeout" && targetsOf(node.timeout_path).length === 0)
    return { ...failure("LOOP_EXHAUSTED"), attempts: done.attempts };
  return { ...done, routes: routesOfSuccess(place, done.output, decision), decision };
}
