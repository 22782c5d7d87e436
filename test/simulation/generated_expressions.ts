/** Random expressions that adapt themselves to the place where they stand. */
import fc from "fast-check";
import {
  type CompareOperator,
  constantOf,
  type Expression,
  type Json,
  type Reference,
} from "./expression.ts";
import {
  failureCodes,
  integers,
  items,
  scored,
  scoredItems,
  smallInt,
  weighted,
  word,
} from "./generated_values.ts";
import type { Adaptive, Place } from "./genes.ts";

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
  const several = isData && place.isGiven !== true && place.predecessors.length > 1 && pick % 5 > 0;
  const prefix = several ? [place.predecessors[pick % place.predecessors.length]!] : [];
  return { kind: "field", of: hasOutput ? "output" : "data", path: [...prefix, ...path] };
}

const scoreReference = reference(fc.constant(["score"]));
export const anyReference = reference(
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
  [8, fc.constantFrom(constant(true), constant(false))],
  [8, compared(scoreReference, smallInt)],
  [1, compared(reference(fc.constant([])), smallInt)],
  [1, compared(reference(fc.constant(["label"])), word)],
  [1, compared(reference(fc.constant(["missing"])), smallInt)],
  [4, hasField],
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

export const condition: fc.Arbitrary<Adaptive> = weighted<Adaptive>(
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

export const transformed: fc.Arbitrary<Adaptive> = weighted<Adaptive>(
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

/** The first of the predecessors' outputs that came; the last one's, whether it came or not. */
const whatCame: Adaptive = ({ predecessors }) => {
  const outputs = predecessors.map((id): Reference => ({ kind: "field", of: "data", path: [id] }));
  const asked = outputs.slice(0, -1);
  return asked.reduceRight<Expression>(
    (otherwise, so) => ({ kind: "choose", when: { kind: "has", of: so }, so, otherwise }),
    outputs.at(-1)!,
  );
};

/** What replaces a node's data. */
export const given: fc.Arbitrary<Adaptive> = weighted<Adaptive>(
  [3, fc.oneof(smallInt, scored, items).map((value) => () => constantOf(value))],
  [1, transformed],
  [
    6,
    anyReference.map(
      (other) => (place: Place) => (place.predecessors.length > 1 ? whatCame(place) : other(place)),
    ),
  ],
);

const theIndex: Adaptive = () => ({ kind: "field", of: "index", path: [] });
const ofItem =
  (path: string[]): Adaptive =>
  () => ({ kind: "field", of: "item", path });
/** A filter's condition with the list that its predecessor answers; null: whatever that would answer. */
export const filtering: fc.Arbitrary<{ condition: Adaptive; list: Json[] | null }> = weighted(
  [3, fc.record({ condition: compared(fc.constant(ofItem([])), smallInt), list: integers })],
  [3, fc.record({ condition: compared(fc.constant(ofItem(["score"])), smallInt), list: scoredItems })],
  [1, fc.record({ condition: compared(fc.constant(theIndex), fc.nat(3)), list: items })],
  [1, fc.record({ condition: compared(fc.constant(ofItem(["score"])), smallInt), list: items })],
  [1, fc.record({ condition, list: weighted<Json[] | null>([1, fc.constant(null)], [1, items]) })],
);

const count = (of: "completed" | "failed" | "total"): Expression => ({ kind: "field", of, path: [] });
const least = (left: Expression, value: number): Expression => {
  return { kind: "compare", operator: ">=", left, right: { kind: "literal", value } };
};
const few = fc.integer({ min: 1, max: 3 });

/** Conditions about the items of a map, some of which have no value. */
export const completeWhen: fc.Arbitrary<Expression> = weighted<Expression>(
  [5, few.map((value) => least(count("completed"), value))],
  [2, few.map((value) => least({ kind: "add", left: count("completed"), right: count("failed") }, value))],
  [2, few.map((value) => least(count("failed"), value))],
  [1, few.map((value) => least(count("total"), value + 2))],
  [
    1,
    fc.constant<Expression>({
      kind: "compare",
      operator: "==",
      left: count("completed"),
      right: count("total"),
    }),
  ],
  [
    2,
    fc.constantFrom<Expression>(count("failed"), least({ kind: "field", of: "input", path: ["missing"] }, 1)),
  ],
);

const inputInstant: Adaptive = () => ({ kind: "field", of: "input", path: ["at"] });

/** Instants to wait for, and what is none. */
export const until: fc.Arbitrary<string | Adaptive> = weighted<string | Adaptive>(
  [2, fc.constantFrom("2001-01-01T00:00:00Z", "2001-01-01T00:00:00.5+02:00")],
  [5, fc.constant(inputInstant)],
  [2, fc.constant(constant("2001-01-01T00:00:00Z"))],
  [2, fc.constantFrom(constant("2001-01-01"), constant("soon"))],
  [1, anyReference],
);
