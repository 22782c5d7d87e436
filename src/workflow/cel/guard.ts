/**
 * Makes a parsed expression safe to run on data from outside. `prepare` runs before the type check, `guard` after it:
 *
 * - every step of a macro over a list, and every operation on strings, lists and objects, spends from the work budget;
 * - fields are read as own properties only, also of objects that own a property named `constructor`;
 * - `has()` takes any owner, as in `has(nodes["a"].output.score)` (the library takes dotted names only);
 * - an object literal refuses keys that the library would silently drop, merge or turn into text;
 * - dividing by zero is an error for every kind of number (JSON has no Infinity, and NaN would make conditions false);
 * - `matches`, `split`, `join` and `timestamp` are replaced by the bounded ones of `cel_functions.ts`.
 */

import { quote } from "../faults.ts";
import { CelFault, placeFault } from "./fault.ts";
import { REPLACED_FUNCTIONS } from "./functions.ts";
import {
  type AstNode,
  callOf,
  childrenOf,
  countNodes,
  type Evaluator,
  type Handle,
  renameCall,
} from "./syntax.ts";
import { shallowWork, spend, spendDeep } from "./work.ts";

const REFUSED_KEYS: ReadonlySet<unknown> = new Set(["__proto__", "constructor", "prototype"]);

/** Getting the time in a named time zone costs some hundred microseconds. */
const TIME_ZONE_WORK = 2_000;

/** Changes a tree before its type check. */
export function prepare(node: AstNode): void {
  const call = callOf(node);
  const replacement = call === undefined ? undefined : REPLACED_FUNCTIONS.get(call.method);
  if (replacement !== undefined && node.meta.macro === undefined) renameCall(node, replacement);
  if (call?.method === "has" && node.meta.macro !== undefined) replaceHas(node);
  if (node.op === "map" && (node.args as unknown[]).length > 0) {
    node.setMeta("evaluate", evaluateObject);
  }
  for (const child of childrenOf(node)) prepare(child);
}

/** Changes a tree after its type check. */
export function guard(node: AstNode): void {
  if (node.handle !== undefined) node.handle = guarded(node, node.handle);
  const loop = node.meta.alternate;
  if (loop?.handle !== undefined) {
    const parameters = callOf(node)?.parameters ?? [];
    const stepSize = parameters.reduce((sum, parameter) => sum + countNodes(parameter), 0);
    guardLoop(loop, loop.handle, stepSize);
  }
  for (const child of childrenOf(node)) guard(child);
}

function guarded(node: AstNode, handle: Handle): Handle {
  switch (node.op) {
    case ".":
    case "[]":
      return guardedAccess(node, handle);
    case "call":
    case "rcall":
      return guardedCall(node, handle);
    case "!_":
    case "-_":
    case "?:":
      return handle;
    default:
      return guardedOperator(node, handle);
  }
}

/** An object of JSON; the library tells it by `constructor`, which data may own. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value) as unknown;
  return prototype === Object.prototype || prototype === null;
}

/** An object that owns `constructor` becomes a Map, which the library handles; any other value stays as it is. */
export function readable(value: unknown): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, "constructor")) return value;
  return new Map(Object.entries(value));
}

function guardedAccess(node: AstNode, handle: Handle): Handle {
  const position = node.op === "." ? node.end - (node.args as [AstNode, string])[1].length : node.start;
  return (owner, key, ast, evaluator) => {
    if (!isPlainObject(owner)) return readable(handle(owner, key, ast, evaluator));
    const name = propertyName(key);
    const value = name !== undefined && Object.hasOwn(owner, name) ? owner[name] : undefined;
    if (value === undefined) {
      const there = Object.keys(owner);
      throw new CelFault(missing(node), position, there.length === 0 ? "" : fieldsThere(there));
    }
    return readable(value);
  };
}

function missing(node: AstNode): string {
  return node.op === "."
    ? `there is no field "${(node.args as [AstNode, string])[1]}"`
    : "there is no such key";
}

const FIELDS_NAMED = 10;

/** What there is instead of what is missing: names of fields, never values. */
export function fieldsThere(names: readonly string[]): string {
  if (names.length === 0) return "it is empty";
  const shown = names.slice(0, FIELDS_NAMED).map(quote).join(", ");
  const more = names.length > FIELDS_NAMED ? ` and ${names.length - FIELDS_NAMED} more` : "";
  return `${names.length === 1 ? "there is" : "there are"} ${shown}${more}`;
}

