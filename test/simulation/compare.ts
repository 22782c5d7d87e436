/**
 * Compares what the engine recorded of a run with the reference: replays the recorded order of resolutions as a game.
 *
 * A run that was cancelled, or that failed fast, has many legal records. Its replay takes the moment of the halt and the
 * executions that were withdrawn from the record, and asks of each whether it was legal then.
 */
import { isObject, type Json } from "./expression.ts";
import type { Behaviours, SimulatedWorkflow } from "./model.ts";
import { createGame, type Game, type NodeResult, type Reason } from "./reference.ts";

export interface RecordedNode {
  node_id: string;
  status: string;
  /** Tries of the handler; 0: never tried. */
  attempt: number;
  retry_count: number;
  /** `not_taken`, or `upstream_failed` and the failed node's id after any punctuation; null if it ran. */
  reason: string | null;
  output: Json;
  error: { code: string; message: string } | null;
  /** Predecessors whose taken arrivals it fired on. Compared as a set, for executions that ran. */
  from_nodes: string[];
  /** Place in the order of resolutions; equal for a cause and the skips of the same step. null: unknown (SKIPPED), or never
   * activated (CANCELLED). */
  resolved_order: number | null;
}

export interface RunRecord {
  status: string;
  /** The first unhandled failure. Its message is the engine's to word. */
  error: { code: string; message: string; node_id?: string } | null;
  output: Json;
  nodes: RecordedNode[];
  /** Place of the command that cancelled it in the order of resolutions; 0: before it started; null: none did. */
  cancelled_at: number | null;
  /** It was paused at that moment, which holds its end back. Default false. */
  cancelled_in_pause?: boolean;
}

export interface CompareOptions {
  /** Arrivals may be delivered some steps after their cause (edges settled in parts), so that a `one_success` node may
   * have fired on any arrival that was on its way, not only on the first. Default false. */
  arrivalsMayLag?: boolean;
}

/** The disagreements between the record of a run and the reference, in sentences; empty if they agree. */
export function compareRecord(
  workflow: SimulatedWorkflow,
  input: Json,
  behaviours: Behaviours,
  record: RunRecord,
  options: CompareOptions = {},
): string[] {
  const malformed = malformations(workflow, record);
  if (malformed.length > 0) return malformed;
  if (record.cancelled_at === 0) return compareUnstarted(record);
  const game = createGame(workflow, input);
  const found: string[] = [];
  let cancelAt = record.cancelled_at ?? Number.POSITIVE_INFINITY;
  for (const node of inOrder(record.nodes)) {
    if (orderOf(node) > cancelAt) {
      found.push(...cancel(game, record));
      cancelAt = Number.POSITIVE_INFINITY;
    }
    if (node.status === "SKIPPED") found.push(...compareMomentOfSkip(game, node));
    else if (node.status === "CANCELLED" && node.resolved_order === null) continue;
    else if (game.enabled().includes(node.node_id)) found.push(...replay(game, behaviours, node, options));
    else
      return [
        ...found,
        `${node.node_id} is recorded as ${node.status} when it was not ready to run: ${whyNot(game, node)}`,
      ];
  }
  if (cancelAt < Number.POSITIVE_INFINITY) found.push(...cancel(game, record));
  return [...found, ...compareRest(game, record), ...compareRun(game, record)];
}

/** Cancelled before it started: nothing ever happened in it. */
function compareUnstarted(record: RunRecord): string[] {
  return [
    ...difference("status of the run", record.status, "CANCELLED"),
    ...difference("output of the run", record.output, null),
    ...record.nodes
      .filter((node) => node.status !== "CANCELLED" || node.attempt !== 0)
      .map((node) => `${node.node_id} is recorded as ${node.status} in a run that never started`),
  ];
}

function cancel(game: Game, record: RunRecord): string[] {
  return game.cancel(record.cancelled_in_pause) ? [] : ["the run is recorded as cancelled after it was over"];
}

/** Faults that make a replay pointless: nodes missing, unknown, twice, or in no final status. */
function malformations(workflow: SimulatedWorkflow, record: RunRecord): string[] {
  const recorded = record.nodes.map((node) => node.node_id);
  const known = new Set(workflow.nodes.map((node) => node.id));
  const final = ["COMPLETED", "FAILED", "SKIPPED", "CANCELLED"];
  const performed = (node: RecordedNode): boolean => node.status === "COMPLETED" || node.status === "FAILED";
  return [
    ...[...known].filter((id) => !recorded.includes(id)).map((id) => `${id} has no record`),
    ...recorded.filter((id, index) => recorded.indexOf(id) < index).map((id) => `${id} is recorded twice`),
    ...recorded.filter((id) => !known.has(id)).map((id) => `${id} is no node of the workflow`),
    ...record.nodes
      .filter((node) => !final.includes(node.status))
      .map((node) => `${node.node_id} ended in status ${node.status}`),
    ...record.nodes
      .filter((node) => performed(node) && node.resolved_order === null)
      .map((node) => `${node.node_id} is ${node.status} without a resolved_order`),
    ...record.nodes
      .filter((node) => node.retry_count !== Math.max(node.attempt - 1, 0))
      .map((node) => `${node.node_id} has retry_count ${node.retry_count} with attempt ${node.attempt}`),
  ];
}

/** By resolved_order; skips after the executions of the same step, and last where their order is unknown. */
function inOrder(nodes: readonly RecordedNode[]): RecordedNode[] {
  const skipped = (node: RecordedNode): number => (node.status === "SKIPPED" ? 1 : 0);
  return nodes.toSorted((a, b) => orderOf(a) - orderOf(b) || skipped(a) - skipped(b));
}

function orderOf(node: RecordedNode): number {
  return node.resolved_order ?? Number.MAX_SAFE_INTEGER;
}

