/** What happens in simulated cases, in words that can be counted. */
import type { SimulatedCase } from "./generator.ts";
import {
  type MapSignal,
  type SimulatedEdge,
  type SimulatedNode,
  type SimulatedWorkflow,
  targetsOf,
} from "./model.ts";
import { type Played, play } from "./play.ts";
import type { GameResult, NodeResult } from "./reference.ts";
import { Structure } from "./structure.ts";

const structures = new WeakMap<SimulatedWorkflow, Structure>();

export function before(workflow: SimulatedWorkflow, id: string): string[] {
  const structure = structures.get(workflow) ?? new Structure(workflow);
  structures.set(workflow, structure);
  return structure.incoming(id).map((edge) => edge.from);
}

/** The nodes that an expression names. */
export function named(expression: unknown): string[] {
  if (typeof expression !== "object" || expression === null) return [];
  const own = Reflect.get(expression, "kind") === "node" ? [String(Reflect.get(expression, "id"))] : [];
  return [...own, ...Object.values(expression).flatMap(named)];
}

/** A node without the graphs inside it. */
export function expressionsAt(node: SimulatedNode): unknown {
  if (node.type === "map") return { ...node, body: null };
  return node.type === "subworkflow" ? { ...node, workflow: null } : node;
}

function defaultsOf(workflow: SimulatedWorkflow, id: string): SimulatedEdge[] {
  return workflow.edges.filter(
    (edge) => edge.from === id && edge.on === undefined && edge.condition === undefined,
  );
}

/** What a sample of workflows should show. */
export const FEATURES = [
  "skipped: not_taken",
  "skipped: upstream_failed",
  "run COMPLETED",
  "run FAILED",
  "handled failure",
  "handled CONDITION_FAILED",
  "CONDITION_FAILED",
  "FILTER_NOT_A_LIST",
  "AGGREGATE_NOT_A_NUMBER",
  "NOT_FIXED",
  "filter kept some",
  "aggregate completed",
  "one_success fired early",
  "all_done after a failure",
  "join behind a branch",
  "conditional took its default",
  "conditional took several",
  "conditional took none",
  "ten or more nodes",
  "fan of five",
  "two entries",
  "expression for the output",
  "names an ancestor",
  "answered after several tries",
  "failed after several tries",
  "failed for good though it had tries left",
  "TIMED_OUT",
  "HANDLER_ERROR",
  "OUTPUT_NOT_JSON",
  "limited",
  "halted",
  "halted with executions under way",
  "third iteration",
  "entry of two loops",
  "loop in a loop",
  "loop in a map",
  "map in a loop",
  "map in a map",
  "LOOP_EXHAUSTED",
  "left by break_path",
  "left by timeout_path",
  "left by a list of break_path",
  "left by a list of timeout_path",
  "worked on its input",
  "input failed",
  "input in a second iteration",
  "input took what came",
  "aggregate of an input at a join",
  "coalesce took what came",
  "coalesce took the first of several",
  "loop skipped from outside",
  "skipped in a later iteration",
  "MAP_FAILED",
  "MAP_NOT_A_LIST",
  "map of nothing",
  "map of several",
  "tolerated failure",
  "SIGNAL_TIMED_OUT",
  "answered",
  "answered before its deadline",
  "answered though signals are dropped",
  "waited",
  "waited until an instant",
  "WAIT_NOT_A_TIME",
  "completed early",
  "completed early with items under way",
  "looked at and went on",
  "looked at in vain",
  "open and closed",
  "open and completed by a signal",
  "items added",
  "child completed",
  "CHILD_FAILED",
  "skipped: withdrawn",
  "withdrawn in a body",
  "skipped: unless",
  "undone",
  ...["none_failed", "all_success", "one_failed", "all_failed", "quorum"].map((rule) => `fired: ${rule}`),
];

