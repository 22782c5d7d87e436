/**
 * The reference interpreter: the meaning of a workflow (docs/semantics.md) as a token game, one execution at a time. It shares
 * no code with src/ and knows nothing of Redis, batches or crashes, so that the engine can be compared with it.
 *
 * A game starts with its entry nodes enabled. Resolving an enabled node gives it an outcome, sends one arrival along each
 * of its edges and settles the targets; a target that is skipped sends its own arrivals in the same move. The game ends
 * when nothing is enabled. Only the order of moves is open, and only workflows with `one_success` depend on it.
 *
 * Choices made here:
 * - A node skipped as `upstream_failed` names one failed node: the one behind its failed arrival with the lowest edge
 *   index (file order). A skipped predecessor passes on the name it was given itself.
 * - `mode: first` stops at the first match: later conditions are not evaluated, so they cannot fail. `mode: all` and the
 *   edges of all other nodes are all evaluated. An absent priority is 0.
 * - A node whose condition fails has no output; its failure is routed like any other, and may be handled.
 * - An aggregate over a single predecessor's output that is no list has that one value; null has none.
 * - A run is halted by a command, or with `fail_fast` by its first unhandled failure, once that failure's own arrivals are
 *   settled. From then on no arrival is sent: an enabled node may still be resolved (it was under way), or is cancelled; a
 *   node that was not enabled by then never is, and is cancelled when the game ends. What halts a run first decides how it ends.
 */
import { booleanOf, evaluate, type Json, type JsonObject, type Scope } from "./expression.ts";
import type { Behaviour, Behaviours, SimulatedEdge, SimulatedNode, SimulatedWorkflow } from "./model.ts";
import { attempt, type Failure, failure, type Place, run } from "./reference_nodes.ts";

export type Reason = { kind: "upstream_failed"; node: string } | { kind: "not_taken" };

export interface NodeError {
  code: string;
  message: string;
}

export type Halt = "cancel" | "fail_fast";

/** How a node execution ended. */
export interface NodeResult {
  status: "COMPLETED" | "FAILED" | "SKIPPED" | "CANCELLED";
  /** Why it was skipped; else null. */
  reason: Reason | null;
  /** null unless COMPLETED. */
  output: Json;
  /** null unless FAILED. */
  error: NodeError | null;
  /** Tries; 0 if SKIPPED. Of a CANCELLED one only a bound is known: at most so many. */
  attempts: number;
  /** What it was given; null if SKIPPED or CANCELLED. */
  data: Json;
  /** Predecessors whose taken arrivals were in when it fired, by edge index; empty if SKIPPED. */
  from_nodes: string[];
  /** The move in which it was resolved, skipped or cancelled, from 1. */
  move: number;
}

export interface GameResult {
  status: "RUNNING" | "COMPLETED" | "FAILED" | "CANCELLED";
  /** What halted it, if anything did. */
  halted: Halt | null;
  /** The first unhandled failure; null unless FAILED. */
  error: (NodeError & { node_id: string }) | null;
  /** null unless COMPLETED. */
  output: Json;
  /** The executions that are over, by node id. */
  nodes: Record<string, NodeResult>;
}

export interface Game {
  /** Ids of nodes that are ready to run, in the order in which they became so. */
  enabled(): string[];
  /** What an enabled or finished node is given. */
  dataOf(nodeId: string): Json;
  /**
   * Runs an enabled node. Only `function` nodes use `behaviour`. The wording of errors that the engine itself raises is
   * not part of the semantics, nor is the code of a failing transform, filter item or merge: `wording` stands in for it.
   */
  resolve(nodeId: string, behaviour?: Behaviour, wording?: NodeError): NodeResult;
  /**
   * For an enabled `one_success` node with several taken arrivals: lets it have fired on that of `from`. Legal when
   * arrivals may be delivered late. False, and no change, if it has no such arrival.
   */
  fireOn(nodeId: string, from: string): boolean;
  /** Halts the game. False, and no change, if it is over, unless its end was held back by a pause. */
  cancel(paused?: boolean): boolean;
  /** An enabled node of a halted game is withdrawn or given up. The behaviour bounds its attempts. */
  withdraw(nodeId: string, behaviour?: Behaviour): NodeResult;
  result(): GameResult;
}

