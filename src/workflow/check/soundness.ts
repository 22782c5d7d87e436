/**
 * What a workflow says without contradiction and still cannot mean: nodes that never run, joins that are never met, loops
 * that never end, values that depend on a race. What follows from the graph alone is a fault; what hangs on a condition that
 * happens to be constant, or may be meant, is a warning. Needs a draft without faults.
 */

import type { Draft, DraftEdge, DraftNode } from "../compile/draft.ts";
import { type Faults, quote } from "../faults.ts";
import type { LoopConfig } from "../file/node_configs.ts";
import type { FileEdge, FileNode } from "../file/schema.ts";
import type { Link } from "../graph.ts";
import type { CheckedGraph } from "./check.ts";
import type { Needs } from "./check_expressions.ts";
import { findEarlyUses } from "./early_uses.ts";
import { choicesOf, findExclusiveJoins, neededOf, takesOne } from "./exclusive_joins.ts";
import { warnOfPartialJoins } from "./partial_joins.ts";

interface Findings {
  faults: Faults;
  warnings: Faults;
}

export function checkSoundness(draft: Draft, checked: CheckedGraph, needs: Needs, findings: Findings): void {
  const { constants } = needs;
  checkLoops(draft, constants, findings);
  warnOfConstants(draft, constants, findings.warnings);
  warnOfSemaphores(draft, findings.warnings);
  const never = edgesNeverTaken(draft, checked, constants, findings.warnings);
  checkExclusiveJoins(draft, checked, findings.faults);
  checkFailureRules(draft, checked, findings.faults);
  warnOfNodes(draft, checked, never, findings.warnings);
  warnOfPartialJoins(draft, checked, findings.warnings);
  for (const { path, target, by } of findEarlyUses(draft, checked, needs.uses)) {
    const [ancestor, node] = [idOf(draft, target), idOf(draft, by)];
    const message = `${ancestor} may not have finished when this is evaluated: ${node} does not wait for it, as a node at or before it fires early; the output is null then`;
    findings.warnings.add(
      "EARLY_REFERENCE",
      path,
      message,
      `Use a trigger rule that waits for all, or take what is needed from data.`,
    );
  }
}

function idOf(draft: Draft, position: number): string {
  return quote(draft.nodes[position]?.id as string);
}

function loopsOf(draft: Draft): { node: DraftNode; config: LoopConfig; path: string }[] {
  return draft.nodes
    .filter((node) => node.parsed?.type === "loop")
    .map((node) => ({
      node,
      config: node.parsed?.config as LoopConfig,
      path: `${node.path}.config.condition`,
    }));
}

function checkLoops(
  draft: Draft,
  constants: ReadonlyMap<string, boolean>,
  { faults, warnings }: Findings,
): void {
  for (const { node, config, path } of loopsOf(draft)) {
    const id = quote(node.id as string);
    const isTrue = config.condition === undefined || constants.get(path) === true;
    if (!isTrue) continue;
    if (config.max_iterations === undefined) {
      const why = config.condition === undefined ? "it has no condition" : "its condition is always true";
      const message = `the loop ${id} never ends: ${why}, and no max_iterations`;
      faults.add(
        "LOOP_ENDLESS",
        config.condition === undefined ? node.path : path,
        message,
        "Set config.max_iterations, or a condition that becomes false.",
      );
    } else if (config.timeout_path === undefined) {
      const message = `the loop ${id} always fails (LOOP_EXHAUSTED): nothing ends it before max_iterations, and it has no timeout_path`;
      warnings.add(
        "LOOP_ALWAYS_FAILS",
        node.path,
        message,
        "Set config.timeout_path to the node that goes on, or a condition.",
      );
    } else if (config.break_path !== undefined) {
      const message = `the loop ${id} never takes break_path: nothing makes its condition false`;
      warnings.add(
        "EDGE_NEVER_TAKEN",
        `${node.path}.config.break_path`,
        message,
        "Give it a condition, or remove break_path.",
      );
    }
  }
}

function warnOfConstants(draft: Draft, constants: ReadonlyMap<string, boolean>, warnings: Faults): void {
  const onceMore = new Set(loopsOf(draft).map(({ path }) => path));
  for (const [path, value] of constants) {
    // Always going round is told with the loop.
    if (value && onceMore.has(path)) continue;
    const message = `this condition is always ${value}: it names nothing that could change it`;
    warnings.add(
      "CONDITION_CONSTANT",
      path,
      message,
      value ? "Leave it out." : "Leave out what depends on it.",
    );
  }
}

function warnOfSemaphores(draft: Draft, warnings: Faults): void {
  const held = new Set(draft.nodes.flatMap((node) => node.parsed?.holds ?? []));
  for (const name of Object.keys(draft.header?.semaphores ?? {})) {
    if (held.has(name)) continue;
    warnings.add(
      "SEMAPHORE_UNUSED",
      `$.semaphores.${name}`,
      `no node holds the semaphore ${quote(name)}`,
      "Name it in a node's holds, or remove it.",
    );
  }
}

