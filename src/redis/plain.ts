/**
 * What the small step knows its way with (lua/step.lua): completed executions of which nothing is special, and claims of such. Pure; what is
 * known of an IR is found out once.
 */
import { ARRIVAL, OUTCOME } from "../token/letters.ts";
import type { IR, IRBody, IREdge, IRNode } from "../workflow/ir/ir.ts";
import { bodyPath, scopePrefix } from "../workflow/ir/scopes.ts";
import type { ClaimEntry, ClaimItem, FinishedEntry, FinishedItem } from "./calls.ts";
import { isCounted } from "./pack.ts";
import { atScope, FIELD, fieldOf, SCOPE } from "./run_state.ts";

const isNone = (list: readonly unknown[] | undefined) => list === undefined || list.length === 0;

/** Nodes of an IR whose edges lead where the small step knows its way. */
const plainNodes = new WeakMap<IR, (boolean | undefined)[]>();

function isPlainNode(ir: IR, index: number, wide: number): boolean {
  let known = plainNodes.get(ir);
  if (known === undefined) {
    known = [];
    plainNodes.set(ir, known);
  }
  known[index] ??= (ir.nodes[index] as IRNode).out.every((edge) => {
    const { exits, enters, to } = ir.edges[edge] as IREdge;
    const target = ir.nodes[to] as IRNode;
    return !exits && isNone(enters) && target.cancels_at !== "fire" && target.in.length <= wide;
  });
  return known[index];
}

/** Does an edge that is not taken skip what it leads to? */
function skips(ir: IR, { node, arrivals }: FinishedItem): boolean {
  if (!arrivals.includes(ARRIVAL.not_taken, 1)) return false;
  return (ir.nodes[node] as IRNode).out.some(
    (edge, index) =>
      arrivals[index + 1] === ARRIVAL.not_taken && ir.nodes[(ir.edges[edge] as IREdge).to]?.in.length === 1,
  );
}

/** Where executions of a body stand: how many components of their scope are up to the item of the map around them. */
interface BodyPlace {
  /** The map node around; -1: none. */
  map: number;
  /** Components of an item's scope. */
  depth: number;
  /** Is the item's scope their own? */
  isItem: boolean;
}

const bodyPlaces = new WeakMap<IR, (BodyPlace | null)[]>();

/** Undefined where the small step does not know its way: in maps within maps, in loops that count. */
function bodyPlace(ir: IR, body: number): BodyPlace | undefined {
  const known = bodyPlaces.get(ir) ?? ir.bodies.map((_body, index) => findPlace(ir, index));
  bodyPlaces.set(ir, known);
  return known[body] ?? undefined;
}

function findPlace(ir: IR, body: number): BodyPlace | null {
  const path = bodyPath(ir, body);
  const maps = path.filter((index) => ir.bodies[index]?.kind === "map");
  if (maps.length > 1 || path.some((index) => ir.bodies[index]?.kind === "loop" && isCounted(ir, index)))
    return null;
  const [map] = maps;
  if (map === undefined) return { map: -1, depth: 0, isItem: false };
  return { map: (ir.bodies[map] as IRBody).node, depth: path.indexOf(map) + 1, isItem: path.at(-1) === map };
}

/** What the script is told of an execution in a body: fields of its counter and map, its item, the map's node and scope. */
export function placeIn(ir: IR, { node, scope }: FinishedItem | ClaimItem) {
  const { map, depth, isItem } = bodyPlace(ir, (ir.nodes[node] as IRNode).body) as BodyPlace;
  if (map < 0) return { counter: "", map: "", item: "", node: "", outer: "" };
  const item = isItem ? scope : scopePrefix(scope, depth);
  const outerScope = scopePrefix(item, depth - 1);
  return {
    counter: `${SCOPE.counter}@${item}`,
    map: fieldOf(FIELD.map, map, outerScope),
    item: isItem ? scope : "",
    node: String(map),
    outer: atScope(outerScope),
  };
}

const isPlainPlace = (ir: IR, { node, scope }: FinishedItem | ClaimItem) =>
  scope === "" || bodyPlace(ir, (ir.nodes[node] as IRNode).body) !== undefined;

const isFirst = ({ attempt, delivery }: FinishedItem | ClaimItem) => attempt === 1 && delivery === 1;

/** May the small step know its way with this finished execution? */
export function isPlainFinish({ item, ir }: FinishedEntry, wide: number): boolean {
  if ("work" in item || item.outcome !== OUTCOME.completed || !isFirst(item)) return false;
  if (item.limited || item.waits || item.withdraws || item.guarded || item.again || item.endsItem)
    return false;
  if (item.blob !== undefined || item.compensation !== undefined || item.keepAt !== undefined) return false;
  if (!isNone(item.unoffered) || Object.keys(item.needs).length > 0) return false;
  return isPlainNode(ir, item.node, wide) && !skips(ir, item) && isPlainPlace(ir, item);
}

export function isPlainClaim({ item, ir }: ClaimEntry): boolean {
  if (!isFirst(item) || item.suspects || item.unoffered !== undefined || !isPlainPlace(ir, item))
    return false;
  return (
    !item.limited &&
    !item.waits &&
    !item.withdraws &&
    !item.guarded &&
    isNone(item.unless) &&
    isNone(item.needs)
  );
}
