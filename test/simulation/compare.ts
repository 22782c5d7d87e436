/**
 * Compares what the engine recorded of a run with the reference: replays the recorded order of resolutions as a game.
 *
 * A run that was cancelled, or that failed fast, has many legal records. Its replay takes the moment of the halt and the
 * executions that were withdrawn from the record, and asks of each whether it was legal then.
 */
import { isObject, type Json } from "./expression.ts";
import {
  allNodes,
  type Behaviours,
  compensationOf,
  type SimulatedNode,
  type SimulatedWorkflow,
} from "./model.ts";
import { createGame, type Game, type Moment, type NodeResult } from "./reference.ts";
import type { Reason } from "./reference_routing.ts";
import { idIn, keyOf } from "./reference_scopes.ts";

export interface RecordedNode {
  node_id: string;
  /** Empty outside bodies, else like `poll:3/each:17`. */
  scope: string;
  status: string;
  /** Tries of the handler; 0: never tried. */
  attempt: number;
  retry_count: number;
  /** `not_taken`, or the word and the id of the node that caused it after any punctuation; null if it ran. */
  reason: string | null;
  output: Json;
  error: { code: string; message: string } | null;
  /** Predecessors whose taken arrivals it fired on. Compared as a set, for executions that ran. */
  from_nodes: string[];
  /** Place in the order of resolutions; equal for a cause and the skips of the same step. null: unknown (SKIPPED), or never
   * activated (CANCELLED). */
  resolved_order: number | null;
  /** When it was resolved, ms since 1970. */
  resolved_at?: number | undefined;
}

/** What is recorded beside executions that are over. `fate`: what became of a signal. */
export type RecordedMoment = Moment & { fate?: string };

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
  /** The runs that executions of it started, by the key of the execution. */
  children?: Record<string, RunRecord>;
  /** Default: executions that wait for signals were answered as the workflow foresees. */
  moments?: RecordedMoment[];
  /** ms since 1970. */
  started_at?: number;
}

export interface CompareOptions {
  /** Arrivals may be delivered some steps after their cause (edges settled in parts), so that a `one_success` node may
   * have fired on any arrival that was on its way, not only on the first. Default false. */
  arrivalsMayLag?: boolean;
}

/** A record that is replayed as a game. */
interface Replay {
  workflow: SimulatedWorkflow;
  game: Game;
  record: RunRecord;
  behaviours: Behaviours;
  options: CompareOptions;
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
  const replay = { workflow, game: createGame(workflow, input), record, behaviours, options };
  const { found, complete } = replayAll(replay);
  if (!complete) return found;
  return [...found, ...compareRest(replay), ...compareChildren(replay), ...compareRun(replay)];
}

/** Stops where the order of the record makes no sense any more. */
function replayAll(replay: Replay): { found: string[]; complete: boolean } {
  const { game, record } = replay;
  const found: string[] = [];
  const moments = (record.moments ?? []).toSorted((a, b) => a.order - b.order);
  let cancelAt = record.cancelled_at ?? Number.POSITIVE_INFINITY;
  for (const node of inOrder(record.nodes)) {
    for (; moments[0] && isDue(moments[0], orderOf(node), cancelAt); moments.shift())
      found.push(...compareMoment(game, moments[0]));
    if (orderOf(node) > cancelAt) {
      found.push(...cancel(game, record));
      cancelAt = Number.POSITIVE_INFINITY;
    }
    forgetUnbegun(replay);
    if (node.status === "SKIPPED") found.push(...compareMomentOfSkip(game, node));
    else if (node.status === "CANCELLED") found.push(...compareCancelled(replay, node));
    else if (game.enabled().includes(nameOf(node))) found.push(...compareResolved(replay, node));
    else {
      const when = `${nameOf(node)} is recorded as ${node.status} when it was not ready to run`;
      return { found: [...found, `${when}: ${whyNot(game, node)}`], complete: false };
    }
  }
  for (; moments[0] && isDue(moments[0], Number.POSITIVE_INFINITY, cancelAt); moments.shift())
    found.push(...compareMoment(game, moments[0]));
  if (cancelAt < Number.POSITIVE_INFINITY) found.push(...cancel(game, record));
  forgetUnbegun(replay);
  return { found, complete: true };
}

/** What it caused has the same place in the order. */
function isDue({ order }: RecordedMoment, next: number, cancelAt: number): boolean {
  return order <= next && order < cancelAt;
}

