/**
 * Random workflows for the simulation, always valid: acyclic, connected, without double edges, one default per
 * conditional, expressions that name ancestors only.
 *
 * A workflow grows from a list of genes, one per node, each of which says how the node hangs on the nodes before it
 * (`shape`) and what it does. Whatever the genes, `grow` makes a valid workflow of them, so shrinking just drops genes and
 * simplifies them: the simplest workflow is one function, the next a chain.
 *
 * `nodes["id"].output` is not used at or behind a `one_success` node, which may run before an ancestor has resolved:
 * whether it sees that ancestor's output would be a race.
 */
import fc from "fast-check";
import type { CompareOperator, Expression, Json, JsonObject, Reference } from "./expression.ts";
import {
  type Adaptive,
  type EdgeGene,
  grow,
  type NodeGene,
  type Place,
  type Shape,
  type WorkGene,
} from "./growth.ts";
import type {
  Behaviour,
  Behaviours,
  SimulatedRetry,
  SimulatedWorkflow,
  Steady,
  TriggerRule,
  Work,
} from "./model.ts";
import { renderFile } from "./model_file.ts";

/** A workflow with all that a run of it needs, and as the file that the engine reads. */
export interface SimulatedCase {
  workflow: SimulatedWorkflow;
  input: JsonObject;
  behaviours: Behaviours;
  file: JsonObject;
}

export interface GeneratorOptions {
  /** At most this many nodes; default 14. */
  maxNodes?: number;
  /** With false no node has the rule `one_success` and no run fails fast, so the outcome does not depend on the order. Default true. */
  ordered?: boolean;
}

/** Random workflows with an input and the behaviours of their functions. */
export function simulatedCase(options: GeneratorOptions = {}): fc.Arbitrary<SimulatedCase> {
  const { ordered = true } = options;
  const genes = fc.record({
    nodes: fc.array(nodeGene(ordered), {
      minLength: 1,
      maxLength: options.maxNodes ?? 14,
      size: "max",
    }),
    run: fc.record({
      output: weighted<number[] | null>(
        [6, fc.constant(null)],
        [1, fc.array(fc.nat(13), { minLength: 1, maxLength: 3 })],
      ),
      maxParallelNodes: weighted<number | null>([4, fc.constant(null)], [1, fc.integer({ min: 1, max: 3 })]),
      failFast: weighted([6, fc.constant(false)], ...(ordered ? [[1, fc.constant(true)] as const] : [])),
    }),
    input: runInput,
  });
  return genes.map(({ nodes, run, input }) => {
    const grown = grow(nodes, run);
    return { ...grown, input, file: renderFile(grown.workflow, grown.behaviours) };
  });
}

/** A choice by weight that shrinks towards its first entry. */
function weighted<T>(...choices: (readonly [number, fc.Arbitrary<T>])[]): fc.Arbitrary<T> {
  return fc.oneof(
    { withCrossShrink: true },
    ...choices.map(([weight, arbitrary]) => ({ weight, arbitrary })),
  );
}

const smallInt = fc.nat(9);
const word = fc.constantFrom("a", "b", "c");
const scored: fc.Arbitrary<JsonObject> = fc.record(
  { score: smallInt, label: word, items: fc.array(smallInt, { maxLength: 3 }) },
  { requiredKeys: ["score"] },
);
const integers: fc.Arbitrary<Json[]> = fc.array(smallInt, { maxLength: 4 });
const scoredItems: fc.Arbitrary<Json[]> = fc.array(scored, { maxLength: 3 });
const items: fc.Arbitrary<Json[]> = weighted<Json[]>(
  [3, integers],
  [2, scoredItems],
  [1, fc.array(fc.oneof(smallInt, word), { maxLength: 3 })],
);
const value: fc.Arbitrary<Json> = weighted<Json>(
  [2, smallInt],
  [12, scored],
  [2, items],
  [1, word],
  [1, fc.constantFrom(null, true, false)],
);
const runInput: fc.Arbitrary<JsonObject> = weighted<JsonObject>([4, scored], [1, fc.constant({})]);

const failureCodes = ["E_FIRST", "E_SECOND"] as const;
const code = fc.constantFrom(...failureCodes);
const message = fc.constant("as told");
const steady: fc.Arbitrary<Steady> = weighted<Steady>(
  [10, fc.record({ kind: fc.constant("output"), value })],
  [2, fc.constant({ kind: "echo" })],
  [2, fc.constant({ kind: "measure" })],
  [1, fc.constant({ kind: "bulk" })],
);
const behaviour: fc.Arbitrary<Behaviour> = weighted<Behaviour>(
  [28, steady],
  [4, fc.record({ kind: fc.constant("fail"), code, message })],
  [1, fc.record({ kind: fc.constant("fail"), code, message, forGood: fc.constant(true) })],
  [
    5,
    fc.record({
      kind: fc.constant("flaky"),
      fails: fc.integer({ min: 1, max: 3 }),
      by: weighted<"throwing" | "hanging">([3, fc.constant("throwing")], [1, fc.constant("hanging")]),
      code,
      message,
      atLast: steady,
    }),
  ],
  [1, fc.constant({ kind: "hang" })],
);
const retry: fc.Arbitrary<SimulatedRetry | null> = weighted<SimulatedRetry | null>(
  [2, fc.constant(null)],
  [
    1,
    fc.record({ max_attempts: fc.integer({ min: 1, max: 4 }), backoff_ms: fc.integer({ min: 1, max: 20 }) }),
  ],
);

