/**
 * The expressions of simulated workflows: a small tree that is rendered to CEL for the engine and evaluated here by plain
 * code, so that the reference shares nothing with the engine's evaluator. Only what both must agree on is expressible.
 */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** What an expression may name, apart from `nodes`. Which of them exist depends on the place (docs/semantics.md). */
export type Variable =
  | "data"
  | "output"
  | "input"
  | "error"
  | "item"
  | "index"
  | "loop"
  | "completed"
  | "failed"
  | "total";

export type CompareOperator = "==" | "!=" | "<" | "<=" | ">" | ">=";

/** A value by its path: of a variable, or of an ancestor's output (`nodes["id"].output`). */
export type Reference =
  | { kind: "field"; of: Variable; path: string[] }
  | { kind: "node"; id: string; path: string[] };

export type Expression =
  | Reference
  | { kind: "literal"; value: null | boolean | number | string }
  | { kind: "has"; of: Reference }
  | { kind: "size"; of: Reference }
  | { kind: "compare"; operator: CompareOperator; left: Expression; right: Expression }
  | { kind: "and" | "or"; left: Expression; right: Expression }
  | { kind: "not"; of: Expression }
  | { kind: "choose"; when: Expression; so: Expression; otherwise: Expression }
  | { kind: "add"; left: Expression; right: Expression }
  | { kind: "list"; items: Expression[] }
  | { kind: "object"; entries: [string, Expression][] };

/** The values that an expression sees. `nodes` holds outputs by node id. */
export interface Bindings {
  variables: Partial<Record<Variable, Json>>;
  nodes: Readonly<Record<string, Json>>;
}

/** The expression has no value: a missing field, operands of the wrong type. */
export class NoValue extends Error {}

/** The expression that has this value. */
export function constantOf(value: Json): Expression {
  if (Array.isArray(value)) return { kind: "list", items: value.map(constantOf) };
  if (!isObject(value)) return { kind: "literal", value };
  return { kind: "object", entries: Object.entries(value).map(([key, one]) => [key, constantOf(one)]) };
}

/** The expression as CEL source. */
export function renderCel(expression: Expression): string {
  switch (expression.kind) {
    case "literal":
      return JSON.stringify(expression.value);
    case "field":
      return expression.of + renderPath(expression.path);
    case "node":
      return `nodes[${JSON.stringify(expression.id)}].output${renderPath(expression.path)}`;
    case "has":
      return `has(${renderCel(expression.of)})`;
    case "size":
      return `size(${renderCel(expression.of)})`;
    case "compare":
      return `(${renderCel(expression.left)} ${expression.operator} ${renderCel(expression.right)})`;
    case "and":
      return `(${renderCel(expression.left)} && ${renderCel(expression.right)})`;
    case "or":
      return `(${renderCel(expression.left)} || ${renderCel(expression.right)})`;
    case "not":
      return `!(${renderCel(expression.of)})`;
    case "choose": {
      const { when, so, otherwise } = expression;
      return `(${renderCel(when)} ? ${renderCel(so)} : ${renderCel(otherwise)})`;
    }
    case "add":
      return `(${renderCel(expression.left)} + ${renderCel(expression.right)})`;
    case "list":
      return `[${expression.items.map(renderCel).join(", ")}]`;
    case "object":
      return `{${expression.entries.map(([key, value]) => `${JSON.stringify(key)}: ${renderCel(value)}`).join(", ")}}`;
  }
}