/** What happens in a case that is played in the default order. */
export function featuresOf({ workflow, input, behaviours }: SimulatedCase): Set<string> {
  const result = play(workflow, input, behaviours);
  return new Set([
    `run ${result.status}`,
    ...Object.entries(result.nodes).flatMap(([key, over]) => featuresOfNode(workflow, result, key, over)),
    ...(workflow.nodes.length >= 10 ? ["ten or more nodes"] : []),
    ...(workflow.nodes.filter(({ id }) => before(workflow, id).length === 0).length > 1
      ? ["two entries"]
      : []),
    ...(workflow.output === undefined ? [] : ["expression for the output"]),
    ...(named(workflow.nodes.map(expressionsAt)).length > 0 ? ["names an ancestor"] : []),
    ...(workflow.max_parallel_nodes === undefined ? [] : ["limited"]),
    ...(result.halted === null ? [] : ["halted"]),
    ...(Object.values(result.nodes).some(({ status, attempts }) => status === "CANCELLED" && attempts > 0)
      ? ["halted with executions under way"]
      : []),
  ]);
}

function featuresOfNode(
  workflow: SimulatedWorkflow,
  result: Played,
  key: string,
  over: NodeResult,
): string[] {
  const { node_id: id, scope, status, reason, error, output, attempts, from_nodes } = over;
  if (id.endsWith(".compensate")) return ["undone"];
  const structure = new Structure(workflow);
  const node = structure.node(id);
  const predecessors = before(workflow, id);
  const edges = structure.outgoing(id);
  const all = Object.values(result.nodes);
  const taken = edges.filter((edge) =>
    all.some(({ node_id, from_nodes }) => node_id === edge.to && from_nodes.includes(id)),
  );
  const skipped = predecessors.filter((from) => result.nodes[from]?.reason?.kind === "not_taken");
  const handled = error !== null && taken.length > 0;
  const nested = structure.bodiesOf(id).map(({ kind }) => kind);
  const [inner, outer] = nested.toReversed();
  const rule = typeof node.trigger_rule === "object" ? "quorum" : node.trigger_rule;
  const entered = structure.bodies.filter(
    ({ kind, node: end }) => kind === "loop" && "loop_back_to" in end && end.loop_back_to === id,
  );
  const left = (path: string | readonly string[] | undefined): boolean =>
    edges.length > 1 && taken.some((edge) => targetsOf(path).includes(edge.to));
  const listed = (path: string | readonly string[] | undefined): boolean => Array.isArray(path) && left(path);
  const coalesces = node.type === "aggregate" && "strategy" in node && node.strategy === "coalesce";
  const chooses = node.given?.kind === "choose" && status === "COMPLETED";
  const features: [boolean, string][] = [
    [reason !== null, `skipped: ${reason?.kind}`],
    [scope.endsWith(":3") && inner === "loop", "third iteration"],
    [entered.length > 1, "entry of two loops"],
    [outer !== undefined, `${inner} in a ${outer}`],
    [node.type === "loop" && left(node.break_path), "left by break_path"],
    [node.type === "loop" && left(node.timeout_path), "left by timeout_path"],
    [node.type === "loop" && listed(node.break_path), "left by a list of break_path"],
    [node.type === "loop" && listed(node.timeout_path), "left by a list of timeout_path"],
    [node.given !== undefined && status === "COMPLETED", "worked on its input"],
    [
      node.given !== undefined && status === "FAILED" && attempts === 1 && error?.code === "NOT_FIXED",
      "input failed",
    ],
    [inner === "loop" && node.given !== undefined && scope.endsWith(":2"), "input in a second iteration"],
    [
      node.given !== undefined &&
        node.type === "aggregate" &&
        status === "COMPLETED" &&
        predecessors.length > 1,
      "aggregate of an input at a join",
    ],
    [chooses && from_nodes.length < predecessors.length, "input took what came"],
    [
      coalesces && status === "COMPLETED" && from_nodes.length === 1 && predecessors.length > 1,
      "coalesce took what came",
    ],
    [coalesces && from_nodes.length > 1, "coalesce took the first of several"],
    [node.type === "loop" && status === "SKIPPED", "loop skipped from outside"],
    [status === "SKIPPED" && scope.endsWith(":2") && inner === "loop", "skipped in a later iteration"],
    [node.type === "map" && Array.isArray(output) && output.length === 0, "map of nothing"],
    [node.type === "map" && Array.isArray(output) && output.length > 1, "map of several"],
    [node.type === "map" && failedIn(result, over).length > 0 && status === "COMPLETED", "tolerated failure"],
    [node.type === "wait" && status === "COMPLETED", "waited"],
    [over.not_before !== null, "waited until an instant"],
    ...featuresOfMap(node, key, result, over),
    ...featuresOfSignal(node, over),
    [result.children[key]?.status === "COMPLETED", "child completed"],
    [reason?.kind === "withdrawn" && scope !== "", "withdrawn in a body"],
    [status === "COMPLETED" && predecessors.length > 1, `fired: ${rule}`],
    [error !== null, error?.code ?? ""],
    [handled, error?.code === "CONDITION_FAILED" ? "handled CONDITION_FAILED" : "handled failure"],
    [node.type === "filter" && Array.isArray(output) && output.length > 0, "filter kept some"],
    [node.type === "aggregate" && status === "COMPLETED", "aggregate completed"],
    [
      node.trigger_rule === "one_success" && status !== "SKIPPED" && predecessors.length > 1,
      "one_success fired early",
    ],
    [
      node.trigger_rule === "all_done" &&
        predecessors.some((from) => result.nodes[from]?.status === "FAILED"),
      "all_done after a failure",
    ],
    [skipped.length > 0 && from_nodes.length > 0, "join behind a branch"],
    [edges.length >= 5, "fan of five"],
    [status === "COMPLETED" && attempts > 1, "answered after several tries"],
    [status === "FAILED" && attempts > 1, "failed after several tries"],
    [
      status === "FAILED" && node.type === "function" && attempts < (node.retry?.max_attempts ?? 1),
      "failed for good though it had tries left",
    ],
  ];
  if (node.type === "conditional" && status === "COMPLETED" && edges.length > 1) {
    features.push([
      defaultsOf(workflow, id).some((edge) => taken.includes(edge)),
      "conditional took its default",
    ]);
    features.push(
      [taken.length > 1, "conditional took several"],
      [taken.length === 0, "conditional took none"],
    );
  }
  return features.filter(([holds]) => holds).map(([, name]) => name);
}