const comparison: fc.Arbitrary<CompareOperator> = fc.constantFrom(">=", "<", "==", "!=", ">", "<=");
const constant = (literal: null | boolean | number | string): Adaptive => {
  return () => ({ kind: "literal", value: literal });
};

interface ReferenceGene {
  root: "output" | "data" | "input" | "nodes";
  path: string[];
  pick: number;
}

/** A reference to something that is mostly there: a field of the output, the data, the input or an ancestor's output. */
function reference(path: fc.Arbitrary<string[]>): fc.Arbitrary<(place: Place) => Reference> {
  const root = weighted<ReferenceGene["root"]>(
    [6, fc.constant("output")],
    [2, fc.constant("data")],
    [1, fc.constant("input")],
    [2, fc.constant("nodes")],
  );
  return fc.record({ root, path, pick: fc.nat(41) }).map((gene) => (place) => refer(gene, place));
}

/** Where data is an object by predecessor, a path mostly begins with one of them. */
function refer({ root, path, pick }: ReferenceGene, place: Place): Reference {
  const ancestor = root === "nodes" ? place.ancestors[pick % place.ancestors.length] : undefined;
  if (ancestor !== undefined) return { kind: "node", id: ancestor, path };
  if (root === "input") return { kind: "field", of: "input", path };
  const hasOutput = place.on !== "node" && root !== "data";
  const isData = !hasOutput || place.passesDataOn;
  const several = isData && place.predecessors.length > 1 && pick % 5 > 0;
  const prefix = several ? [place.predecessors[pick % place.predecessors.length]!] : [];
  return { kind: "field", of: hasOutput ? "output" : "data", path: [...prefix, ...path] };
}

const scoreReference = reference(fc.constant(["score"]));
const anyReference = reference(
  fc.constantFrom<string[]>(["score"], ["score"], ["score"], ["label"], ["items"], [], []),
);
const hasField: fc.Arbitrary<Adaptive> = reference(
  fc.constantFrom<string[]>(["score"], ["label"], ["items"], ["missing"]),
).map((of) => (place) => ({ kind: "has", of: of(place) }));

function compared(
  of: fc.Arbitrary<Adaptive>,
  literal: fc.Arbitrary<number | string>,
): fc.Arbitrary<Adaptive> {
  return fc.record({ operator: comparison, of, literal }).map(({ operator, of, literal }) => (place) => {
    return { kind: "compare", operator, left: of(place), right: { kind: "literal", value: literal } };
  });
}

const plainCondition: fc.Arbitrary<Adaptive> = weighted<Adaptive>(
  [4, fc.constantFrom(constant(true), constant(false))],
  [8, compared(scoreReference, smallInt)],
  [1, compared(reference(fc.constant([])), smallInt)],
  [1, compared(reference(fc.constant(["label"])), word)],
  [1, compared(reference(fc.constant(["missing"])), smallInt)],
  [1, hasField],
  [
    1,
    compared(
      anyReference.map(
        (of) =>
          (place: Place): Expression => ({ kind: "size", of: of(place) }),
      ),
      smallInt,
    ),
  ],
  [1, anyReference],
);

/** Conditions that ask for the error, where there is one; elsewhere the other condition. */
function aboutError(code: string, otherwise: Adaptive): Adaptive {
  return (place) => {
    if (place.on !== "failure" && place.on !== "always") return otherwise(place);
    const left: Expression = { kind: "field", of: "error", path: ["code"] };
    const isCode: Expression = {
      kind: "compare",
      operator: "==",
      left,
      right: { kind: "literal", value: code },
    };
    if (place.on === "failure") return isCode;
    const nothing: Expression = { kind: "literal", value: null };
    const isNull: Expression = {
      kind: "compare",
      operator: "==",
      left: { ...left, path: [] },
      right: nothing,
    };
    return { kind: "or", left: isNull, right: isCode };
  };
}

