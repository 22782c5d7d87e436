/**
 * Random workflows for the simulation, always valid: without cycles but those of loops, connected, without double edges, one
 * default per conditional, expressions that name ancestors only, bodies with one way in and one way out.
 *
 * A workflow grows from a list of genes, one per node, each of which says how the node hangs on the nodes before it
 * (`shape`) and what it does. Whatever the genes, `grow` makes a valid workflow of them, so shrinking just drops genes and
 * simplifies them: the simplest workflow is one function, the next a chain.
 *
 * `nodes["id"].output` is not used at or behind a node whose rule fires early, which may run before an ancestor has resolved:
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
  SEMAPHORES,
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

/** What the workflows may make use of, apart from what all do. */
export type Feature =
  | "loops"
  | "rules"
  | "maps"
  | "waits"
  | "signals"
  | "children"
  | "withdrawal"
  | "compensation"
  | "semaphores"
  | "unless";

export const ALL_FEATURES: ReadonlySet<Feature> = new Set([
  "loops",
  "rules",
  "maps",
  "waits",
  "signals",
  "children",
  "withdrawal",
  "compensation",
  "semaphores",
  "unless",
]);

/** What is generated: HITZERO_SIMULATION_FEATURES names it (with commas); by default everything. */
const ENGINE_FEATURES: ReadonlySet<Feature> = featuresNamed(process.env.HITZERO_SIMULATION_FEATURES ?? "all");

function featuresNamed(names: string): ReadonlySet<Feature> {
  const asked = names.split(",");
  return new Set([...ALL_FEATURES].filter((feature) => names === "all" || asked.includes(feature)));
}

export interface GeneratorOptions {
  /** At most this many nodes, those in bodies not counted; default 14. */
  maxNodes?: number;
  /** With false no rule fires early, no run fails fast and nothing is withdrawn or kept from running, so the outcome does not
   * depend on the order. Default true. */
  ordered?: boolean;
  /** Default: what the engine can do. */
  features?: ReadonlySet<Feature>;
}

interface Choice {
  ordered: boolean;
  features: ReadonlySet<Feature>;
}

