/** What each type of node makes of its data: the part of the reference that knows nothing of edges. */
import {
  type Bindings,
  booleanOf,
  type Expression,
  evaluate,
  isObject,
  type Json,
  NoValue,
  sameJson,
} from "./expression.ts";
import { type Behaviour, behave, type SimulatedEdge, type SimulatedNode } from "./model.ts";

/** A failure before its wording is settled: what is null is not fixed by the semantics. */
export interface Failure {
  code: string | null;
  message: string | null;
}

/** `notBefore`: the instant before which there was no output, ms since 1970. */
export type Outcome = { output: Json; notBefore?: number } | { failure: Failure };

/** An outcome with the number of tries that it took. */
export type Tried = Outcome & { attempts: number };

/** What a node has at hand when it runs. */
export interface Place {
  node: SimulatedNode;
  /** Its outgoing edges, in file order. */
  edges: SimulatedEdge[];
  bindings: Bindings;
  /** Predecessors in the order of the workflow file's edges; none where `input` replaces what they gave. */
  predecessors: string[];
}

/** Nodes that wait for something that happens elsewhere. */
const AWAITING = ["signal", "approval", "map", "subworkflow"] as const;
export type Awaiting = Extract<SimulatedNode, { type: (typeof AWAITING)[number] }>;

export function awaits(node: SimulatedNode): node is Awaiting {
  return AWAITING.some((type) => type === node.type);
}

/** What a node makes of its data. Only what calls the handler is tried again: the others would fail again. */
export function run(
  node: Exclude<SimulatedNode, Awaiting>,
  place: Place,
  behaviour: Behaviour | undefined,
): Tried {
  if (node.type === "function" || (node.type === "loop" && node.calls === true))
    return tryCalls(node, behaviour, place.bindings.variables.data ?? null);
  const done = compute(node, place);
  if ("failure" in done || isExact(done.output)) return { ...done, attempts: 1 };
  return { ...failure(node.type === "aggregate" ? "OUTPUT_NOT_JSON" : null), attempts: 1 };
}

/** Integers from 2^53 on are refused, since their last digits may be wrong, but not those that JSON writes with an exponent. */
function isExact(value: Json): boolean {
  if (typeof value === "number") return Math.abs(value) <= Number.MAX_SAFE_INTEGER || Math.abs(value) >= 1e21;
  return typeof value !== "object" || value === null || Object.values(value).every(isExact);
}

function compute(
  node: Exclude<SimulatedNode, Awaiting | { type: "function" }>,
  { bindings, predecessors }: Place,
): Outcome {
  const data = bindings.variables.data ?? null;
  switch (node.type) {
    case "conditional":
    case "parallel":
    case "loop":
      return { output: data };
    case "wait":
      return "until" in node ? waitUntil(node.until, data, bindings) : { output: data };
    case "filter":
      return filter(node, data, bindings);
    case "aggregate":
      return aggregate(node, data, predecessors);
    case "transform":
      return attempt(() => ({ output: evaluate(node.expression, bindings) })) ?? failure(null);
  }
}

function waitUntil(until: string | Expression, data: Json, bindings: Bindings): Outcome {
  const given = attempt(() => ({ value: typeof until === "string" ? until : evaluate(until, bindings) }));
  if (given === null) return failure(null);
  const notBefore = instantOf(given.value);
  return notBefore === null ? failure("WAIT_NOT_A_TIME") : { output: data, notBefore };
}

/** The instant that a text of RFC 3339 names, ms since 1970. */
function instantOf(value: Json): number | null {
  const form = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
  return typeof value === "string" && form.test(value) ? Date.parse(value) : null;
}

export function failure(code: string | null): { failure: Failure } {
  return { failure: { code, message: null } };
}

/** Calls until a try answers, says that no other would, or was the last one. */
function tryCalls({ id, retry }: SimulatedNode, behaviour: Behaviour | undefined, data: Json): Tried {
  if (behaviour === undefined) throw new Error(`no behaviour for ${id}`);
  for (let attempts = 1; ; attempts += 1) {
    const answer = behave(behaviour, data, attempts);
    if ("output" in answer) return { ...answer, attempts };
    const forGood = "error" in answer && answer.forGood;
    if (!forGood && attempts < (retry?.max_attempts ?? 1)) continue;
    return "error" in answer ? { failure: answer.error, attempts } : { ...failure("TIMED_OUT"), attempts };
  }
}

function filter(node: SimulatedNode & { type: "filter" }, data: Json, bindings: Bindings): Outcome {
  if (!Array.isArray(data)) return failure("FILTER_NOT_A_LIST");
  const keeps = (item: Json, index: number): boolean =>
    booleanOf(node.filter_expression, { ...bindings, variables: { ...bindings.variables, item, index } });
  return attempt(() => ({ output: data.filter(keeps) })) ?? failure(null);
}

/** The values that an aggregate works on: a list's items, or several predecessors' outputs in the order of the file's edges, lists opened. */
function valuesOf(data: Json, predecessors: readonly string[]): Json[] {
  if (Array.isArray(data)) return data;
  if (predecessors.length < 2 || !isObject(data)) return data === null ? [] : [data];
  return predecessors.filter((id) => Object.hasOwn(data, id)).flatMap((id) => data[id]!);
}

/** The output that came first, by the order of the file's edges. */
function firstOf(data: Json, predecessors: readonly string[]): Json {
  if (predecessors.length < 2 || !isObject(data)) return data;
  const id = predecessors.find((one) => Object.hasOwn(data, one));
  return id === undefined ? null : data[id]!;
}

function aggregate(
  node: SimulatedNode & { type: "aggregate" },
  data: Json,
  predecessors: readonly string[],
): Outcome {
  const values = valuesOf(data, predecessors);
  if ("strategy" in node) {
    if (node.strategy === "coalesce") return { output: firstOf(data, predecessors) };
    return combine(node.strategy, values);
  }
  if (node.operation === "count") return { output: values.length };
  const numbers = values.map((value) => numberIn(value, node.field)).filter((number) => number !== null);
  if (numbers.length < values.length) return failure("AGGREGATE_NOT_A_NUMBER");
  const sum = numbers.reduce((total, number) => total + number, 0);
  if (node.operation === "sum") return { output: sum };
  if (numbers.length === 0) return { output: null };
  if (node.operation === "avg") return { output: sum / numbers.length };
  return { output: node.operation === "min" ? Math.min(...numbers) : Math.max(...numbers) };
}

/** The number at a dotted path inside a value (or the value itself); null if there is none. */
function numberIn(value: Json, field: string | undefined): number | null {
  const path = field === undefined ? [] : field.split(".");
  const at = attempt(() =>
    evaluate({ kind: "field", of: "item", path }, { variables: { item: value }, nodes: {} }),
  );
  return typeof at === "number" ? at : null;
}

function combine(strategy: "merge" | "union" | "concat", values: readonly Json[]): Outcome {
  if (strategy === "concat") return { output: [...values] };
  if (strategy === "union") {
    const isFirst = (value: Json, at: number): boolean =>
      values.findIndex((other) => sameJson(other, value)) === at;
    return { output: values.filter(isFirst) };
  }
  return values.every((value) => isObject(value)) ? { output: Object.assign({}, ...values) } : failure(null);
}

/** The value, or null where an expression has none. */
export function attempt<T>(compute: () => T): T | null {
  try {
    return compute();
  } catch (error) {
    if (error instanceof NoValue) return null;
    throw error;
  }
}