/** Chooses the next node to run out of the enabled ones (never empty). */
export type Chooser = (enabled: readonly string[]) => string;

type Arrival = { kind: "taken" } | { kind: "not_taken" } | { kind: "failed"; origin: string };

const TAKEN: Arrival = { kind: "taken" };
const NOT_TAKEN: Arrival = { kind: "not_taken" };

const CANCELLED = { status: "CANCELLED", reason: null, output: null, error: null, data: null } as const;

/** Plays a whole run. The first enabled node goes first unless `choose` says otherwise. What is enabled in a halted run is withdrawn. */
export function play(
  workflow: SimulatedWorkflow,
  input: Json,
  behaviours: Behaviours,
  choose: Chooser = (enabled) => enabled[0]!,
): GameResult {
  const game = createGame(workflow, input);
  while (game.enabled().length > 0) {
    const nodeId = choose(game.enabled());
    if (game.result().halted === null) game.resolve(nodeId, behaviours[nodeId]);
    else game.withdraw(nodeId, behaviours[nodeId]);
  }
  return game.result();
}

/** A new game with its entry nodes enabled. */
export function createGame(workflow: SimulatedWorkflow, input: Json): Game {
  const nodes = new Map(workflow.nodes.map((node) => [node.id, node]));
  const arrivals = new Map<SimulatedEdge, Arrival>();
  const used = new Map<string, SimulatedEdge[]>();
  const results = new Map<string, NodeResult>();
  const unhandled: string[] = [];
  let halted: Halt | null = null;
  let moves = 0;

  const incoming = (id: string): SimulatedEdge[] => workflow.edges.filter((edge) => edge.to === id);
  const outgoing = (id: string): SimulatedEdge[] => workflow.edges.filter((edge) => edge.from === id);
  const enabled = (): string[] => [...used.keys()].filter((id) => !results.has(id));
  const outputs = (): JsonObject =>
    Object.fromEntries(workflow.nodes.map(({ id }) => [id, results.get(id)?.output ?? null]));

  function send(routes: Map<SimulatedEdge, Arrival>): void {
    for (const [edge, arrival] of routes) arrivals.set(edge, arrival);
    for (const edge of routes.keys()) settle(nodes.get(edge.to)!);
  }

  function settle(node: SimulatedNode): void {
    if (used.has(node.id) || results.has(node.id)) return;
    const edges = incoming(node.id);
    const decision = decide(
      node,
      edges.map((edge) => arrivals.get(edge)),
    );
    if (decision === "wait") return;
    if (decision === "fire")
      used.set(
        node.id,
        edges.filter((edge) => arrivals.get(edge) === TAKEN),
      );
    else skip(node.id, decision);
  }

  function skip(id: string, reason: Reason): void {
    const over = { status: "SKIPPED", reason, output: null, error: null, data: null } as const;
    results.set(id, { ...over, attempts: 0, from_nodes: [], move: moves });
    send(routesOfSkipped(outgoing(id), reason));
  }

  function dataOf(id: string): Json {
    const predecessors = new Set(incoming(id).map((edge) => edge.from));
    if (predecessors.size === 0) return input;
    const taken = fromNodes(id).map((from) => [from, seenFrom(results.get(from)!)] as const);
    return predecessors.size === 1 ? (taken[0]?.[1] ?? null) : Object.fromEntries(taken);
  }

  function fromNodes(id: string): string[] {
    return [...new Set((used.get(id) ?? []).map((edge) => edge.from))];
  }

  function resolve(id: string, behaviour?: Behaviour, wording?: NodeError): NodeResult {
    if (!enabled().includes(id)) throw new Error(`${id} is not enabled`);
    moves += 1;
    const base = { reason: null, data: dataOf(id), from_nodes: fromNodes(id), move: moves };
    const place = placeOf(id);
    const outcome = runAndRoute(place, behaviour);
    const { attempts } = outcome;
    if ("routes" in outcome) {
      results.set(id, { ...base, status: "COMPLETED", output: outcome.output, error: null, attempts });
      if (halted === null) send(outcome.routes);
    } else {
      const error = worded(outcome.failure, wording);
      results.set(id, { ...base, status: "FAILED", output: null, error, attempts });
      fail(id, routesOfFailed(place, error));
    }
    return results.get(id)!;
  }

  function fail(id: string, routes: Map<SimulatedEdge, Arrival>): void {
    const isUnhandled = ![...routes.values()].includes(TAKEN);
    if (isUnhandled) unhandled.push(id);
    if (halted === null) send(routes);
    if (isUnhandled && workflow.fail_fast === true) halted ??= "fail_fast";
  }

  function cancel(paused = false): boolean {
    if (enabled().length === 0 && !paused) return false;
    halted ??= "cancel";
    return true;
  }

  function withdraw(id: string, behaviour?: Behaviour): NodeResult {
    if (halted === null) throw new Error(`${id} is withdrawn from a game that goes on`);
    if (!enabled().includes(id)) throw new Error(`${id} is not enabled`);
    moves += 1;
    const attempts = runAndRoute(placeOf(id), behaviour).attempts;
    results.set(id, { ...CANCELLED, attempts, from_nodes: fromNodes(id), move: moves });
    return results.get(id)!;
  }

  function placeOf(id: string): Place {
    const predecessors = incoming(id).map((edge) => edge.from);
    const scope = { variables: { data: dataOf(id), input }, nodes: outputs() };
    return { node: nodes.get(id)!, edges: outgoing(id), scope, predecessors };
  }

  function fireOn(id: string, from: string): boolean {
    const edges = incoming(id).filter((edge) => edge.from === from && arrivals.get(edge) === TAKEN);
    if (nodes.get(id)?.trigger_rule !== "one_success" || !enabled().includes(id) || edges.length === 0)
      return false;
    used.set(id, edges);
    return true;
  }

  function result(): GameResult {
    const over = { nodes: Object.fromEntries(results), halted, error: null, output: null };
    if (enabled().length > 0) return { ...over, status: "RUNNING" };
    if (halted !== null) {
      for (const { id } of workflow.nodes)
        over.nodes[id] ??= { ...CANCELLED, attempts: 0, from_nodes: [], move: moves };
      if (halted === "cancel") return { ...over, status: "CANCELLED" };
    }
    const first = unhandled[0];
    if (first === undefined) return { ...over, status: "COMPLETED", output: runOutput() };
    return { ...over, status: "FAILED", error: { ...results.get(first)!.error!, node_id: first } };
  }

  function runOutput(): Json {
    if (workflow.output !== undefined)
      return evaluate(workflow.output, { variables: { input }, nodes: outputs() });
    const terminals = workflow.nodes.map(({ id }) => id).filter((id) => outgoing(id).length === 0);
    if (terminals.length === 1) return results.get(terminals[0]!)!.output;
    const completed = terminals.filter((id) => results.get(id)!.status === "COMPLETED");
    return Object.fromEntries(completed.map((id) => [id, results.get(id)!.output]));
  }

  for (const { id } of workflow.nodes) if (incoming(id).length === 0) used.set(id, []);
  return { enabled, dataOf, resolve, fireOn, cancel, withdraw, result };
}

