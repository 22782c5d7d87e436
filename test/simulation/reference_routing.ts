/** Arrivals: what a trigger rule makes of them, and which of them an outcome sends. */
import { type Bindings, booleanOf, type Json } from "./expression.ts";
import { type Loop, type SimulatedEdge, type SimulatedNode, targetsOf } from "./model.ts";
import { attempt, type Place } from "./reference_nodes.ts";

export type Reason =
  | { kind: "upstream_failed"; node: string }
  | { kind: "not_taken" }
  | { kind: "withdrawn"; node: string }
  | { kind: "unless"; node: string };

export interface NodeError {
  code: string;
  message: string;
}

/** What an edge carries. `seen`: what the node behind it is given. */
export type Arrival =
  | { kind: "taken"; seen: Json }
  | { kind: "not_taken" }
  | { kind: "failed"; origin: string };

export type Routes = Map<SimulatedEdge, Arrival>;

/** What a loop node decides at the end of an iteration. */
export type LoopDecision = "again" | "break" | "timeout";

const NOT_TAKEN: Arrival = { kind: "not_taken" };

/** What the trigger rule makes of the arrivals (undefined: not in yet, in edge order): wait, fire, or skip and why. */
export function decide(
  { trigger_rule: rule = "none_failed_min_one_success" }: SimulatedNode,
  arrivals: readonly (Arrival | undefined)[],
): "wait" | "fire" | Reason {
  const taken = arrivals.filter((arrival) => arrival?.kind === "taken").length;
  const failed = arrivals.filter((arrival) => arrival?.kind === "failed");
  if (rule === "one_success" && taken >= 1) return "fire";
  if (rule === "one_failed" && failed.length >= 1) return "fire";
  if (typeof rule === "object" && taken >= rule.quorum) return "fire";
  if (arrivals.includes(undefined)) return "wait";
  const fires =
    rule === "all_done" ||
    (rule === "none_failed" && failed.length === 0) ||
    (rule === "none_failed_min_one_success" && failed.length === 0 && taken >= 1) ||
    (rule === "all_success" && taken === arrivals.length) ||
    (rule === "all_failed" && failed.length === arrivals.length);
  if (fires) return "fire";
  const wantsFailures = rule === "one_failed" || rule === "all_failed";
  const [first] = failed;
  return first === undefined || wantsFailures
    ? { kind: "not_taken" }
    : { kind: "upstream_failed", node: first.origin };
}

/** After its own work a loop node asks its condition. Throws NoValue where that has no value. */
export function decideLoop(
  { condition, max_iterations }: Loop,
  iteration: number,
  bindings: Bindings,
): LoopDecision {
  if (condition !== undefined && !booleanOf(condition, bindings)) return "break";
  return iteration === max_iterations ? "timeout" : "again";
}

/** Success: failure edges are not taken, the others decide, each for itself or, on a conditional or a loop, together. */
export function routesOfSuccess(
  { node, edges, bindings }: Place,
  output: Json,
  decision: "break" | "timeout" = "break",
): Routes {
  const success = edges.filter((edge) => (edge.on ?? "success") === "success");
  const always = edges.filter((edge) => edge.on === "always");
  const taken = new Set([
    ...(node.type === "conditional"
      ? choose(node.mode, success, bindings)
      : node.type === "loop"
        ? leave(node, decision, success, bindings)
        : success.filter((edge) => holds(edge, bindings))),
    ...always.filter((edge) => holds(edge, bindings)),
  ]);
  const seen: Arrival = { kind: "taken", seen: output };
  return new Map(edges.map((edge) => [edge, taken.has(edge) ? seen : NOT_TAKEN]));
}

/** The success edges that a conditional takes: the first match or every match, else its edge without condition. */
function choose(
  mode: "first" | "all" | undefined,
  edges: readonly SimulatedEdge[],
  bindings: Bindings,
): SimulatedEdge[] {
  const ordered = edges.toSorted((a, b) => (a.priority ?? 0) - (b.priority ?? 0));
  const conditioned = ordered.filter((edge) => edge.condition !== undefined);
  const matching = (edge: SimulatedEdge): boolean => holds(edge, bindings);
  const first = mode === "all" ? undefined : conditioned.find(matching);
  const matches = mode === "all" ? conditioned.filter(matching) : first === undefined ? [] : [first];
  return matches.length > 0 ? matches : ordered.filter((edge) => edge.condition === undefined);
}

/** The success edges by which a loop is left: those that it names for this, else the ordinary ones. */
function leave(
  { break_path, timeout_path }: Loop,
  decision: "break" | "timeout",
  edges: readonly SimulatedEdge[],
  bindings: Bindings,
): SimulatedEdge[] {
  const path = targetsOf(decision === "break" ? break_path : timeout_path);
  if (path.length > 0) return edges.filter(({ to }) => path.includes(to));
  const late = targetsOf(timeout_path);
  return edges.filter((edge) => !late.includes(edge.to) && holds(edge, bindings));
}

/** Failure: failure and always edges decide; if none is taken nobody handles it, and every edge carries the failure. */
export function routesOfFailed({ node, edges, bindings }: Place, error: NodeError): Routes {
  const taken = new Set(
    edges.filter(
      (edge) => (edge.on ?? "success") !== "success" && (attempt(() => holds(edge, bindings)) ?? false),
    ),
  );
  const seen: Arrival = { kind: "taken", seen: { error: { ...error } } };
  const rest: Arrival = taken.size > 0 ? NOT_TAKEN : { kind: "failed", origin: node.id };
  return new Map(edges.map((edge) => [edge, taken.has(edge) ? seen : rest]));
}

/** Dead-path elimination: what was skipped or withdrawn passes on why. Failure edges are not taken: it did not fail itself. */
export function routesOfSkipped(edges: readonly SimulatedEdge[], reason: Reason): Routes {
  const passedOn: Arrival =
    reason.kind === "upstream_failed" ? { kind: "failed", origin: reason.node } : NOT_TAKEN;
  return new Map(edges.map((edge) => [edge, edge.on === "failure" ? NOT_TAKEN : passedOn]));
}

function holds(edge: SimulatedEdge, bindings: Bindings): boolean {
  return edge.condition === undefined || booleanOf(edge.condition, bindings);
}
