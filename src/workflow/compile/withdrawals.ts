/** Which executions a node withdraws: `cancels` names them, `cancel_rest` lets them be found. */

import type { CheckedGraph } from "../check/check.ts";
import { type Faults, quote, reportUnknownNode } from "../faults.ts";
import type { FileNode } from "../file/schema.ts";
import type { Link } from "../graph.ts";
import type { IRNode } from "../ir/ir.ts";
import { LIMITS } from "../limits.ts";
import { type Bodies, BodyMembers, enclosing, isDirectlyIn, isWithin } from "./bodies.ts";
import type { Draft, DraftNode } from "./draft.ts";

interface Withdrawal {
  at: NonNullable<IRNode["cancels_at"]>;
  /** Positions. */
  targets: ReadonlySet<number>;
}

/** By position of the node that withdraws others. */
export type Withdrawals = ReadonlyMap<number, Withdrawal>;

/** Checks and resolves `cancels` and `cancel_rest`. */
export function findWithdrawals(
  draft: Draft,
  checked: CheckedGraph,
  bodies: Bodies,
  faults: Faults,
): Withdrawals {
  const found = new Map<number, Withdrawal>();
  const members = new BodyMembers(bodies);
  let count = 0;
  for (const node of draft.nodes) {
    const { parsed } = node;
    if (parsed === undefined || (parsed.cancels.length === 0 && !parsed.cancel_rest)) continue;
    const targets = parsed.cancel_rest
      ? restOf(node, parsed, checked, bodies, faults)
      : namedBy(node, parsed, { checked, bodies, members }, faults);
    if (targets.size === 0) continue;
    found.set(node.position, { at: parsed.cancel_rest ? "fire" : momentOf(parsed), targets });
    count += targets.size;
    if (count <= LIMITS.withdrawals) continue;
    const message = `the nodes up to here withdraw more than ${LIMITS.withdrawals} others together`;
    faults.add(
      "LIMIT_EXCEEDED",
      node.path,
      message,
      "Name fewer nodes, or put them into a sub-workflow or a map.",
    );
    break;
  }
  return found;
}

const WAITS_FOR_EVENT: ReadonlySet<string> = new Set(["signal", "approval", "wait"]);

function momentOf({ type }: FileNode): Withdrawal["at"] {
  return WAITS_FOR_EVENT.has(type) ? "event" : "done";
}

interface Surroundings {
  checked: CheckedGraph;
  bodies: Bodies;
  members: BodyMembers;
}

function namedBy(
  node: DraftNode,
  file: FileNode,
  { checked, bodies, members }: Surroundings,
  faults: Faults,
): Set<number> {
  const body = bodies.of[node.position] as number;
  const targets = new Set<number>();
  for (const [place, id] of file.cancels.entries()) {
    if (id === "*") {
      for (const member of members.of(body)) targets.add(member);
      continue;
    }
    const path = `${node.path}.cancels[${place}]`;
    const target = checked.positionOf.get(id);
    if (target === undefined) reportUnknownNode(path, id, checked.positionOf, faults);
    else if (target === node.position) {
      faults.add("INVALID_VALUE", path, `the node ${quote(id)} cannot withdraw itself`, "Name other nodes.");
    } else if (!isDirectlyIn(bodies, target, body)) {
      reportOtherBody(node, path, faults);
    } else {
      const inner = bodies.of[target] as number;
      for (const member of inner === body ? [target] : members.of(inner)) targets.add(member);
    }
  }
  targets.delete(node.position);
  return targets;
}

export function reportOtherBody(node: DraftNode, path: string, faults: Faults): void {
  const message = `the node named here does not belong to the body that ${quote(node.id as string)} belongs to`;
  faults.add("NOT_SAME_BODY", path, message, "Name nodes of the same body.");
}

/** The nodes of the join's body from which every path leads to the join, inner loops included. */
function restOf(
  node: DraftNode,
  file: FileNode,
  { graph }: CheckedGraph,
  bodies: Bodies,
  faults: Faults,
): Set<number> {
  const rest = new Set<number>();
  const { trigger_rule: rule } = file;
  if (rule !== "one_success" && typeof rule !== "object") {
    const message =
      "cancel_rest goes with the trigger rules quorum and one_success, which fire before all is decided";
    faults.add(
      "CANCEL_REST_RULE",
      `${node.path}.cancel_rest`,
      message,
      "Set such a trigger_rule, or remove cancel_rest.",
    );
  } else if (file.cancels.length > 0) {
    const message = "cancel_rest and cancels cannot stand at one node: they withdraw at different moments";
    faults.add("CANCEL_REST_RULE", `${node.path}.cancels`, message, "Let another node do one of them.");
  } else if (
    [...enclosing(bodies, bodies.of[node.position] as number)].some(({ entry }) => entry === node.position)
  ) {
    const message = `the branches that lead to ${quote(file.id)} lie outside the loop that begins there`;
    faults.add(
      "CANCEL_REST_RULE",
      `${node.path}.cancel_rest`,
      message,
      "Put a node of its own before the loop.",
    );
  } else {
    const leftOf = new Map<number, number>();
    const waiting = [node.position];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      for (const { from } of graph.in[at] as Link[]) {
        const left = (leftOf.get(from) ?? (graph.out[from] as Link[]).length) - 1;
        leftOf.set(from, left);
        if (left > 0 || outsideOf(bodies, from, node.position)) continue;
        rest.add(from);
        waiting.push(from);
      }
    }
  }
  return rest;
}

/** Does `position` lie outside the innermost body of `join`? */
function outsideOf(bodies: Bodies, position: number, join: number): boolean {
  return !isWithin(bodies, bodies.of[position] as number, bodies.of[join] as number);
}
