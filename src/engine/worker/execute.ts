/**
 * One node execution in a worker: from its token's inputs to the step that `advance` applies. Owns nothing; a crash here loses only
 * work that was never recorded.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { HitzeroError } from "../../base/errors.ts";
import { isOf } from "../../base/foreign.ts";
import { encodeJson } from "../../base/json.ts";
import { LazyAbort } from "../../base/lazy_abort.ts";
import type { Log } from "../../base/log.ts";
import { isRetryable, requestedDelayMs } from "../../handlers/errors.ts";
import type { HttpConnections } from "../../handlers/http_connections.ts";
import { callNode } from "../../handlers/node_types.ts";
import { errorOf } from "../../handlers/thrown.ts";
import type { Execution, Handlers } from "../../handlers/types.ts";
import type { Losses } from "../../redis/replies.ts";
import { backoffMs } from "../../token/backoff.ts";
import type { ExecutionDetail, ExecutionError } from "../../token/journal.ts";
import { OUTCOME } from "../../token/letters.ts";
import { type Limits, MAX_JSON_DEPTH, MAX_OUTPUT_BYTES, MOST_LOSSES } from "../limits.ts";
import { type Outcome, type Routed, route } from "../nodes/routed.ts";
import { beginWaiting, endWaiting, type Parked, type WaitingServices } from "../nodes/waiting.ts";
import { Attempt, type AttemptRoom, Escape } from "./attempt.ts";
import { bareStep, finishedStep, type HandOver, type Performed } from "./finished_step.ts";
import type { Slot } from "./slot.ts";
import { View } from "./view.ts";

/** What is needed where no handler is called. */
export interface Outside {
  workerId: string;
  now: () => number;
  /** The worker's. */
  log: Log;
  limits: Pick<Limits, "inlineBytes">;
  /** Asked when it is done. */
  mayHandOver: (slot: Slot) => HandOver;
}

/** What executions are performed with: the same for all of a worker. */
export interface Surroundings extends Outside, AttemptRoom {
  handlers: Handlers;
  connections: HttpConnections;
  /** Calls the handler: should it block the event loop, it is known which one does. */
  call: <T>(slot: Slot, work: () => T) => T;
  /** What an execution that waits needs of the servers, until `over` is aborted. */
  servicesOf: (slot: Slot, over: LazyAbort) => WaitingServices;
}

/** The reason of `lost` when the run was halted: the execution is then CANCELLED. */
export const RUN_HALTED = "RUN_HALTED";

/** The reason of `lost` when the worker ends before the handler: the execution is left to its lease, and nothing is said of it. */
export const WORKER_STOPS = "WORKER_STOPS";

/** The reason of `lost` when its lease ran out: nothing is said of it either. */
export const LEASE_LOST = "LEASE_LOST";

type Produced = { text: string } | Parked;

/**
 * Performs one execution. Never throws, nor rejects: whatever fails becomes the execution's failure. Undefined: the worker stops, and the
 * handler did not end before. What only evaluates expressions is over when the call returns.
 */
export function perform(
  slot: Slot,
  around: Surroundings,
): Performed | undefined | Promise<Performed | undefined> {
  const abort = new LazyAbort();
  slot.startedAt = around.now();
  const view = new View(slot, abort, (of) => logOf(of, around.log), slot.facts.runsHandler);
  let evaluated: { text: string };
  try {
    if (slot.losses && isDeadLetter(slot.losses)) throw deadLetter(slot.losses);
    if (!slot.facts.isImmediate) return performLasting(slot, view, abort, around);
    evaluated = evaluate(slot, view, around);
  } catch (thrown) {
    return failedBy(slot, view, thrown, abort, around);
  }
  return concluded(slot, view, evaluated, abort, around);
}

