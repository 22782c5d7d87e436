/** Finds outputs that are named where they may not be there yet: at or behind nodes that fire before all arrivals are in. */
import type { CheckedGraph } from "./check.ts";
import type { AncestorUse } from "./check_expressions.ts";
import type { Draft } from "./draft.ts";
import type { Link } from "./graph.ts";

/** Ancestors followed in one sweep, as bits. */
const BITS = 32;

/** The uses whose ancestor is not certain to be resolved when its user begins. */
export function findEarlyUses(
  draft: Draft,
  { graph, order }: CheckedGraph,
  uses: readonly AncestorUse[],
): AncestorUse[] {
  const enoughOf = draft.nodes.map(({ parsed, position }) =>
    enoughToFire(parsed?.trigger_rule, (graph.in[position] as Link[]).length),
  );
  if (!enoughOf.some((enough, position) => enough < (graph.in[position] as Link[]).length)) return [];
  const wanted = [...new Set(uses.map(({ target }) => target))];
  const early: AncestorUse[] = [];
  for (let first = 0; first < wanted.length; first += BITS) {
    const bitOf = new Map(wanted.slice(first, first + BITS).map((target, bit) => [target, 1 << bit]));
    const resolved = new Int32Array(graph.size);
    for (const position of order as number[]) {
      const links = graph.in[position] as Link[];
      const arrived = links.map((link) => (resolved[link.from] as number) | (bitOf.get(link.from) ?? 0));
      resolved[position] = certain(arrived, enoughOf[position] as number);
    }
    for (const use of uses) {
      const bit = bitOf.get(use.target);
      if (bit !== undefined && ((resolved[use.by] as number) & bit) === 0) early.push(use);
    }
  }
  return early;
}

/** Number of arrivals that may make a node fire. */
function enoughToFire(rule: unknown, fanIn: number): number {
  if (rule === "one_success" || rule === "one_failed") return Math.min(1, fanIn);
  return typeof rule === "object" && rule !== null ? (rule as { quorum: number }).quorum : fanIn;
}

/** The bits that are set in any `enough` of the masks, whichever they are. */
function certain(masks: readonly number[], enough: number): number {
  if (masks.length === 0) return 0;
  if (enough === masks.length) return masks.reduce((all, mask) => all | mask, 0);
  if (enough === 1) return masks.reduce((all, mask) => all & mask, -1);
  const needed = masks.length - enough + 1;
  let result = 0;
  for (let bit = 0; bit < BITS; bit++) {
    const flag = 1 << bit;
    if (masks.filter((mask) => (mask & flag) !== 0).length >= needed) result |= flag;
  }
  return result;
}