/** Places of the edges that constants rule out. Those that other edges rule out are reported here. */
function edgesNeverTaken(
  draft: Draft,
  { graph, waysOutOf }: CheckedGraph,
  constants: ReadonlyMap<string, boolean>,
  warnings: Faults,
): Set<number> {
  const never = new Set<number>();
  const report = ({ path, position }: DraftEdge, reason: string, hint: string) => {
    never.add(position);
    warnings.add("EDGE_NEVER_TAKEN", path, `this edge is never taken: ${reason}`, hint);
  };
  if (constants.size > 0)
    for (const { path, position } of draft.edges)
      if (constants.get(`${path}.condition`) === false) never.add(position);
  for (const node of draft.nodes) {
    const file = node.parsed as FileNode;
    const links = graph.out[node.position] as Link[];
    if (takesOne(file)) {
      const edges = successEdges(draft, links);
      const sure = edges.findIndex(({ path }) => constants.get(`${path}.condition`) === true);
      const reason = `the condition of ${edges[sure]?.path}, which is looked at before, is always true`;
      for (const edge of sure === -1 ? [] : edges.slice(sure + 1))
        report(edge, reason, "Change the priorities, or remove it.");
    }
    const waysOut = waysOutOf.get(node.position);
    if (waysOut?.break === undefined) continue;
    for (const edge of successEdges(draft, links)) {
      if (waysOut.break.includes(edge.position) || waysOut.timeout?.includes(edge.position)) continue;
      const reason = `with break_path the loop ${quote(file.id)} takes the edges that it names, or those of timeout_path`;
      report(edge, reason, "Name its node in break_path, or use on: always.");
    }
  }
  return never;
}

/** By (priority, file order), those without a condition last: the order in which a `conditional` looks at them. */
function successEdges(draft: Draft, links: readonly Link[]): DraftEdge[] {
  const isDefault = ({ parsed }: DraftEdge) => (parsed?.condition === undefined ? 1 : 0);
  return links
    .map((link) => draft.edges[link.edge] as DraftEdge)
    .filter(({ parsed }) => parsed?.on === "success")
    .sort(
      (a, b) =>
        isDefault(a) - isDefault(b) ||
        (a.parsed as FileEdge).priority - (b.parsed as FileEdge).priority ||
        a.position - b.position,
    );
}

function checkExclusiveJoins(draft: Draft, checked: CheckedGraph, faults: Faults): void {
  for (const { join, needed, atMost, chooser } of findExclusiveJoins(
    draft,
    checked,
    choicesOf(draft, checked),
  )) {
    const { path } = draft.nodes[join] as DraftNode;
    const fanIn = (checked.graph.in[join] as Link[]).length;
    const message = `${idOf(draft, join)} can never run: it needs ${needed} of its ${fanIn} edges taken, but no more than ${atMost} ever are together, as ${idOf(draft, chooser)} takes only one of its branches`;
    faults.add(
      "JOIN_NEVER_MET",
      `${path}.trigger_rule`,
      message,
      "Use none_failed_min_one_success or one_success, or a smaller quorum.",
    );
  }
}

/** Rules that wait for a failure: some edge (all_failed: every edge) must be able to bring one. */
function checkFailureRules(draft: Draft, { graph, order }: CheckedGraph, faults: Faults): void {
  /** By position: its unhandled failure, or that of an ancestor, can travel along its edges. */
  const passesOn = new Array<{ own: boolean; upstream: boolean }>(graph.size);
  const canFail = (link: Link) => {
    const { own, upstream } = passesOn[link.from] as { own: boolean; upstream: boolean };
    return own || (upstream && draft.edges[link.edge]?.parsed?.on !== "failure");
  };
  for (const position of order as number[]) {
    const node = draft.nodes[position] as DraftNode;
    const links = graph.in[position] as Link[];
    const rule = node.parsed?.trigger_rule;
    passesOn[position] = {
      own: !isAlwaysHandled(draft, graph.out[position] as Link[]),
      upstream: !NEVER_SKIPPED_BY_FAILURE.has(rule) && links.some(canFail),
    };
    if (links.length === 0 || (rule !== "one_failed" && rule !== "all_failed")) continue;
    if (rule === "one_failed" ? links.some(canFail) : links.every(canFail)) continue;
    const message = `${quote(node.id as string)} can never run: ${rule === "one_failed" ? "no edge" : "not every edge"} that leads to it can bring a failure; a failure that an edge "on": "failure" or "always" takes is handled`;
    faults.add(
      "JOIN_NEVER_MET",
      `${node.path}.trigger_rule`,
      message,
      'Lead an edge "on": "success" to it, or leave out the rule and keep the failure edge.',
    );
  }
}

const NEVER_SKIPPED_BY_FAILURE: ReadonlySet<unknown> = new Set(["all_done", "one_failed", "all_failed"]);

function isAlwaysHandled(draft: Draft, links: readonly Link[]): boolean {
  return links.some((link) => {
    const edge = draft.edges[link.edge]?.parsed as FileEdge;
    return edge.on !== "success" && edge.condition === undefined;
  });
}

function warnOfNodes(
  draft: Draft,
  { graph }: CheckedGraph,
  never: ReadonlySet<number>,
  warnings: Faults,
): void {
  if (never.size === 0) return;
  for (const node of draft.nodes) {
    const links = graph.in[node.position] as Link[];
    const open = links.filter((link) => !never.has(link.edge)).length;
    const needed = neededOf(node.parsed as FileNode, links.length);
    if (open === links.length || open >= needed) continue;
    const message = `${quote(node.id as string)} can never run: it needs ${needed} of its ${links.length} edges taken, but ${links.length - open} never are`;
    warnings.add(
      "NODE_NEVER_RUNS",
      node.path,
      message,
      "Correct the conditions of the edges that lead to it.",
    );
  }
}
