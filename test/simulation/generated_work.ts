/** Random work of nodes: what each type does, and the bodies of those that have one. */
import fc from "fast-check";
import type { Json, JsonObject } from "./expression.ts";
import {
  anyReference,
  completeWhen,
  condition,
  filtering,
  transformed,
  until,
} from "./generated_expressions.ts";
import { behaviour, scored, smallInt, weighted } from "./generated_values.ts";
import type { Adaptive, NodeGene, SignalGene, WorkGene } from "./genes.ts";
import type { Behaviour, MapSignal, Work } from "./model.ts";

/** What the workflows may make use of, apart from what all do. */
export type Feature =
  | "loops"
  | "rules"
  | "maps"
  | "earlyCompletion"
  | "openMaps"
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
  "earlyCompletion",
  "openMaps",
  "waits",
  "signals",
  "children",
  "withdrawal",
  "compensation",
  "semaphores",
  "unless",
]);

export interface Choice {
  ordered: boolean;
  features: ReadonlySet<Feature>;
}

/** Genes of nodes whose bodies nest no deeper than told. */
type NodeGeneOf = (choice: Choice, depth: number) => fc.Arbitrary<NodeGene>;

const plainWork: fc.Arbitrary<WorkGene> = weighted<WorkGene>(
  [40, fc.record({ kind: fc.constant("function"), behaviour })],
  [3, fc.constant({ kind: "parallel", work: { type: "parallel" } })],
  [
    20,
    fc
      .constantFrom<Work>(
        { type: "conditional" },
        { type: "conditional", mode: "all" },
        { type: "conditional", mode: "first" },
      )
      .map((work) => ({ kind: "conditional", work })),
  ],
  [3, fc.record({ kind: fc.constant("transform"), expression: transformed })],
  [20, filtering.map((gene) => ({ kind: "filter", ...gene }))],
  [16, fc.constant({ kind: "aggregate", work: { type: "aggregate", strategy: "coalesce" } })],
  [
    14,
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
const signalWork: fc.Arbitrary<SignalGene> = fc.record({
  kind: fc.constant("signal"),
  type: fc.constantFrom("signal", "approval"),
  answer,
  deadline: fc.constantFrom("none", "short", "ample"),
  transient: weighted([2, fc.constant(false)], [1, fc.constant(true)]),
});
const calledByLoop: fc.Arbitrary<Behaviour | null> = weighted<Behaviour | null>(
  [3, fc.constant(null)],
  [1, behaviour],
);
const maybePick: fc.Arbitrary<number | number[] | null> = weighted<number | number[] | null>(
  [3, fc.constant(null)],
  [3, fc.nat(9)],
  [7, fc.array(fc.nat(9), { minLength: 1, maxLength: 3 })],
  [1, fc.constant([])],
);

/** Work of all kinds; bodies nest no deeper than told. */
export function work(choice: Choice, depth: number, nodeGene: NodeGeneOf): fc.Arbitrary<WorkGene> {
  const { features } = choice;
  const when = <T>(feature: Feature, ...choices: T[]): T[] => (features.has(feature) ? choices : []);
  const body = (minLength: number): fc.Arbitrary<NodeGene[]> =>
    fc.array(nodeGene(choice, depth - 1), { minLength, maxLength: 3, size: "max" });
  const nesting =
    depth === 0
      ? []
      : [
          ...when<readonly [number, fc.Arbitrary<WorkGene>]>("loops", [9, loopWork(body(0))]),
          ...when<readonly [number, fc.Arbitrary<WorkGene>]>("maps", [7, mapWork(body(1), choice)]),
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
    [48, plainWork],
    ...nesting,
    ...when<readonly [number, fc.Arbitrary<WorkGene>]>(
      "waits",
      [
        2,
        fc
          .integer({ min: 0, max: 20 })
          .map((duration_ms): WorkGene => ({ kind: "wait", work: { type: "wait", duration_ms } })),
      ],
      [2, until.map((of): WorkGene => ({ kind: "until", until: of }))],
    ),
    ...when<readonly [number, fc.Arbitrary<WorkGene>]>("signals", [4, signalWork]),
  );
}

/** A loop that may go on for ever has a condition that ends it. */
function loopWork(body: fc.Arbitrary<NodeGene[]>): fc.Arbitrary<WorkGene> {
  return fc.record({
    kind: fc.constant("loop"),
    body,
    times: fc.integer({ min: 1, max: 3 }),
    bounded: weighted([3, fc.constant(true)], [1, fc.constant(false)]),
    condition: weighted<Adaptive | null>([3, fc.constant(null)], [2, condition]),
    breaks: maybePick,
    timesOut: maybePick,
    explicit: fc.boolean(),
    edgeBack: fc.boolean(),
    calls: calledByLoop,
  });
}

function mapWork(body: fc.Arbitrary<NodeGene[]>, { ordered, features }: Choice): fc.Arbitrary<WorkGene> {
  return fc.record({
    kind: fc.constant("map"),
    body,
    items: weighted<Json[] | null>([10, fc.array(smallInt, { maxLength: 4 })], [1, fc.constant(null)]),
    fromData: fc.boolean(),
    expression: anyReference,
    asChild: features.has("children")
      ? weighted([4, fc.constant(false)], [1, fc.constant(true)])
      : fc.constant(false),
    maxConcurrency: weighted<number | null>([2, fc.constant(null)], [1, fc.integer({ min: 1, max: 2 })]),
    tolerated: weighted([1, fc.constant(0)], [1, fc.integer({ min: 1, max: 3 })]),
    completeWhen: sometimes(ordered && features.has("earlyCompletion"), 1, completeWhen),
    signals: sometimes(features.has("openMaps"), 2, mapSignals(ordered)),
  });
}

/** The last one ends the map. */
function mapSignals(ordered: boolean): fc.Arbitrary<MapSignal[]> {
  const added = fc.record({ items: fc.array(smallInt, { maxLength: 2 }) });
  const last = fc
    .tuple(
      added,
      ordered ? weighted([2, fc.constant("close")], [1, fc.constant("complete")]) : fc.constant("close"),
    )
    .map(([signal, how]): MapSignal => ({ ...signal, [how]: true }));
  return fc.tuple(fc.array(added, { maxLength: 2 }), last).map(([before, end]) => [...before, end]);
}

/** Mostly null; always, where the feature is not asked for. */
export function sometimes<T>(isAsked: boolean, weight: number, of: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return isAsked ? weighted<T | null>([weight, fc.constant(null)], [1, of]) : fc.constant(null);
}
