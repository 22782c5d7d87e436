/** Checks what a node says about when it may run: `holds` and `unless`. */

import type { Bodies } from "../compile/bodies.ts";
import type { Draft } from "../compile/draft.ts";
import { reportOtherBody } from "../compile/withdrawals.ts";
import { didYouMean, type Faults, quote, reportUnknownNode } from "../faults.ts";
import { areAncestors } from "./ancestors.ts";
import type { CheckedGraph } from "./check.ts";

/** By position of a node: positions of the nodes that its `unless` names. */
export type Unless = ReadonlyMap<number, ReadonlySet<number>>;

/** Every semaphore that is held is declared. */
export function checkSemaphores(draft: Draft, faults: Faults): void {
  if (draft.header === undefined) return;
  const declared = Object.keys(draft.header.semaphores);
  for (const { parsed, path } of draft.nodes) {
    for (const [place, name] of (parsed?.holds ?? []).entries()) {
      if (declared.includes(name)) continue;
      const hint = didYouMean(name, declared, `Declare it: "semaphores": { ${quote(name)}: 1 }.`);
      faults.add(
        "UNKNOWN_SEMAPHORE",
        `${path}.holds[${place}]`,
        `there is no semaphore ${quote(name)}`,
        hint,
      );
    }
  }
}

/** Checks and resolves `unless`. */
export function findUnless(
  draft: Draft,
  checked: CheckedGraph,
  order: readonly number[],
  bodies: Bodies,
  faults: Faults,
): Unless {
  const found = new Map<number, Set<number>>();
  const questions: { ancestor: number; node: number; path: string }[] = [];
  for (const node of draft.nodes) {
    for (const [place, id] of (node.parsed?.unless ?? []).entries()) {
      const path = `${node.path}.unless[${place}]`;
      const target = checked.positionOf.get(id);
      if (target === undefined) {
        reportUnknownNode(path, id, checked.positionOf, faults);
        continue;
      }
      if (target === node.position) {
        faults.add("INVALID_VALUE", path, `the node ${quote(id)} cannot wait on itself`, "Name other nodes.");
        continue;
      }
      if (bodies.of[target] !== bodies.of[node.position]) {
        reportOtherBody(node, path, faults);
        continue;
      }
      questions.push({ ancestor: target, node: node.position, path });
      const targets = found.get(node.position);
      if (targets === undefined) found.set(node.position, new Set([target]));
      else targets.add(target);
    }
  }
  const answers = areAncestors(checked.graph, order, questions);
  for (const [index, { ancestor, path }] of questions.entries()) {
    if (!answers[index]) continue;
    const message = `${quote(draft.nodes[ancestor]?.id as string)} is an ancestor: it is decided before this node begins`;
    faults.add("UNLESS_ANCESTOR", path, message, "Put a condition on an edge instead.");
  }
  return found;
}
