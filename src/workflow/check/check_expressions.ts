/** Checks every expression of a workflow: does it compile where it stands, and may it name the nodes it names? */

import { type Examination, type ExpressionKind, examineExpression } from "../cel/cel.ts";
import { WorkBudget } from "../cel/work.ts";
import { type Bodies, enclosing, isWithin, NO_BODY, outerBodyOf } from "../compile/bodies.ts";
import { type Draft, type DraftEdge, type DraftNode, isObject } from "../compile/draft.ts";
import { didYouMean, type Faults, quote } from "../faults.ts";
import { NODE_EXPRESSIONS, type NodeExpression } from "../file/node_expressions.ts";
import { conditionKind } from "../ir/programs.ts";
import { areAncestors } from "./ancestors.ts";
import type { CheckedGraph } from "./check.ts";
import { checkSecretNames, type TemplateExpression, templateExpressions } from "./check_templates.ts";

/** What the expressions of a workflow need of other nodes, as positions in the draft, and which of them are constant. */
export interface Needs {
  /** By node: nodes named by its own expressions and by the conditions of its outgoing edges, itself excluded. */
  ofNodes: Set<number>[];
  ofOutput: Set<number>;
  /** Each use of an ancestor's output. */
  uses: AncestorUse[];
  /** By JSON path: the value of a condition that names nothing. */
  constants: Map<string, boolean>;
}

export interface AncestorUse {
  path: string;
  target: number;
  /** The node of the target's own list of nodes that names it, or in whose body it is named. */
  by: number;
}

interface Place {
  source: string;
  kind: ExpressionKind;
  path: string;
  /** The node whose ancestors may be named; undefined for the workflow's output, which may name all. */
  owner: number | undefined;
  /** An outgoing condition may also name the node itself. */
  mayNameOwner: boolean;
  /** Set for an expression in a template. */
  template?: TemplateExpression;
}

interface Reference {
  place: Place;
  id: string;
  target: number;
}

/** Checks all expressions; each distinct one is compiled once. Without `bodies` what depends on them is not checked. */
export function checkExpressions(
  draft: Draft,
  checked: CheckedGraph,
  bodies: Bodies | undefined,
  faults: Faults,
): Needs {
  const examined = new Map<string, Examination>();
  const budget = new WorkBudget();
  const references: Reference[] = [];
  const constants = new Map<string, boolean>();
  for (const place of placesOf(draft, checked, faults)) {
    const key = `${place.kind} ${place.source}`;
    let examination = examined.get(key);
    if (examination === undefined) {
      examination = examineExpression(place.source, place.kind, budget);
      examined.set(key, examination);
    }
    if (!examination.ok) {
      const prefix = place.template?.prefix ?? "";
      for (const { code, message, hint } of examination.problems)
        faults.add(code, place.path, prefix + message, hint);
      continue;
    }
    if (examination.constant !== undefined) constants.set(place.path, examination.constant);
    checkVariables(place, examination.references.variables, bodies, faults);
    if (place.template !== undefined)
      checkSecretNames(examination.references.secretNames, place.template, faults);
    for (const id of examination.references.nodeIds) {
      const target = checked.positionOf.get(id);
      if (target === undefined) reportUnknown(place, id, checked, faults);
      else references.push({ place, id, target });
    }
  }
  const uses = checkAncestors(checkReach(references, draft, bodies, faults), draft, checked, faults);
  return { ...collectNeeds(references, draft.nodes.length), uses, constants };
}

function* placesOf(draft: Draft, checked: CheckedGraph, faults: Faults): Generator<Place> {
  for (const node of draft.nodes) {
    if (typeof node.raw.input === "string") {
      const place = { source: node.raw.input, path: `${node.path}.input`, owner: node.position };
      yield { ...place, kind: "node_input", mayNameOwner: false };
    }
    for (const expression of NODE_EXPRESSIONS) {
      const place = nodePlace(node, expression);
      if (place !== undefined) yield place;
    }
    for (const template of templateExpressions(node, faults)) {
      const { source, kind, path } = template;
      yield { source, kind, path, owner: node.position, mayNameOwner: false, template };
    }
  }
  for (const edge of draft.edges) {
    const place = edgePlace(edge, checked);
    if (place !== undefined) yield place;
  }
  if (typeof draft.raw.output === "string") {
    yield {
      source: draft.raw.output,
      kind: "output",
      path: "$.output",
      owner: undefined,
      mayNameOwner: false,
    };
  }
}

function nodePlace(node: DraftNode, { type, property, kind, isLiteral }: NodeExpression): Place | undefined {
  if (node.raw.type !== type || !isObject(node.raw.config)) return undefined;
  const source = node.raw.config[property];
  if (typeof source !== "string" || isLiteral?.(source)) return undefined;
  return { source, kind, path: `${node.path}.config.${property}`, owner: node.position, mayNameOwner: false };
}