function compareMoment(game: Game, moment: RecordedMoment): string[] {
  switch (moment.kind) {
    case "wait":
      return game.wait(moment.key)
        ? []
        : [`${moment.key} is recorded as waiting, for which it was not ready`];
    case "look":
      return difference(`complete_when of ${moment.key}`, moment.answer, game.look(moment.key));
    case "signal": {
      const fate = game.signal(moment.signal);
      return difference(`fate of the signal ${moment.signal.name}`, moment.fate ?? fate, fate);
    }
  }
}

/** Items of maps that the halt kept from beginning. */
function forgetUnbegun(replay: Replay): void {
  if (replay.game.isHalting()) replay.game.forgetItems((scope) => isBegun(replay, scope));
}

/** Cancelled before it started: nothing ever happened in it. */
function compareUnstarted(record: RunRecord): string[] {
  return [
    ...difference("status of the run", record.status, "CANCELLED"),
    ...difference("output of the run", record.output, null),
    ...record.nodes
      .filter((node) => node.status !== "CANCELLED" || node.attempt !== 0 || node.scope !== "")
      .map((node) => `${nameOf(node)} is recorded as ${node.status} in a run that never started`),
  ];
}

/**
 * A run is not over while it is paused, while items that a map left behind are still to be withdrawn, or while its last step is settled,
 * of which calls that came later than the cancel skipped executions: the rest of a step is part of it (ADR 10).
 */
function cancel(game: Game, record: RunRecord): string[] {
  const at = record.cancelled_at ?? Number.POSITIVE_INFINITY;
  const later = record.nodes.filter(({ resolved_order }) => resolved_order !== null && resolved_order > at);
  const leavesItems = later.some(({ scope, status }) => scope !== "" && status === "CANCELLED");
  const skips = later.some(({ status }) => status === "SKIPPED");
  return game.cancel(record.cancelled_in_pause || leavesItems || skips)
    ? []
    : ["the run is recorded as cancelled after it was over"];
}

/** Faults that make a replay pointless: nodes missing outside bodies, unknown, twice, or in no final status. */
function malformations(workflow: SimulatedWorkflow, record: RunRecord): string[] {
  const recorded = record.nodes.map(nameOf);
  const known = new Set(
    allNodes(workflow).flatMap(({ id, compensated }) => (compensated ? [id, compensationOf(id)] : [id])),
  );
  const final = ["COMPLETED", "FAILED", "SKIPPED", "CANCELLED"];
  const performed = (node: RecordedNode): boolean => node.status === "COMPLETED" || node.status === "FAILED";
  return [
    ...recorded
      .filter((key, index) => recorded.indexOf(key) < index)
      .map((key) => `${key} is recorded twice`),
    ...recorded.filter((key) => !known.has(idIn(key))).map((key) => `${key} is no node of the workflow`),
    ...record.nodes
      .filter((node) => !final.includes(node.status))
      .map((node) => `${nameOf(node)} ended in status ${node.status}`),
    ...record.nodes
      .filter((node) => performed(node) && node.resolved_order === null)
      .map((node) => `${nameOf(node)} is ${node.status} without a resolved_order`),
    ...record.nodes
      .filter((node) => node.retry_count !== Math.max(node.attempt - 1, 0))
      .map((node) => `${nameOf(node)} has retry_count ${node.retry_count} with attempt ${node.attempt}`),
  ];
}

function nameOf({ node_id, scope }: RecordedNode): string {
  return keyOf(node_id, scope);
}

/** By resolved_order; skips after the executions of the same step, and last where their order is unknown. */
function inOrder(nodes: readonly RecordedNode[]): RecordedNode[] {
  const skipped = (node: RecordedNode): number => (node.status === "SKIPPED" ? 1 : 0);
  return nodes.toSorted((a, b) => orderOf(a) - orderOf(b) || skipped(a) - skipped(b));
}

function orderOf(node: RecordedNode): number {
  return node.resolved_order ?? Number.MAX_SAFE_INTEGER;
}

