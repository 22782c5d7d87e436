/** What several node types need of an execution. */
import type { Execution } from "./types.ts";

/** The variables of a node's own expressions. */
export function variablesOf(execution: Execution): Record<string, unknown> {
  return {
    ...execution.around,
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

/** The same for every try of an execution, and different from every other's. */
export function idempotencyKeyOf({ runId, node, scope }: Execution): string {
  return `${runId}/${node.id}/${scope}`;
}
