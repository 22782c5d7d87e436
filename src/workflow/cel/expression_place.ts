/** Where an expression stands in a workflow decides which variables it may name. */

export type ExpressionKind =
  | "transform"
  /** `input` of a node of any type: replaces its data. */
  | "node_input"
  | "filter"
  /** Condition of an edge `on: success`. */
  | "condition"
  /** Condition of an edge `on: failure` or `on: always`: it also sees `error` (null after a success). */
  | "failure_condition"
  | "output"
  /** Template `{{ … }}` in the config of an `http` node: it also sees the node's `secrets`. */
  | "template"
  /** Condition of a `loop` node: true means once more. */
  | "loop_condition"
  /** List of a `map` node. */
  | "items"
  /** Asked when an item of a `map` node is over: true ends it early. */
  | "complete_when"
  /** Time that a `wait` node waits for. */
  | "until"
  /** Template in the `input` of a `subworkflow` node. */
  | "subworkflow_input";

export interface ExpressionPlace {
  kind: ExpressionKind;
  /** Names the expression in error messages: `condition of edge "a" -> "b"`. */
  label: string;
}

/** What every expression of a node or edge may name. `loop`, `item` and `index` only mean something inside a body. */
const COMMON = ["data", "input", "vars", "nodes", "loop", "item", "index"] as const;

/** Variables by kind. What is not listed is refused at compile time. */
export const VARIABLES: Readonly<Record<ExpressionKind, readonly string[]>> = {
  transform: COMMON,
  node_input: COMMON,
  filter: ["value", ...COMMON],
  condition: ["output", ...COMMON],
  failure_condition: ["output", "error", ...COMMON],
  output: ["input", "vars", "nodes"],
  template: [...COMMON, "secrets"],
  loop_condition: ["output", ...COMMON],
  items: COMMON,
  complete_when: ["completed", "failed", "total", "input", "vars"],
  until: COMMON,
  subworkflow_input: COMMON,
};

/** Kinds whose value must be a bool. */
export const BOOL_KINDS: ReadonlySet<ExpressionKind> = new Set([
  "filter",
  "condition",
  "failure_condition",
  "loop_condition",
  "complete_when",
]);

/** `line 2, column 7` (both from 1) of an offset in a text. */
export function lineAndColumn(text: string, offset: number): string {
  const before = text.slice(0, offset);
  const line = before.split("\n").length;
  return `line ${line}, column ${offset - before.lastIndexOf("\n")}`;
}