/** Random workflows with an input and the behaviours of their functions. */
export function simulatedCase(options: GeneratorOptions = {}): fc.Arbitrary<SimulatedCase> {
  const { ordered = true, features = ENGINE_FEATURES } = options;
  const genes = fc.record({
    nodes: fc.array(nodeGene({ ordered, features }, DEPTH), {
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

/** How deep bodies nest. */
const DEPTH = 2;

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
  root: "output" | "data" | "input" | "nodes" | "loop" | "item";
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
    [1, fc.constant("loop")],
    [1, fc.constant("item")],
  );
  return fc.record({ root, path, pick: fc.nat(41) }).map((gene) => (place) => refer(gene, place));
}

/** Where data is an object by predecessor, a path mostly begins with one of them. */
function refer({ root, path, pick }: ReferenceGene, place: Place): Reference {
  const ancestor = root === "nodes" ? place.ancestors[pick % place.ancestors.length] : undefined;
  if (ancestor !== undefined) return { kind: "node", id: ancestor, path };
  if (root === "input") return { kind: "field", of: "input", path };
  if (root === "loop" && place.inLoop) return { kind: "field", of: "loop", path: ["iteration"] };
  if (root === "item" && place.inMap)
    return pick % 2 === 0 ? { kind: "field", of: "index", path: [] } : { kind: "field", of: "item", path };
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
).map((of) => (place) => {
  const found = of(place);
  return { kind: "has", of: found.path.length > 0 ? found : { kind: "field", of: "input", path: ["score"] } };
});

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

const plainWork: fc.Arbitrary<WorkGene> = weighted<WorkGene>(
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

const answer: fc.Arbitrary<JsonObject | null> = weighted<JsonObject | null>(
  [4, scored],
  [1, fc.constant(null)],
);
const calledByLoop: fc.Arbitrary<Behaviour | null> = weighted<Behaviour | null>(
  [3, fc.constant(null)],
  [1, behaviour],
);
const maybePick: fc.Arbitrary<number | null> = weighted<number | null>(
  [1, fc.constant(null)],
  [1, fc.nat(9)],
);

/** Work of all kinds; bodies nest no deeper than told. */
function work(choice: Choice, depth: number): fc.Arbitrary<WorkGene> {
  const { features } = choice;
  const when = <T>(feature: Feature, ...choices: T[]): T[] => (features.has(feature) ? choices : []);
  const body = (minLength: number): fc.Arbitrary<NodeGene[]> =>
    fc.array(nodeGene(choice, depth - 1), { minLength, maxLength: 3, size: "max" });
  const nesting =
    depth === 0
      ? []
      : [
          ...when<readonly [number, fc.Arbitrary<WorkGene>]>("loops", [6, loopWork(body(0))]),
          ...when<readonly [number, fc.Arbitrary<WorkGene>]>("maps", [4, mapWork(body(1), features)]),
          ...when<readonly [number, fc.Arbitrary<WorkGene>]>("children", [
            2,
            fc.record({
              kind: fc.constant("subworkflow"),
              body: body(1),
              input: weighted<Adaptive | null>([2, fc.constant(null)], [1, anyReference]),
            }),
          ]),
        ];
  return weighted<WorkGene>(
    [40, plainWork],
    ...nesting,
    ...when<readonly [number, fc.Arbitrary<WorkGene>]>("waits", [
      2,
      fc
        .integer({ min: 0, max: 20 })
        .map((duration_ms): WorkGene => ({ kind: "wait", work: { type: "wait", duration_ms } })),
    ]),
    ...when<readonly [number, fc.Arbitrary<WorkGene>]>("signals", [
      3,
      fc.record({
        kind: fc.constant("signal"),
        type: fc.constantFrom("signal", "approval"),
        answer,
      }),
    ]),
  );
}

/** A loop that may go on for ever has a condition that ends it. */
function loopWork(body: fc.Arbitrary<NodeGene[]>): fc.Arbitrary<WorkGene> {
  return fc.record({
    kind: fc.constant("loop"),
    body,
    times: fc.integer({ min: 1, max: 3 }),
    bounded: fc.boolean(),
    condition: weighted<Adaptive | null>([2, fc.constant(null)], [2, condition]),
    breaks: maybePick,
    timesOut: maybePick,
    explicit: fc.boolean(),
    edgeBack: fc.boolean(),
    calls: calledByLoop,
  });
}

function mapWork(body: fc.Arbitrary<NodeGene[]>, features: ReadonlySet<Feature>): fc.Arbitrary<WorkGene> {
  return fc.record({
    kind: fc.constant("map"),
    body,
    items: weighted<Json[] | null>([12, fc.array(smallInt, { maxLength: 4 })], [1, fc.constant(null)]),
    fromData: fc.boolean(),
    expression: anyReference,
    asChild: features.has("children")
      ? weighted([4, fc.constant(false)], [1, fc.constant(true)])
      : fc.constant(false),
    maxConcurrency: weighted<number | null>([2, fc.constant(null)], [1, fc.integer({ min: 1, max: 2 })]),
    tolerated: weighted([2, fc.constant(0)], [1, fc.integer({ min: 1, max: 3 })]),
  });
}

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

const EARLY: readonly TriggerRule[] = ["one_success", "one_failed", { quorum: 1 }, { quorum: 2 }];
const LATE: readonly TriggerRule[] = [
  "all_success",
  "all_success",
  "none_failed",
  "all_failed",
  "all_failed",
];

function ruleGene({ ordered, features }: Choice): fc.Arbitrary<TriggerRule | null> {
  const all = features.has("rules");
  const early = all ? EARLY : EARLY.slice(0, 1);
  return weighted<TriggerRule | null>(
    [12, fc.constant(null)],
    [1, fc.constant("none_failed_min_one_success")],
    [2, fc.constant("all_done")],
    ...(all ? [[9, fc.constantFrom(...LATE)] as const] : []),
    ...(ordered ? [[3, fc.constantFrom(...early)] as const] : []),
  );
}

/** Mostly null; always, where the feature is not asked for. */
function sometimes<T>(isAsked: boolean, weight: number, of: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return isAsked ? weighted<T | null>([weight, fc.constant(null)], [1, of]) : fc.constant(null);
}

function nodeGene(choice: Choice, depth: number): fc.Arbitrary<NodeGene> {
  const { ordered, features } = choice;
  const withdraws = ordered && features.has("withdrawal");
  return fc.record({
    shape: weighted<Shape>(
      [6, fc.constant("chain")],
      [6, fc.constant("sibling")],
      [4, fc.constant("leaves")],
      [4, fc.constant("pick")],
      [1, fc.constant("entry")],
    ),
    picks: fc.array(fc.nat(13), { minLength: 1, maxLength: 3 }),
    work: work(choice, depth),
    rule: ruleGene(choice),
    retry,
    edges: fc.array(edgeGene, { minLength: 1, maxLength: 4 }),
    priorities: fc.boolean(),
    position: weighted([3, fc.constant(0)], [1, fc.nat(9)]),
    cancels: sometimes(withdraws, 8, fc.array(fc.nat(13), { maxLength: 2 })),
    cancelsRest: withdraws ? fc.boolean() : fc.constant(false),
    unless: sometimes(ordered && features.has("unless"), 8, fc.nat(13)),
    holds: sometimes(
      features.has("semaphores"),
      6,
      fc.subarray(Object.keys(SEMAPHORES), { minLength: 1 }),
    ).map((held) => held ?? []),
    undone: sometimes(
      features.has("compensation"),
      4,
      weighted<Behaviour>([3, steady], [1, fc.record({ kind: fc.constant("fail"), code, message })]),
    ),
  });
}