function edgePlace(edge: DraftEdge, checked: CheckedGraph): Place | undefined {
  const { condition, on } = edge.raw;
  if (typeof condition !== "string") return undefined;
  const kind = on === "failure" || on === "always" ? conditionKind(on) : conditionKind("success");
  const owner = edge.from === undefined ? undefined : checked.positionOf.get(edge.from);
  return { source: condition, kind, path: `${edge.path}.condition`, owner, mayNameOwner: true };
}

function reportUnknown(place: Place, id: string, checked: CheckedGraph, faults: Faults): void {
  const hint = faults.isFull
    ? ""
    : didYouMean(id, checked.positionOf.keys(), "Name a node of this workflow.");
  faults.add("NODE_REFERENCE_UNKNOWN", place.path, `nodes[${quote(id)}]: there is no such node`, hint);
}

/** `loop`, `item` and `index` are there only inside a body. */
function checkVariables(
  place: Place,
  variables: readonly string[],
  bodies: Bodies | undefined,
  faults: Faults,
): void {
  if (bodies === undefined || place.owner === undefined) return;
  const around = new Set<string>();
  for (const { kind } of enclosing(bodies, bodies.of[place.owner] as number)) around.add(kind);
  const report = (name: string, kind: string) => {
    const message = `${name} has a value only inside the body of a ${kind}`;
    faults.add(
      "VARIABLE_OUTSIDE_BODY",
      place.path,
      message,
      `Name it in the nodes and edges of a ${kind}'s body.`,
    );
  };
  if (variables.includes("loop") && !around.has("loop")) report("loop", "loop");
  if (place.kind === "filter" || around.has("map")) return;
  for (const name of ["item", "index"]) if (variables.includes(name)) report(name, "map");
}

/** Reports references into bodies, and returns the others. */
function checkReach(
  references: readonly Reference[],
  draft: Draft,
  bodies: Bodies | undefined,
  faults: Faults,
): Reference[] {
  return references.filter(({ place, id, target }) => {
    const from = place.owner === undefined ? NO_BODY : (bodies?.of[place.owner] as number);
    const isInReach =
      bodies === undefined
        ? hoisted(place, target, draft) !== undefined
        : isWithin(bodies, from, outerBodyOf(bodies, target));
    if (isInReach || target === place.owner) return true;
    const message = `${quote(id)} stands inside the body of a loop or map, where this does not: it has many outputs, or none`;
    const hint = "Name the loop or map node itself, whose output is that of the whole.";
    faults.add("NODE_REFERENCE_IN_BODY", place.path, message, hint);
    return false;
  });
}

/** The node of the target's own list of nodes that stands for a place: its owner, or the map around it. */
function hoisted(place: Place, target: number, draft: Draft): number | undefined {
  const { container } = draft.nodes[target] as DraftNode;
  if (place.owner === undefined) return container === -1 ? target : undefined;
  let at: DraftNode | undefined = draft.nodes[place.owner];
  while (at !== undefined && at.container !== container) at = draft.nodes[at.container];
  return at?.position;
}

function checkAncestors(
  references: readonly Reference[],
  draft: Draft,
  checked: CheckedGraph,
  faults: Faults,
): AncestorUse[] {
  // On a cycle everything is everything's ancestor; the cycle is the fault.
  if (checked.order === undefined) return [];
  const asked = references.filter(
    ({ place, target }) => place.owner !== undefined && !(place.mayNameOwner && target === place.owner),
  );
  const uses = asked.map(({ place, target }) => {
    return { path: place.path, target, by: hoisted(place, target, draft) as number };
  });
  const answers = areAncestors(
    checked.graph,
    checked.order,
    uses.map(({ target, by }) => ({ ancestor: target, node: by })),
  );
  for (const [index, { place, id, target }] of asked.entries()) {
    if (answers[index]) continue;
    const owner = quote(draft.nodes[place.owner as number]?.id ?? "?");
    if (target === place.owner) {
      const message = `nodes[${quote(id)}].output is the output of this very node, which it does not have yet`;
      faults.add("NODE_REFERENCE_NOT_ANCESTOR", place.path, message, "Use data, the node's input.");
      continue;
    }
    const message = `${quote(id)} is not an ancestor of ${owner}: it may not have finished when this is evaluated, so the value would depend on a race`;
    faults.add(
      "NODE_REFERENCE_NOT_ANCESTOR",
      place.path,
      message,
      `Lead a path of edges from ${quote(id)} to ${owner}.`,
    );
  }
  return uses;
}

function collectNeeds(references: readonly Reference[], size: number): Pick<Needs, "ofNodes" | "ofOutput"> {
  const needs = {
    ofNodes: Array.from({ length: size }, () => new Set<number>()),
    ofOutput: new Set<number>(),
  };
  for (const { place, target } of references) {
    if (place.kind === "output") needs.ofOutput.add(target);
    else if (place.owner !== undefined && place.owner !== target) needs.ofNodes[place.owner]?.add(target);
  }
  return needs;
}