type Features = [boolean, string][];

function featuresOfSignal(node: SimulatedNode, { status }: NodeResult): Features {
  if ((node.type !== "signal" && node.type !== "approval") || status !== "COMPLETED") return [];
  return [
    [true, "answered"],
    [node.deadline_ms !== undefined, "answered before its deadline"],
    [node.transient === true, "answered though signals are dropped"],
  ];
}

function featuresOfMap(node: SimulatedNode, key: string, result: Played, over: NodeResult): Features {
  if (node.type !== "map") return [];
  const own = result.moments.filter((moment) => moment.kind !== "signal" && moment.key === key);
  const answers = own.flatMap((moment) => (moment.kind === "look" ? [moment.answer] : []));
  const begun = own.some(({ kind }) => kind === "wait");
  const scope = key.slice(node.id.length + 1);
  const signals = result.moments.flatMap((moment) =>
    moment.kind === "signal" && moment.signal.name === node.open?.name && moment.signal.scope === scope
      ? [moment.signal.payload as MapSignal]
      : [],
  );
  const inside = scope === "" ? `${node.id}:` : `${scope}/${node.id}:`;
  const recalled = Object.values(result.nodes).some(
    (one) => one.reason?.kind === "withdrawn" && one.reason.node === node.id && one.scope.startsWith(inside),
  );
  return [
    [answers.includes(true), "completed early"],
    [answers.includes(true) && recalled, "completed early with items under way"],
    [answers.includes(false), "looked at and went on"],
    [over.status === "FAILED" && over.error?.code === "NOT_FIXED" && recalled, "looked at in vain"],
    [begun && signals.some(({ close }) => close === true), "open and closed"],
    [begun && signals.some(({ complete }) => complete === true), "open and completed by a signal"],
    [signals.some(({ items = [] }) => items.length > 0), "items added"],
  ];
}

/** Executions that failed in the items of a map. */
function failedIn({ nodes }: GameResult, { node_id, scope }: NodeResult): NodeResult[] {
  const inside = scope === "" ? `${node_id}:` : `${scope}/${node_id}:`;
  return Object.values(nodes).filter((over) => over.status === "FAILED" && over.scope.startsWith(inside));
}