/** What may last: a handler, a request, what waits. */
async function performLasting(
  slot: Slot,
  view: Execution,
  abort: LazyAbort,
  around: Surroundings,
): Promise<Performed | undefined> {
  const over = new LazyAbort();
  let produced: Produced;
  try {
    const attempt = new Attempt<Produced>(slot, abort, around, () => view.log);
    produced = await attempt.run(() =>
      slot.facts.waits ? waited(slot, view, around.servicesOf(slot, over)) : called(slot, view, around),
    );
  } catch (thrown) {
    return failedBy(slot, view, thrown, abort, around);
  } finally {
    // Its time is up, perhaps, or nobody wants it any more: what still waits for a server waits for nothing.
    over.abort();
  }
  if (!("park" in produced)) return concluded(slot, view, produced, abort, around);
  const { park, blobs } = produced;
  const detail = { ...detailOf(slot, around, undefined), ...produced.detail };
  return { step: bareStep(slot, OUTCOME.waiting, detail, { park }), blobs };
}

/** The output of a node that only evaluates expressions. */
function evaluate(slot: Slot, view: Execution, around: Surroundings): { text: string } {
  // An input that cannot be evaluated fails the node, even if nothing reads its data.
  if (slot.node.input !== undefined) void view.data;
  return outputOf(
    slot,
    around.call(slot, () => callNode(view, around.handlers)),
  );
}

async function called(slot: Slot, view: Execution, around: Surroundings): Promise<{ text: string }> {
  if (slot.node.input !== undefined) void view.data;
  const { handlers, connections } = around;
  const value = await around.call(slot, () => callNode(view, handlers, connections));
  // What it left behind that has failed already is known when this turn of the event loop is over.
  if (slot.facts.runsHandler) await nextTurn();
  return outputOf(slot, value);
}

/** Between its two phases no worker holds what waits. */
async function waited(slot: Slot, view: Execution, services: WaitingServices): Promise<Produced> {
  const { node, woken } = slot;
  if (node.input !== undefined) void view.data;
  return woken === undefined ? beginWaiting(view, services) : endWaiting(woken, view, services);
}

function outputOf({ node }: Slot, value: unknown): { text: string } {
  return {
    text: encodeJson(value ?? null, {
      maxBytes: MAX_OUTPUT_BYTES,
      maxDepth: MAX_JSON_DEPTH,
      what: `the output of node ${node.id}`,
    }),
  };
}

/** What a failed attempt comes to: another attempt, the failure, or nothing, if this worker has no say in it any more. */
function failedBy(
  slot: Slot,
  view: Execution,
  thrown: unknown,
  abort: LazyAbort,
  around: Surroundings,
): Performed | undefined {
  const loss = lossOf(slot.lost);
  if (loss === WORKER_STOPS || loss === LEASE_LOST) return undefined;
  // A wait for a server that ended since the worker does: whoever takes the execution next waits on.
  const halted = loss === RUN_HALTED;
  if (!halted && slot.facts.waits && isOf(thrown, HitzeroError) && thrown.exitCode === 3) return undefined;
  const failure = isOf(thrown, Escape) ? thrown.cause : thrown;
  const error = errorOf(halted ? slot.lost.reason : failure, slot.attempt, around.workerId);
  if (isOf(thrown, Escape)) {
    error.code = "ESCAPED_ERROR";
    error.message = `an error escaped from the handler of node ${slot.node.id}: ${error.message}`;
  }
  const detail = detailOf(slot, around, error);
  if (halted) return { step: bareStep(slot, OUTCOME.cancelled, detail), blobs: [] };
  const due = nextAttempt(failure, slot, around);
  if (!slot.lost.aborted) noteFailure(slot, error, due, around);
  if (due !== undefined) return { step: bareStep(slot, OUTCOME.retrying, detail, { due }), blobs: [] };
  return concluded(slot, view, { error }, abort, around);
}

/** What a failure comes to that is not its handler's: it is not tried again. `isQuiet`: it is not logged, as the process gives up. */
export function failed(slot: Slot, thrown: HitzeroError, around: Outside, isQuiet = false): Performed {
  const view = new View(slot, new LazyAbort(), (of) => logOf(of, around.log));
  slot.startedAt = around.now();
  const error = errorOf(thrown, slot.attempt, around.workerId);
  if (!isQuiet) noteFailure(slot, error, undefined, around);
  return finished(slot, route(view, { error }, around.workerId), { error }, around);
}

