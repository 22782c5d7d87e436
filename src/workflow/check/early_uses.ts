/** Finds outputs that are named where they may not be there yet: at or behind nodes that fire before all arrivals are in. */

import type { Draft } from "../compile/draft.ts";
import { type Link, reachableFrom } from "../graph.ts";
import type { CheckedGraph } from "./check.ts";
import type { AncestorUse } from "./check_expressions.ts";

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
  const starts = draft.nodes.flatMap(({ position }) =>
    (enoughOf[position] as number) < (graph.in[position] as Link[]).length ? [position] : [],
  );
  const isBehind = reachableFrom(graph, starts);
  const open = uses.filter(({ by }) => isBehind[by]);
  const wanted = [...new Set(open.map(({ target }) => target))];
  const early: AncestorUse[] = [];
  for (let first = 0; first < wanted.length; first += BITS) {
    const masks: Masks = { resolved: new Int32Array(graph.size), bitOf: new Int32Array(graph.size) };
    const { resolved, bitOf } = masks;
    for (const [bit, target] of wanted.slice(first, first + BITS).entries()) bitOf[target] = 1 << bit;
    for (const position of order as number[])
      resolved[position] = certain(graph.in[position] as Link[], enoughOf[position] as number, masks);
    for (const use of open) {
      const bit = bitOf[use.target] as number;
      if (bit !== 0 && ((resolved[use.by] as number) & bit) === 0) early.push(use);
    }
  }
  return early;
}

/** Number of arrivals that may make a node fire. */
function enoughToFire(rule: unknown, fanIn: number): number {
  if (rule === "one_success" || rule === "one_failed") return Math.min(1, fanIn);
  return typeof rule === "object" && rule !== null ? (rule as { quorum: number }).quorum : fanIn;
}

interface Masks {
  /** By position: ancestors that are certain to be resolved when the node fires. */
  resolved: Int32Array;
  /** By position: the bit of an ancestor that is asked for, else 0. */
  bitOf: Int32Array;
}

/** What any `enough` of the links bring for certain, whichever they are. */
function certain(links: readonly Link[], enough: number, masks: Masks): number {
  let all = 0;
  for (const link of links) all |= broughtBy(link, masks);
  if (enough === links.length || all === 0) return all;
  let result = 0;
  for (let bit = 0; bit < BITS; bit++) {
    const flag = 1 << bit;
    if ((all & flag) === 0) continue;
    let count = 0;
    for (const link of links) if ((broughtBy(link, masks) & flag) !== 0) count += 1;
    if (count > links.length - enough) result |= flag;
  }
  return result;
}

function broughtBy({ from }: Link, { resolved, bitOf }: Masks): number {
  return (resolved[from] as number) | (bitOf[from] as number);
}