function replay(game: Game, behaviours: Behaviours, node: RecordedNode, options: CompareOptions): string[] {
  const id = node.node_id;
  if (node.status === "CANCELLED") return compareWithdrawn(game, behaviours, node);
  const [from] = node.from_nodes;
  if (options.arrivalsMayLag === true && from !== undefined && node.from_nodes.length === 1)
    game.fireOn(id, from);
  return compareNode(id, game.resolve(id, behaviours[id], node.error ?? undefined), node);
}

function compareWithdrawn(game: Game, behaviours: Behaviours, node: RecordedNode): string[] {
  const id = node.node_id;
  if (game.result().halted === null) return [`${id} is recorded as CANCELLED in a run that went on`];
  const { attempts } = game.withdraw(id, behaviours[id]);
  const possible = node.attempt >= 1 && node.attempt <= attempts;
  return [
    ...(possible ? [] : [`attempt of ${id} (CANCELLED) is ${node.attempt}, expected 1 to ${attempts}`]),
    ...difference(`output of ${id}`, node.output, null),
  ];
}

function compareNode(id: string, expected: NodeResult, node: RecordedNode): string[] {
  if (node.status !== expected.status) {
    const because = expected.error === null ? "" : ` (${expected.error.code})`;
    return [
      `${id} is recorded as ${node.status}, expected ${expected.status}${because}; its data is ${print(expected.data)}`,
    ];
  }
  return [
    ...difference(`output of ${id}`, node.output, expected.output),
    ...difference(`attempt of ${id}`, node.attempt, expected.attempts),
    ...difference(`error of ${id}`, codeAndMessage(node.error), codeAndMessage(expected.error)),
    ...difference(`from_nodes of ${id}`, node.from_nodes.toSorted(), expected.from_nodes.toSorted()),
  ];
}

/** A skip may be recorded in the step that caused it, or later; never before. */
function compareMomentOfSkip(game: Game, node: RecordedNode): string[] {
  const skipped = game.result().nodes[node.node_id]?.status === "SKIPPED";
  return skipped || node.resolved_order === null
    ? []
    : [
        `${node.node_id} is recorded as SKIPPED at ${node.resolved_order}, when it was not: ${whyNot(game, node)}`,
      ];
}

/** The executions that have no move of their own: skipped, or never activated in a halted run. */
function compareRest(game: Game, record: RunRecord): string[] {
  const { nodes } = game.result();
  const moved = (status: string): boolean => status === "COMPLETED" || status === "FAILED";
  return record.nodes.flatMap((node) => {
    const expected = nodes[node.node_id];
    if (expected === undefined) {
      const ready = game.enabled().includes(node.node_id);
      return ready ? [`${node.node_id} was ready to run, but is recorded as ${node.status}`] : [];
    }
    if (moved(node.status) && moved(expected.status)) return [];
    if (node.status !== expected.status)
      return [`${node.node_id} is recorded as ${node.status}, expected ${expected.status}`];
    if (node.status === "CANCELLED")
      return node.resolved_order === null ? difference(`attempt of ${node.node_id}`, node.attempt, 0) : [];
    return [
      ...difference(`attempt of ${node.node_id}`, node.attempt, 0),
      ...(sameReason(node.reason, expected.reason!)
        ? []
        : [`reason of ${node.node_id} is ${node.reason}, expected ${reasonText(expected.reason!)}`]),
      ...difference(`output of ${node.node_id}`, node.output, null),
    ];
  });
}

function compareRun(game: Game, record: RunRecord): string[] {
  const { status, error, output, halted } = game.result();
  if (status === "RUNNING")
    return [`the run is recorded as ${record.status}, but ${game.enabled().join(", ")} never ran`];
  if (status !== record.status) return [`the run is recorded as ${record.status}, expected ${status}`];
  const ended = halted === "cancel" ? "CANCELLED" : null;
  return [
    ...difference("output of the run", record.output, output),
    ...difference("node of the run's error", record.error?.node_id ?? null, error?.node_id ?? null),
    ...difference("code of the run's error", record.error?.code ?? null, error?.code ?? ended),
  ];
}

/** A reason as this module writes it: `not_taken`, `upstream_failed: n3`. */
export function reasonText(reason: Reason): string {
  return reason.kind === "not_taken" ? reason.kind : `${reason.kind}: ${reason.node}`;
}

/** Any punctuation may stand between the word and the node's id. */
function sameReason(recorded: string | null, expected: Reason): boolean {
  const [, word, node] = /^(\w+?)(?:[\s:(,"'`]+([\w-]+)[)"'`]*)?$/u.exec(recorded ?? "") ?? [];
  return word === expected.kind && node === (expected.kind === "not_taken" ? undefined : expected.node);
}

function codeAndMessage(error: { code: string; message: string } | null): Json {
  return error === null ? null : { code: error.code, message: error.message };
}

function whyNot(game: Game, node: RecordedNode): string {
  const result = game.result().nodes[node.node_id];
  if (result !== undefined) return `it was ${result.status} already`;
  if (game.enabled().includes(node.node_id)) return "it was ready to run";
  return "its arrivals were not in";
}

function difference(what: string, recorded: Json, expected: Json): string[] {
  return same(recorded, expected) ? [] : [`${what} is ${print(recorded)}, expected ${print(expected)}`];
}

/** Same JSON, apart from the last digits of sums of fractions. */
function same(a: Json, b: Json): boolean {
  if (typeof a === "number" && typeof b === "number")
    return Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a));
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, index) => same(item, b[index]!));
  if (!isObject(a) || !isObject(b)) return a === b;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && same(a[key]!, b[key]!))
  );
}

function print(value: Json): string {
  const text = JSON.stringify(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