const condition: fc.Arbitrary<Adaptive> = weighted<Adaptive>(
  [12, plainCondition],
  [
    1,
    plainCondition.map(
      (of) =>
        (place: Place): Expression => ({ kind: "not", of: of(place) }),
    ),
  ],
  [
    2,
    fc.record({ kind: fc.constantFrom("and", "or"), left: plainCondition, right: plainCondition }).map(
      ({ kind, left, right }) =>
        (place: Place): Expression => ({ kind, left: left(place), right: right(place) }),
    ),
  ],
  [
    3,
    fc
      .tuple(fc.constantFrom(...failureCodes, "CONDITION_FAILED"), plainCondition)
      .map(([code, other]) => aboutError(code, other)),
  ],
);

const transformed: fc.Arbitrary<Adaptive> = weighted<Adaptive>(
  [3, anyReference],
  [
    2,
    fc.record({ of: scoreReference, plus: smallInt }).map(({ of, plus }) => (place: Place): Expression => {
      return { kind: "add", left: of(place), right: { kind: "literal", value: plus } };
    }),
  ],
  [
    2,
    fc.array(anyReference, { maxLength: 3 }).map((of) => (place: Place): Expression => {
      return { kind: "list", items: of.map((item) => item(place)) };
    }),
  ],
  [
    3,
    fc.tuple(scoreReference, anyReference).map(([score, label]) => (place: Place): Expression => {
      return {
        kind: "object",
        entries: [
          ["score", score(place)],
          ["label", label(place)],
        ],
      };
    }),
  ],
  [1, condition],
);

const theIndex: Adaptive = () => ({ kind: "field", of: "index", path: [] });
const ofItem =
  (path: string[]): Adaptive =>
  () => ({ kind: "field", of: "item", path });
/** A filter's condition with the list that its predecessor answers; null: whatever that would answer. */
const filtering: fc.Arbitrary<{ condition: Adaptive; list: Json[] | null }> = weighted(
  [3, fc.record({ condition: compared(fc.constant(ofItem([])), smallInt), list: integers })],
  [3, fc.record({ condition: compared(fc.constant(ofItem(["score"])), smallInt), list: scoredItems })],
  [1, fc.record({ condition: compared(fc.constant(theIndex), fc.nat(3)), list: items })],
  [1, fc.record({ condition: compared(fc.constant(ofItem(["score"])), smallInt), list: items })],
  [1, fc.record({ condition, list: weighted<Json[] | null>([1, fc.constant(null)], [1, items]) })],
);

const work: fc.Arbitrary<WorkGene> = weighted<WorkGene>(
  [20, fc.record({ kind: fc.constant("function"), behaviour })],
  [3, fc.constant({ kind: "parallel", work: { type: "parallel" } })],
  [
    8,
    fc
      .constantFrom<Work>(
        { type: "conditional" },
        { type: "conditional", mode: "all" },
        { type: "conditional", mode: "first" },
      )
      .map((work) => ({ kind: "conditional", work })),
  ],
  [3, fc.record({ kind: fc.constant("transform"), expression: transformed })],
  [5, filtering.map((gene) => ({ kind: "filter", ...gene }))],
  [
    3,
    fc
      .constantFrom<Work>(
        { type: "aggregate", operation: "count" },
        { type: "aggregate", operation: "sum" },
        { type: "aggregate", operation: "sum", field: "score" },
        { type: "aggregate", operation: "avg", field: "score" },
        { type: "aggregate", operation: "min", field: "score" },
        { type: "aggregate", operation: "max", field: "score" },
        { type: "aggregate", strategy: "merge" },
        { type: "aggregate", strategy: "union" },
        { type: "aggregate", strategy: "concat" },
      )
      .map((work) => ({ kind: "aggregate", work })),
  ],
);

const edgeGene: fc.Arbitrary<EdgeGene> = fc.record({
  on: weighted<EdgeGene["on"]>(
    [12, fc.constant("success")],
    [2, fc.constant("failure")],
    [2, fc.constant("always")],
  ),
  conditioned: fc.nat(9),
  condition,
  priority: fc.integer({ min: 1, max: 3 }),
  position: weighted([3, fc.constant(0)], [1, fc.nat(9)]),
});

function nodeGene(ordered: boolean): fc.Arbitrary<NodeGene> {
  return fc.record({
    shape: weighted<Shape>(
      [6, fc.constant("chain")],
      [6, fc.constant("sibling")],
      [4, fc.constant("leaves")],
      [4, fc.constant("pick")],
      [1, fc.constant("entry")],
    ),
    picks: fc.array(fc.nat(13), { minLength: 1, maxLength: 3 }),
    work,
    rule: weighted<TriggerRule | null>(
      [12, fc.constant(null)],
      [1, fc.constant("none_failed_min_one_success")],
      [2, fc.constant("all_done")],
      ...(ordered ? ([[3, fc.constant("one_success")]] as [number, fc.Arbitrary<TriggerRule>][]) : []),
    ),
    retry,
    edges: fc.array(edgeGene, { minLength: 1, maxLength: 4 }),
    priorities: fc.boolean(),
    position: weighted([3, fc.constant(0)], [1, fc.nat(9)]),
  });
}