function concluded(
  slot: Slot,
  view: Execution,
  first: Outcome,
  abort: LazyAbort,
  around: Outside,
): Performed {
  const { arrivals, runsHandler, hasConditions } = slot.facts;
  if (arrivals !== undefined && !("error" in first))
    return finished(
      slot,
      { outcome: first, arrivals, again: false, unhandled: false, faults: [] },
      first,
      around,
    );
  // A handler may have changed what it was given; conditions see what is on record.
  const seen = runsHandler && hasConditions ? new View(slot, abort, (of) => logOf(of, around.log)) : view;
  return finished(slot, route(seen, first, around.workerId), first, around);
}

function finished(slot: Slot, routed: Routed, first: Outcome, around: Outside): Performed {
  const error = "error" in routed.outcome ? routed.outcome.error : undefined;
  if (error !== undefined && !("error" in first) && !slot.lost.aborted)
    noteFailure(slot, error, undefined, around);
  const detail = detailOf(slot, around, error);
  if (routed.faults.length > 0) detail.faults = routed.faults;
  return finishedStep(slot, routed, detail, around.mayHandOver(slot), around.limits.inlineBytes);
}

function detailOf(
  { startedAt, sources, losses }: Slot,
  { workerId, now }: Pick<Outside, "workerId" | "now">,
  error: ExecutionError | undefined,
): ExecutionDetail {
  const detail: ExecutionDetail = {
    worker: workerId,
    started_at: startedAt,
    ended_at: Math.max(startedAt, now()),
    from: sources as number[],
  };
  if (error === undefined) return detail;
  if (error.code === "DEAD_LETTER" && losses) detail.losses = losses;
  detail.error = error;
  return detail;
}

/** Where an execution stands, for the log. */
function placeOf({ runId, ir, node, scope, attempt }: Slot): Record<string, unknown> {
  return { run_id: runId, workflow: ir.name, node: node.id, scope, attempt };
}

/** The handler's: its lines say where they come from. */
function logOf(slot: Slot, log: Log): Log {
  const parent = log as Log & { child?: (bindings: object) => Log };
  return parent.child?.(placeOf(slot)) ?? log;
}

/** One line for each failed attempt. What the engine itself took back did not fail. */
function noteFailure(
  slot: Slot,
  error: ExecutionError,
  due: number | undefined,
  { log }: Pick<Outside, "log">,
): void {
  const { code, message, stack, causes } = error;
  const more = due === undefined ? {} : { max_attempts: slot.node.retry.max_attempts };
  log.warn({ ...placeOf(slot), ...more, code, message, stack, causes }, "an attempt failed");
}

/** Those that nobody explains may be of who starts workers again: they count half. */
const isDeadLetter = ({ alone, unexplained }: Losses) => alone - unexplained / 2 >= MOST_LOSSES;

function deadLetter({ alone, words }: Losses): HitzeroError {
  const how = words === "" ? "" : `; the last: ${words}`;
  return new HitzeroError("DEAD_LETTER", `${alone} workers died that performed it and nothing else${how}`, {
    hint: "Does the handler end its process, crash it, use up its memory, or never come back?",
  });
}

/** When the next attempt is due, if there is one. */
function nextAttempt(
  thrown: unknown,
  { node, attempt, lost }: Slot,
  { now }: Pick<Outside, "now">,
): number | undefined {
  if (attempt >= node.retry.max_attempts || !isRetryable(thrown) || lost.aborted) return undefined;
  return now() + (requestedDelayMs(thrown) ?? backoffMs(node.retry, attempt, Math.random()));
}

/** Code of the reason for which the worker holds the execution no more. */
function lossOf(lost: LazyAbort): string | undefined {
  return lost.aborted ? (lost.reason as HitzeroError).code : undefined;
}
