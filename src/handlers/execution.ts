/** What several node types need of an execution. */
import type { Execution } from "./types.ts";

/** The variables of a node's own expressions. */
export function variablesOf(execution: Execution): Record<string, unknown> {
  return {
    get data() {
      return execution.data;
    },
    get input() {
      return execution.input;
    },
    vars: execution.ir.vars,
    nodes: execution.ancestors,
  };
}

/** The same for every try of an execution, and different from every other's. */
export function idempotencyKeyOf({ runId, node, scope }: Execution): string {
  return `${runId}/${node.id}/${scope}`;
}