/** What the trigger rule makes of the arrivals (undefined: not in yet, in edge order): wait, fire, or skip and why. */
function decide(node: SimulatedNode, arrivals: (Arrival | undefined)[]): "wait" | "fire" | Reason {
  const allIn = !arrivals.includes(undefined);
  const anyTaken = arrivals.includes(TAKEN);
  const failed = arrivals.find((arrival) => arrival?.kind === "failed");
  if (node.trigger_rule === "one_success" && anyTaken) return "fire";
  if (!allIn) return "wait";
  if (node.trigger_rule === "all_done") return "fire";
  if (failed?.kind === "failed") return { kind: "upstream_failed", node: failed.origin };
  return anyTaken ? "fire" : { kind: "not_taken" };
}

/** What a successor is given: the output, or the error of a failure that it handles. */
function seenFrom(result: NodeResult): Json {
  return result.status === "FAILED" ? { error: { ...result.error! } } : result.output;
}

function worded(failure: Failure, wording: NodeError | undefined): NodeError {
  return {
    code: failure.code ?? wording?.code ?? "NOT_FIXED",
    message: failure.message ?? wording?.message ?? "",
  };
}

/** Runs a node and, if it succeeds, routes its output. A condition that fails turns the success into a failure. */
function runAndRoute(
  place: Place,
  behaviour: Behaviour | undefined,
): ({ output: Json; routes: Map<SimulatedEdge, Arrival> } | { failure: Failure }) & { attempts: number } {
  const outcome = run(place, behaviour);
  if ("failure" in outcome) return outcome;
  const routes = attempt(() => routesOfSuccess(place, outcome.output));
  const { attempts } = outcome;
  return routes === null ? { ...failure("CONDITION_FAILED"), attempts } : { ...outcome, routes };
}

