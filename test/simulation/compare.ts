/** Compares what the engine recorded of a run with the reference: replays the recorded order of resolutions as a game. */
import { isObject, type Json } from "./expression.ts";
import type { Behaviours, SimulatedWorkflow } from "./model.ts";
import { createGame, type Game, type NodeResult, type Reason } from "./reference.ts";

export interface RecordedNode {
  node_id: string;
  status: string;
  /** `not_taken`, or `upstream_failed` and the failed node's id after any punctuation; null if it ran. */
  reason: string | null;
  output: Json;
  error: { code: string; message: string } | null;
  /** Predecessors whose taken arrivals it fired on. Compared as a set, for executions that ran. */
  from_nodes: string[];
  /** Place in the order of resolutions; equal for a cause and the skips of the same step. null: unknown (SKIPPED only). */
  resolved_order: number | null;
}

export interface RunRecord {
  status: string;
  /** The first unhandled failure. Its message is the engine's to word. */
  error: { code: string; message: string; node_id: string } | null;
  output: Json;
  nodes: RecordedNode[];
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
  const game = createGame(workflow, input);
  const found: string[] = [];
  for (const node of inOrder(record.nodes)) {
    if (node.status === "SKIPPED") found.push(...compareMomentOfSkip(game, node));
    else if (game.enabled().includes(node.node_id)) found.push(...replay(game, behaviours, node, options));
    else
      return [
        ...found,
        `${node.node_id} is recorded as ${node.status} when it was not ready to run: ${whyNot(game, node)}`,
      ];
  }
  return [...found, ...compareSkips(game, record), ...compareRun(game, record)];
}

/** Faults that make a replay pointless: nodes missing, unknown, twice, or in no final status. */
function malformations(workflow: SimulatedWorkflow, record: RunRecord): string[] {
  const recorded = record.nodes.map((node) => node.node_id);
  const known = new Set(workflow.nodes.map((node) => node.id));
  const final = ["COMPLETED", "FAILED", "SKIPPED"];
  return [
    ...[...known].filter((id) => !recorded.includes(id)).map((id) => `${id} has no record`),
    ...recorded.filter((id, index) => recorded.indexOf(id) < index).map((id) => `${id} is recorded twice`),
    ...recorded.filter((id) => !known.has(id)).map((id) => `${id} is no node of the workflow`),
    ...record.nodes
      .filter((node) => !final.includes(node.status))
      .map((node) => `${node.node_id} ended in status ${node.status}`),
    ...record.nodes
      .filter((node) => node.status !== "SKIPPED" && node.resolved_order === null)
      .map((node) => `${node.node_id} is ${node.status} without a resolved_order`),
  ];
}

/** By resolved_order; skips after the executions of the same step, and last where their order is unknown. */
function inOrder(nodes: readonly RecordedNode[]): RecordedNode[] {
  const order = (node: RecordedNode): number => node.resolved_order ?? Number.MAX_SAFE_INTEGER;
  const skipped = (node: RecordedNode): number => (node.status === "SKIPPED" ? 1 : 0);
  return nodes.toSorted((a, b) => order(a) - order(b) || skipped(a) - skipped(b));
}

function replay(game: Game, behaviours: Behaviours, node: RecordedNode, options: CompareOptions): string[] {
  const id = node.node_id;
  const [from] = node.from_nodes;
  if (options.arrivalsMayLag === true && from !== undefined && node.from_nodes.length === 1)
    game.fireOn(id, from);
  return compareNode(id, game.resolve(id, behaviours[id], node.error ?? undefined), node);
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

function compareSkips(game: Game, record: RunRecord): string[] {
  const { nodes } = game.result();
  return record.nodes.flatMap((node) => {
    const expected = nodes[node.node_id];
    if (expected === undefined)
      return [`${node.node_id} was ready to run, but is recorded as ${node.status}`];
    if (node.status !== "SKIPPED" && expected.status !== "SKIPPED") return [];
    if (node.status !== expected.status)
      return [`${node.node_id} is recorded as ${node.status}, expected ${expected.status}`];
    return [
      ...(sameReason(node.reason, expected.reason!)
        ? []
        : [`reason of ${node.node_id} is ${node.reason}, expected ${reasonText(expected.reason!)}`]),
      ...difference(`output of ${node.node_id}`, node.output, null),
    ];
  });
}

function compareRun(game: Game, record: RunRecord): string[] {
  const { status, error, output } = game.result();
  if (status === "RUNNING")
    return [`the run is recorded as ${record.status}, but ${game.enabled().join(", ")} never ran`];
  if (status !== record.status) return [`the run is recorded as ${record.status}, expected ${status}`];
  return [
    ...difference("output of the run", record.output, output),
    ...difference("node of the run's error", record.error?.node_id ?? null, error?.node_id ?? null),
    ...difference("code of the run's error", record.error?.code ?? null, error?.code ?? null),
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
