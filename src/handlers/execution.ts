/** What several node types need of an execution. */
import { HitzeroError } from "../base/errors.ts";
import { CelFault } from "../workflow/cel/fault.ts";
import { textWork, WorkBudget } from "../workflow/cel/work.ts";
import type { Execution } from "./types.ts";

/** The variables of a node's own expressions; `given`: of the one that makes its data. */
export function variablesOf(execution: Execution, given?: { data: unknown }): Record<string, unknown> {
  return {
    ...execution.around,
    get data() {
      return given === undefined ? execution.data : given.data;
    },
    get input() {
      return execution.input;
    },
    vars: execution.ir.vars,
    nodes: execution.ancestors,
  };
}

/** A JSON value with each of its strings rendered. */
export function renderJson(
  path: readonly PropertyKey[],
  given: unknown,
  render: (path: readonly PropertyKey[], text: string) => unknown,
): unknown {
  if (typeof given === "string") return render(path, given);
  if (Array.isArray(given)) return given.map((item, index) => renderJson([...path, index], item, render));
  if (typeof given !== "object" || given === null) return given;
  return Object.fromEntries(
    Object.entries(given).map(([key, item]) => [key, renderJson([...path, key], item, render)]),
  );
}

const budgets = new WeakMap<Execution, WorkBudget>();

/** What all expressions of an execution may do together: conditions, templates and the node's own. */
export function budgetOf(execution: Execution): WorkBudget {
  let budget = budgets.get(execution);
  if (budget === undefined) {
    budget = new WorkBudget();
    budgets.set(execution, budget);
  }
  return budget;
}

/** A text that a template's value becomes, whose length counts as work of the step: many templates may name one large value. */
export function countedText(text: string, execution: Execution): string {
  try {
    return budgetOf(execution).use(() => textWork(text));
  } catch (error) {
    if (!(error instanceof CelFault)) throw error;
    throw new HitzeroError(
      "EXPRESSION_FAILED",
      `templates of node "${execution.node.id}": ${error.message}`,
      {
        exitCode: 1,
      },
    );
  }
}

/** The same for every try of an execution, and different from every other's. */
export function idempotencyKeyOf({ runId, node, scope }: Execution): string {
  return `${runId}/${node.id}/${scope}`;
}
