/** From what a node came to, to the arrivals that it sends: conditions are evaluated here, before the step. */
import { assert } from "../../base/assert.ts";
import { HitzeroError } from "../../base/errors.ts";
import { presentable } from "../../base/text.ts";
import { budgetOf } from "../../handlers/execution.ts";
import { errorOf } from "../../handlers/thrown.ts";
import type { Execution } from "../../handlers/types.ts";
import type { ExecutionError } from "../../token/journal.ts";
import { ARRIVAL, MODE } from "../../token/letters.ts";
import {
  type ConditionResult,
  decideLoop,
  routeFailure,
  routeLoopEnd,
  routeSuccess,
} from "../../token/routing.ts";
import type { IR, IRLoop, IRNode } from "../../workflow/ir/ir.ts";
import { programsOf } from "../../workflow/ir/programs.ts";

/** The JSON text of an output, or why there is none. */
export type Outcome = { text: string } | { error: ExecutionError };

export interface Routed {
  outcome: Outcome;
  /** As `FinishedItem.arrivals`; "" when it goes round once more. */
  arrivals: string;
  again: boolean;
  unhandled: boolean;
  faults: { edge: number; message: string }[];
}

/** Conditions see what dependents will see: JSON, not the handler's own object. */
function variablesAfter(execution: Execution, outcome: Outcome): Record<string, unknown> {
  let output: { value: unknown } | undefined;
  const readOutput = () => {
    output ??= { value: "error" in outcome ? null : JSON.parse(outcome.text) };
    return output.value;
  };
  // Made once: a node may have very many conditions, and name very many ancestors in them.
  let nodes: Record<string, { output: unknown }> | undefined;
  const error = "error" in outcome ? { code: outcome.error.code, message: outcome.error.message } : null;
  return {
    ...execution.around,
    vars: execution.ir.vars,
    error,
    get data() {
      return execution.data;
    },
    get input() {
      return execution.input;
    },
    get output() {
      return readOutput();
    },
    get nodes() {
      nodes ??= { ...execution.ancestors, [execution.node.id]: { output: readOutput() } };
      return nodes;
    },
  };
}

function conditionEvaluator(execution: Execution, outcome: Outcome): (edge: number) => ConditionResult {
  const variables = variablesAfter(execution, outcome);
  return (edge) => {
    try {
      const value = programsOf(execution.ir).condition(edge)?.evaluate(variables, budgetOf(execution));
      if (typeof value === "boolean") return { ok: true, value };
      return { ok: false, message: "the condition is not true or false" };
    } catch (thrown) {
      // It may quote what it stumbled over, and is recorded.
      const message = presentable(thrown instanceof Error ? thrown.message : String(thrown));
      return { ok: false, message };
    }
  };
}

const letters = (taken: readonly boolean[]) =>
  MODE.routed + taken.map((is) => (is ? ARRIVAL.taken : ARRIVAL.not_taken)).join("");

/** What a success of a node sends whose edges no expression decides. */
export function arrivalsOfSuccess(ir: IR, node: IRNode): string {
  const never = () => assert(false, `no expression decides which edges node ${node.id} takes`);
  return letters(routeSuccess(ir, node, never as never).taken);
}

/** @throws HitzeroError CONDITION_FAILED, LOOP_EXHAUSTED */
function routeCompleted(execution: Execution, outcome: Outcome): Omit<Routed, "outcome" | "unhandled"> {
  const { ir, node } = execution;
  const evaluate = conditionEvaluator(execution, outcome);
  const decision = node.loop ? loopDecision(execution, outcome, node.loop) : undefined;
  if (decision === "again") return { arrivals: "", again: true, faults: [] };
  if (decision === "timeout" && node.loop?.timeout === undefined) {
    const limit = node.loop?.max_iterations;
    throw new HitzeroError(
      "LOOP_EXHAUSTED",
      `the loop ${node.id} was to go on after its ${limit} iterations`,
      {
        hint: "Raise max_iterations, or name a timeout_path.",
      },
    );
  }
  const routing =
    decision === undefined ? routeSuccess(ir, node, evaluate) : routeLoopEnd(ir, node, decision, evaluate);
  const fault = routing.faults[0];
  if (fault) {
    const edge = ir.edges[fault.edge] as IR["edges"][number];
    const where = `condition of edge ${ir.nodes[edge.from]?.id} -> ${ir.nodes[edge.to]?.id} (edges[${fault.edge}])`;
    throw new HitzeroError("CONDITION_FAILED", `${where}: ${fault.message}`);
  }
  return { arrivals: letters(routing.taken), again: false, faults: [] };
}

function loopDecision(execution: Execution, outcome: Outcome, loop: IRLoop) {
  const condition = programsOf(execution.ir).loopCondition(execution.nodeIndex);
  const iteration = execution.around.loop?.iteration as number;
  if (condition === undefined) return decideLoop(loop, true, iteration);
  let value: unknown;
  try {
    value = condition.evaluate(variablesAfter(execution, outcome), budgetOf(execution));
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    throw new HitzeroError("CONDITION_FAILED", `condition of the loop ${execution.node.id}: ${message}`);
  }
  if (typeof value !== "boolean") {
    throw new HitzeroError(
      "CONDITION_FAILED",
      `condition of the loop ${execution.node.id} is not true or false`,
    );
  }
  return decideLoop(loop, value, iteration);
}

/** A success whose conditions cannot be evaluated is a failure. */
export function route(execution: Execution, first: Outcome, workerId: string): Routed {
  const { ir, node } = execution;
  let outcome = first;
  if (!("error" in outcome)) {
    try {
      return { ...routeCompleted(execution, outcome), outcome, unhandled: false };
    } catch (thrown) {
      outcome = { error: errorOf(thrown, execution.attempt, workerId) };
    }
  }
  const failed = routeFailure(ir, node, conditionEvaluator(execution, outcome));
  const arrivals = failed.handled ? letters(failed.taken) : MODE.failed;
  return { outcome, arrivals, again: false, unhandled: !failed.handled, faults: failed.faults };
}