function compareResolved(replay: Replay, node: RecordedNode): string[] {
  const { game, record, behaviours, options } = replay;
  const key = nameOf(node);
  const [from] = node.from_nodes;
  if (options.arrivalsMayLag === true && from !== undefined && node.from_nodes.length === 1)
    game.fireOn(key, from);
  const told = {
    error: node.error ?? undefined,
    child: record.children?.[key],
    unnoticed: true,
  };
  const childless = game.childOf(key) !== null && told.child === undefined;
  const expected = game.resolve(key, behaviours[node.node_id], told);
  return [
    ...(childless ? [`${key} has no child run`] : []),
    ...compareNode(key, expected, node),
    ...compareTime(replay, expected, node),
  ];
}

/** Each process estimates the clock of Redis; on a busy machine they may differ by so much. */
const CLOCKS_DIFFER_MS = 250;

/** What waits for a time does not end before. */
function compareTime(
  { workflow, record }: Replay,
  expected: NodeResult,
  { node_id, scope, status, error, resolved_at }: RecordedNode,
): string[] {
  const key = keyOf(node_id, scope);
  const waiting = allNodes(workflow).find(({ id }) => id === node_id);
  const isOver = waiting?.type === "wait" && status === "COMPLETED";
  if (resolved_at === undefined || (!isOver && error?.code !== "SIGNAL_TIMED_OUT")) return [];
  const dues = record.moments?.flatMap((one) =>
    one.kind === "wait" && one.key === key ? [one.due ?? 0] : [],
  );
  const earliest = Math.max(
    expected.not_before ?? 0,
    (record.started_at ?? 0) + (waiting === undefined ? 0 : lastsAtLeast(waiting)),
    ...(dues ?? []),
  );
  const early = earliest - resolved_at;
  return early > CLOCKS_DIFFER_MS ? [`${key} ended ${Math.round(early)} ms before it was due`] : [];
}

/** ms from when it begins to wait. */
function lastsAtLeast(node: SimulatedNode): number {
  if (node.type === "wait") return "until" in node ? 0 : node.duration_ms;
  return node.type === "signal" || node.type === "approval" ? (node.deadline_ms ?? 0) : 0;
}

/** An execution that was withdrawn by another one, or given up in a run that was halted. */
function compareCancelled({ game, behaviours }: Replay, node: RecordedNode): string[] {
  const key = nameOf(node);
  if (node.resolved_order === null) return [];
  const by = /^withdrawn\W+([\w.-]+)/.exec(node.reason ?? "")?.[1];
  if (by !== undefined && game.outstanding().includes(key)) awaken(game, by, node.scope);
  if (game.result().nodes[key]?.status === "CANCELLED") return compareAttempts(game, node);
  if (!game.isHalting()) return [`${key} is recorded as CANCELLED in a run that went on`];
  if (!game.outstanding().includes(key)) return [`${key} is recorded as CANCELLED: ${whyNot(game, node)}`];
  game.withdraw(key, behaviours[node.node_id]);
  return compareAttempts(game, node);
}

/** What another execution waited for has come, by which it withdrew this one. */
function awaken(game: Game, by: string, scope: string): void {
  const around = scope.split("/").map((_part, index, parts) => parts.slice(0, index).join("/"));
  for (const key of [...around, scope].map((outer) => keyOf(by, outer))) if (game.wake(key)) return;
}