function renderPath(path: readonly string[]): string {
  return path.map((name) => (/^[a-z_]\w*$/iu.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`)).join("");
}

/** The expression's value, as CEL defines it. Throws NoValue where CEL has an error. */
export function evaluate(expression: Expression, bindings: Bindings): Json {
  switch (expression.kind) {
    case "literal":
      return expression.value;
    case "field":
    case "node":
      return lookUp(expression, expression.path, bindings);
    case "has":
      return evaluateHas(expression.of, bindings);
    case "size":
      return sizeOf(evaluate(expression.of, bindings));
    case "compare":
      return compare(
        expression.operator,
        evaluate(expression.left, bindings),
        evaluate(expression.right, bindings),
      );
    case "and":
      return connect(false, expression.left, expression.right, bindings);
    case "or":
      return connect(true, expression.left, expression.right, bindings);
    case "not":
      return !booleanOf(expression.of, bindings);
    case "choose":
      return evaluate(booleanOf(expression.when, bindings) ? expression.so : expression.otherwise, bindings);
    case "add":
      return add(evaluate(expression.left, bindings), evaluate(expression.right, bindings));
    case "list":
      return expression.items.map((item) => evaluate(item, bindings));
    case "object":
      return Object.fromEntries(expression.entries.map(([key, value]) => [key, evaluate(value, bindings)]));
  }
}

/** The value of an expression that must be true or false. Throws NoValue otherwise. */
export function booleanOf(expression: Expression, bindings: Bindings): boolean {
  const value = evaluate(expression, bindings);
  if (typeof value !== "boolean") throw new NoValue("not a bool");
  return value;
}

/** Same value, whatever the order of an object's keys. */
export function sameJson(a: Json, b: Json): boolean {
  return canonicalJson(a) === canonicalJson(b);
}

/** JSON with sorted keys. */
function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const entries = Object.keys(value).sort();
  return `{${entries.map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key]!)}`).join(",")}}`;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function lookUp(reference: Reference, path: readonly string[], bindings: Bindings): Json {
  const root = reference.kind === "node" ? bindings.nodes[reference.id] : bindings.variables[reference.of];
  if (root === undefined) throw new NoValue("unknown variable");
  return path.reduce((value, name) => {
    if (!isObject(value) || !Object.hasOwn(value, name)) throw new NoValue(`no field ${name}`);
    return value[name]!;
  }, root);
}

/**
 * `has` asks for the last field only: one missing before it is an error, and so is an owner that is no object. null has
 * no fields, so that an ancestor that did not complete can be asked.
 */
function evaluateHas(reference: Reference, bindings: Bindings): boolean {
  const owner = lookUp(reference, reference.path.slice(0, -1), bindings);
  if (owner === null) return false;
  if (!isObject(owner)) throw new NoValue("has() of what is no object");
  return Object.hasOwn(owner, reference.path.at(-1)!);
}

function sizeOf(value: Json): number {
  if (typeof value === "string" || Array.isArray(value)) return value.length;
  if (isObject(value)) return Object.keys(value).length;
  throw new NoValue("no size");
}

function compare(operator: CompareOperator, left: Json, right: Json): boolean {
  if (operator === "==") return sameJson(left, right);
  if (operator === "!=") return !sameJson(left, right);
  const ordered = ["number", "string", "boolean"].includes(typeof left) && typeof left === typeof right;
  if (!ordered || left === null || right === null) throw new NoValue("no order between these");
  if (operator === "<") return left < right;
  if (operator === "<=") return left <= right;
  return operator === ">" ? left > right : left >= right;
}

/** `&&` (decided by false) and `||` (decided by true): an error on one side is absorbed when the other side decides. */
function connect(decisive: boolean, left: Expression, right: Expression, bindings: Bindings): boolean {
  const sides = [left, right].map((side) => {
    try {
      return booleanOf(side, bindings);
    } catch (error) {
      if (error instanceof NoValue) return error;
      throw error;
    }
  });
  if (sides.includes(decisive)) return decisive;
  const error = sides.find((side) => side instanceof NoValue);
  if (error !== undefined) throw error;
  return !decisive;
}

/** CEL adds int to int and double to double, never across. */
function add(left: Json, right: Json): Json {
  if (typeof left === "string" && typeof right === "string") return left + right;
  if (Array.isArray(left) && Array.isArray(right)) return [...left, ...right];
  const numbers = typeof left === "number" && typeof right === "number";
  if (!numbers || Number.isInteger(left) !== Number.isInteger(right)) throw new NoValue("cannot add these");
  return left + right;
}