function propertyName(key: unknown): string | undefined {
  if (typeof key === "string") return key;
  return typeof key === "bigint" || typeof key === "number" || typeof key === "boolean"
    ? String(key)
    : undefined;
}

function guardedOperator(node: AstNode, handle: Handle): Handle {
  return (left, right, ast, evaluator) => {
    if (typeof left !== "number" && typeof left !== "bigint") spendOnOperands(node, left, right);
    else if (typeof right === "object") spendOnOperands(node, left, right);
    else if (node.op === "/" && right === 0) throw new CelFault("division by zero", node.start);
    try {
      return handle(left, right, ast, evaluator);
    } catch (error) {
      throw placeFault(error, node.start);
    }
  };
}

function spendOnOperands(node: AstNode, left: unknown, right: unknown): void {
  spend(1 + shallowWork(left) + shallowWork(right));
  switch (node.op) {
    case "+":
      if (Array.isArray(left) && Array.isArray(right)) spend(left.length + right.length);
      return;
    case "in":
      if (Array.isArray(right)) spendDeep(right);
      return;
    case "==":
    case "!=":
      if (left !== right && isComposite(left) && isComposite(right)) spendDeep(left);
      return;
    default:
  }
}

function isComposite(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

function guardedCall(node: AstNode, handle: Handle): Handle {
  const { method, receiver, parameters } = callOf(node) as NonNullable<ReturnType<typeof callOf>>;
  const zoned = receiver !== undefined && method.startsWith("get") && parameters.length === 1;
  const base = zoned ? TIME_ZONE_WORK : 1;
  return (operands, second, third) => {
    let work = base;
    for (const operand of operands as unknown[]) work += shallowWork(operand);
    spend(work);
    try {
      return handle(operands, second, third);
    } catch (error) {
      throw placeFault(error, node.start);
    }
  };
}

/** Makes each step of a macro pay for the nodes that it evaluates. */
function guardLoop(loop: AstNode, handle: Handle, stepSize: number): void {
  const { step } = loop.args as { step: AstNode };
  step.evaluate = (evaluator, node, context) => {
    spend(stepSize);
    return node.meta.evaluate(evaluator, node, context);
  };
  loop.handle = (collection, parameters, evaluator, context) => {
    // Also ends loops at once whose surroundings absorb the fault of a spent budget and go on.
    spend(1 + shallowWork(collection));
    const items =
      Array.isArray(collection) && collection.some((item) => readable(item) !== item)
        ? collection.map(readable)
        : collection;
    return handle(items, parameters, evaluator, context);
  };
}

function replaceHas(node: AstNode): void {
  const macro = node.meta.macro;
  const argument = macro?.args[0];
  if (macro === undefined || argument === undefined) return;
  macro.typeCheck = (checker, _macro, context) => {
    if (argument.op !== ".") {
      throw checker.createError(
        "invalid_macro_argument",
        "has() needs a field, as in has(data.name)",
        argument,
      );
    }
    checker.check((argument.args as [AstNode, string])[0], context);
    return checker.getType("bool");
  };
  macro.evaluate = (evaluator, _macro, context) => {
    const [ownerNode, field] = argument.args as [AstNode, string];
    const owner = evaluator.run(ownerNode, context);
    if (owner === null) return false;
    if (owner instanceof Map) return owner.has(field);
    if (isPlainObject(owner)) return Object.hasOwn(owner, field) && owner[field] !== undefined;
    throw new CelFault(
      `has() asks for the field "${field}" of something that is not an object`,
      argument.start,
    );
  };
}

function evaluateObject(evaluator: Evaluator, node: AstNode, context: unknown): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  for (const [keyNode, valueNode] of node.args as [AstNode, AstNode][]) {
    const key = evaluator.run(keyNode, context);
    const name = propertyName(key);
    if (name === undefined)
      throw new CelFault("a key of an object must be a string, a number or a bool", keyNode.start);
    if (REFUSED_KEYS.has(name)) throw new CelFault("this key is refused for safety", keyNode.start);
    if (Object.hasOwn(object, name)) throw new CelFault("this key stands twice in the object", keyNode.start);
    object[name] = evaluator.run(valueNode, context);
  }
  return object;
}