function compareAttempts(game: Game, node: RecordedNode): string[] {
  const { attempts } = game.result().nodes[nameOf(node)]!;
  const possible = node.attempt >= 1 && node.attempt <= attempts;
  return [
    ...(possible
      ? []
      : [`attempt of ${nameOf(node)} (CANCELLED) is ${node.attempt}, expected 1 to ${attempts}`]),
    ...difference(`output of ${nameOf(node)}`, node.output, null),
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

/** A skip may be recorded in the step that caused it, or later; never before. One because of `unless` is a step of its own. */
function compareMomentOfSkip(game: Game, node: RecordedNode): string[] {
  const key = nameOf(node);
  if (node.reason?.startsWith("unless") && game.enabled().includes(key)) game.skipUnless(key);
  const skipped = game.result().nodes[key]?.status === "SKIPPED";
  return skipped || node.resolved_order === null
    ? []
    : [`${key} is recorded as SKIPPED at ${node.resolved_order}, when it was not: ${whyNot(game, node)}`];
}

/** The executions that have no move of their own: skipped, withdrawn, or never activated in a halted run. */
function compareRest(replay: Replay): string[] {
  const { game, record } = replay;
  const expected = game.result().nodes;
  const recorded = new Set(record.nodes.map(nameOf));
  const lacking = Object.entries(expected).filter(
    ([key, { scope, status }]) => !recorded.has(key) && (status !== "CANCELLED" || isBegun(replay, scope)),
  );
  return [
    ...lacking.map(([key, { status }]) => `${key} has no record, expected ${status}`),
    ...record.nodes.flatMap((node) => compareMoveless(game, node, expected[nameOf(node)])),
  ];
}

function compareMoveless(game: Game, node: RecordedNode, expected: NodeResult | undefined): string[] {
  const key = nameOf(node);
  const moved = (status: string): boolean => status === "COMPLETED" || status === "FAILED";
  if (expected === undefined) {
    if (game.outstanding().includes(key))
      return [`${key} was ready to run, but is recorded as ${node.status}`];
    const over = game.result().status !== "RUNNING";
    return over ? [`${key} is recorded as ${node.status}, but never was to be`] : [];
  }
  if (moved(node.status) && moved(expected.status)) return [];
  if (node.status !== expected.status)
    return [`${key} is recorded as ${node.status}, expected ${expected.status}`];
  const withReason =
    expected.reason === null || sameReason(node.reason, expected.reason)
      ? []
      : [`reason of ${key} is ${node.reason}, expected ${reasonText(expected.reason)}`];
  if (node.status === "CANCELLED" && node.resolved_order !== null) return withReason;
  return [
    ...difference(`attempt of ${key}`, node.attempt, 0),
    ...withReason,
    ...difference(`output of ${key}`, node.output, null),
  ];
}

/** Anything is recorded of the innermost item in which the scope lies; what lies in none has begun. */
function isBegun({ workflow, record }: Replay, scope: string): boolean {
  const maps = allNodes(workflow).filter(({ type }) => type === "map");
  const parts = scope.split("/");
  const last = parts.findLastIndex((part) => maps.some(({ id }) => part.startsWith(`${id}:`)));
  const item = parts.slice(0, last + 1).join("/");
  return last < 0 || record.nodes.some((node) => `${node.scope}/`.startsWith(`${item}/`));
}

function compareChildren({ game, record, behaviours, options }: Replay): string[] {
  const recorded = new Set(record.nodes.map(nameOf));
  return Object.entries(record.children ?? {}).flatMap(([key, child]) => {
    if (!recorded.has(key)) return [`${key} has a child run, but no record`];
    const of = game.childOf(key);
    if (of === null) return [`${key} has a child run, but starts none`];
    const found = compareRecord(of.workflow, of.input, behaviours, child, options);
    return found.map((text) => `in the child of ${key}: ${text}`);
  });
}

function compareRun({ game, record }: Replay): string[] {
  const { status, error, output, halted } = game.result();
  if (status === "RUNNING")
    return [`the run is recorded as ${record.status}, but ${game.outstanding().join(", ")} never ran`];
  if (status !== record.status) return [`the run is recorded as ${record.status}, expected ${status}`];
  const ended = halted === "cancel" ? "CANCELLED" : null;
  return [
    ...difference("output of the run", record.output, output),
    ...difference("node of the run's error", record.error?.node_id ?? null, error?.node_id ?? null),
    ...difference("code of the run's error", record.error?.code ?? null, error?.code ?? ended),
  ];
}

/** A reason as this module writes it: `not_taken`, `upstream_failed: n3`, `withdrawn: n3`, `unless: n3`. */
export function reasonText(reason: Reason): string {
  return reason.kind === "not_taken" ? reason.kind : `${reason.kind}: ${reason.node}`;
}

/** Any punctuation may stand between the word and the node's id. */
function sameReason(recorded: string | null, expected: Reason): boolean {
  const [, word, node] = /^(\w+?)(?:[\s:(,"'`]+([\w.-]+)[)"'`]*)?$/u.exec(recorded ?? "") ?? [];
  return word === expected.kind && node === (expected.kind === "not_taken" ? undefined : expected.node);
}

function codeAndMessage(error: { code: string; message: string } | null): Json {
  return error === null ? null : { code: error.code, message: error.message };
}

function whyNot(game: Game, node: RecordedNode): string {
  const key = nameOf(node);
  const result = game.result().nodes[key];
  if (result !== undefined) return `it was ${result.status} already`;
  if (game.enabled().includes(key)) return "it was ready to run";
  if (game.outstanding().includes(key))
    return game.looks().includes(key) ? "its complete_when was not answered" : "its items were not over";
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