/** Success: failure edges are not taken, the others decide, each for itself or, on a conditional, together. */
function routesOfSuccess({ node, edges, scope: before }: Place, output: Json): Map<SimulatedEdge, Arrival> {
  const variables = { ...before.variables, output, error: null };
  const scope = { variables, nodes: { ...before.nodes, [node.id]: output } };
  const success = edges.filter((edge) => (edge.on ?? "success") === "success");
  const always = edges.filter((edge) => edge.on === "always");
  const taken = new Set([
    ...(node.type === "conditional"
      ? choose(node.mode, success, scope)
      : success.filter((edge) => holds(edge, scope))),
    ...always.filter((edge) => holds(edge, scope)),
  ]);
  return new Map(edges.map((edge) => [edge, taken.has(edge) ? TAKEN : NOT_TAKEN]));
}

/** The success edges that a conditional takes: the first match or every match, else its edge without condition. */
function choose(
  mode: "first" | "all" | undefined,
  edges: readonly SimulatedEdge[],
  scope: Scope,
): SimulatedEdge[] {
  const ordered = edges.toSorted((a, b) => (a.priority ?? 0) - (b.priority ?? 0));
  const conditioned = ordered.filter((edge) => edge.condition !== undefined);
  const matching = (edge: SimulatedEdge): boolean => holds(edge, scope);
  const first = mode === "all" ? undefined : conditioned.find(matching);
  const matches = mode === "all" ? conditioned.filter(matching) : first === undefined ? [] : [first];
  return matches.length > 0 ? matches : ordered.filter((edge) => edge.condition === undefined);
}

/** Failure: failure and always edges decide; if none is taken nobody handles it, and every edge carries the failure. */
function routesOfFailed({ node, edges, scope }: Place, error: NodeError): Map<SimulatedEdge, Arrival> {
  const variables = { ...scope.variables, output: null, error: { ...error } };
  const holdsNow = (edge: SimulatedEdge): boolean =>
    attempt(() => holds(edge, { variables, nodes: scope.nodes })) ?? false;
  const taken = new Set(edges.filter((edge) => (edge.on ?? "success") !== "success" && holdsNow(edge)));
  const rest: Arrival = taken.size > 0 ? NOT_TAKEN : { kind: "failed", origin: node.id };
  return new Map(edges.map((edge) => [edge, taken.has(edge) ? TAKEN : rest]));
}

/** Dead-path elimination: a skipped node passes on why. Its failure edges are not taken: it did not fail itself. */
function routesOfSkipped(edges: readonly SimulatedEdge[], reason: Reason): Map<SimulatedEdge, Arrival> {
  const passedOn: Arrival = reason.kind === "not_taken" ? NOT_TAKEN : { kind: "failed", origin: reason.node };
  return new Map(edges.map((edge) => [edge, edge.on === "failure" ? NOT_TAKEN : passedOn]));
}

function holds(edge: SimulatedEdge, scope: Scope): boolean {
  return edge.condition === undefined || booleanOf(edge.condition, scope);
}
