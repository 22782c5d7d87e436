/** Where an expression stands in a workflow decides which variables it may name. */

export type ExpressionKind =
  | "transform"
  | "filter"
  /** Condition of an edge `on: success`. */
  | "condition"
  /** Condition of an edge `on: failure` or `on: always`: it also sees `error` (null after a success). */
  | "failure_condition"
  | "output"
  /** Template `{{ … }}` in the config of an `http` node: it also sees the node's `secrets`. */
  | "template";

export interface ExpressionPlace {
  kind: ExpressionKind;
  /** Names the expression in error messages: `condition of edge "a" -> "b"`. */
  label: string;
}

/** Variables by kind. What is not listed is refused at compile time. */
export const VARIABLES: Readonly<Record<ExpressionKind, readonly string[]>> = {
  transform: ["data", "input", "vars", "nodes"],
  filter: ["item", "index", "data", "input", "vars", "nodes"],
  condition: ["data", "output", "input", "vars", "nodes"],
  failure_condition: ["data", "output", "error", "input", "vars", "nodes"],
  output: ["input", "vars", "nodes"],
  template: ["data", "input", "vars", "nodes", "secrets"],
};

/** Kinds whose value must be a bool. */
export const BOOL_KINDS: ReadonlySet<ExpressionKind> = new Set(["filter", "condition", "failure_condition"]);

/** `line 2, column 7` (both from 1) of an offset in a text. */
export function lineAndColumn(text: string, offset: number): string {
  const before = text.slice(0, offset);
  const line = before.split("\n").length;
  return `line ${line}, column ${offset - before.lastIndexOf("\n")}`;
}
