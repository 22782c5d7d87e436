/**
 * One node execution in a worker: from its token's inputs to the finished item that `advance` applies. Owns nothing; a crash
 * here loses only work that was never recorded.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { HitzeroError } from "../../base/errors.ts";
import { isOf } from "../../base/foreign.ts";
import { encodeJson } from "../../base/json.ts";
import { LazyAbort } from "../../base/lazy_abort.ts";
import type { Log } from "../../base/log.ts";
import { isRetryable, requestedDelayMs } from "../../handlers/errors.ts";
import type { HttpConnections } from "../../handlers/http_connections.ts";
import { performNode } from "../../handlers/node_types.ts";
import { errorOf } from "../../handlers/thrown.ts";
import type { Execution, Handlers } from "../../handlers/types.ts";
import type { Losses } from "../../redis/replies.ts";
import { backoffMs } from "../../token/backoff.ts";
import type { ExecutionDetail, ExecutionError } from "../../token/journal.ts";
import { OUTCOME } from "../../token/letters.ts";
import { functionOf } from "../../workflow/ir/function_of.ts";
import type { IRNode } from "../../workflow/ir/ir.ts";
import { MAX_JSON_DEPTH, MAX_OUTPUT_BYTES, MOST_LOSSES } from "../limits.ts";
import { type Outcome, route } from "../nodes/routed.ts";
import { beginWaiting, endWaiting, mustWait, type Parked, type WaitingServices } from "../nodes/waiting.ts";
import { performWatched } from "./escapes.ts";
import { bareItem, finishedItem, type HandOver, type Performed } from "./finished_item.ts";
import { type HeldExecution, nodeOf, ownCopy, viewOf } from "./held.ts";

export interface PerformOptions {
  workerId: string;
  handlers: Handlers;
  connections: HttpConnections;
  now: () => number;
  /** The worker's. */
  log: Log;
  /** Asked when it is done. */
  mayHandOver: () => HandOver;
  /** Aborted when the worker holds the execution no more. */
  lost: LazyAbort;
  /** Calls the handler: should it block the event loop, it is known which one does. */
  call: <T>(work: () => T) => T;
  /** What executions that wait need of the servers. */
  services: WaitingServices;
}

/** The reason of `lost` when the run was halted: the execution is then CANCELLED. */
export const RUN_HALTED = "RUN_HALTED";

/** The reason of `lost` when the worker ends before the handler: the execution is left to its lease, and nothing is said of it. */
export const WORKER_STOPS = "WORKER_STOPS";

/** The reason of `lost` when its lease ran out: nothing is said of it either. */
export const LEASE_LOST = "LEASE_LOST";

/** A handler that is told to stop has this long to do so. */
const GRACE_MS = 200;

/** An error that escaped from an execution's handler: nobody awaited it. */
class Escape {
  readonly cause: unknown;

  constructor(cause: unknown) {
    this.cause = cause;
  }
}

/** Runs the handler under the node's timeout; `abort` is called off when it passes. Fails, too, by what escapes from the handler. */
function withTimeout<T>(
  held: HeldExecution,
  abort: LazyAbort,
  { lost, workerId }: PerformOptions,
  log: () => Log,
  work: () => Promise<T>,
): Promise<T> {
  const node = nodeOf(held);
  const place = held.scope === "" ? "" : ` in scope ${held.scope}`;
  const name = `node ${node.id}${place} of run ${held.runId}`;
  return new Promise<T>((resolve, reject) => {
    let over = false;
    const timer = setTimeout(() => {
      const error = new HitzeroError("TIMED_OUT", `node ${node.id} timed out after ${node.timeout_ms} ms`, {
        hint: "Raise timeout_ms of the node, or let the handler honour its signal.",
      });
      end(() => reject(error));
      abort.abort(error);
    }, node.timeout_ms);
    const end = (say: () => void) => {
      over = true;
      clearTimeout(timer);
      lost.onAbort = undefined;
      say();
    };
    const onEscape = (error: unknown) => {
      if (over) {
        const { code, message, stack } = errorOf(error, 0, workerId);
        log().error({ code, message, stack }, "an error escaped from a handler whose execution is over");
        return;
      }
      end(() => reject(new Escape(error)));
      abort.abort(error);
    };
    lost.onAbort = () => {
      abort.abort(lost.reason);
      // A success that still arrives is recorded; a handler that ignores its signal is left alone.
      setTimeout(() => end(() => reject(lost.reason)), GRACE_MS);
    };
    performWatched({ name, onEscape }, work).then(
      (value) => end(() => resolve(value)),
      (error: unknown) => end(() => reject(error)),
    );
  });
}

/**
 * Performs one execution. Never throws: whatever fails becomes the execution's failure. Undefined: the worker stops, and the handler did
 * not end before.
 */
export async function perform(held: HeldExecution, options: PerformOptions): Promise<Performed | undefined> {
  const node = nodeOf(held);
  const startedAt = options.now();
  const abort = new LazyAbort();
  const log = logOf(held, options.log);
  const runsHandler = functionOf(node) !== undefined;
  const execution = viewOf(runsHandler ? ownCopy(held) : held, abort, log);
  const produce = async (): Promise<{ text: string } | Parked> => {
    // An input that cannot be evaluated fails the node, even if nothing reads its data.
    if (node.input !== undefined) void execution.data;
    if (mustWait(node) && held.woken === undefined) return beginWaiting(execution, options.services);
    if (mustWait(node)) return endWaiting(held, execution, options.services);
    const value = await options.call(() => performNode(execution, options.handlers, options.connections));
    // What it left behind that has failed already is known when this turn of the event loop is over.
    if (runsHandler) await nextTurn();
    const limits = {
      maxBytes: MAX_OUTPUT_BYTES,
      maxDepth: MAX_JSON_DEPTH,
      what: `the output of node ${node.id}`,
    };
    return { text: encodeJson(value ?? null, limits) };
  };
  const detail = (error?: ExecutionError) => detailOf(held, startedAt, options, error);
  let first: Outcome;
  try {
    if (held.losses && isDeadLetter(held.losses)) throw deadLetter(held.losses);
    const produced = await withTimeout(held, abort, options, log, produce);
    if ("park" in produced) {
      const item = bareItem(
        held,
        OUTCOME.waiting,
        { ...detail(), ...produced.detail },
        { park: produced.park },
      );
      return { item, blobs: produced.blobs };
    }
    first = produced;
  } catch (thrown) {
    const loss = lossOf(options.lost);
    if (loss === WORKER_STOPS || loss === LEASE_LOST) return undefined;
    // A wait for a server that ended since the worker does: whoever takes the execution next waits on.
    const halted = loss === RUN_HALTED;
    if (!halted && mustWait(node) && isOf(thrown, HitzeroError) && thrown.exitCode === 3) return undefined;
    const failure = isOf(thrown, Escape) ? thrown.cause : thrown;
    const error = errorOf(halted ? options.lost.reason : failure, held.attempt, options.workerId);
    if (isOf(thrown, Escape)) {
      error.code = "ESCAPED_ERROR";
      error.message = `an error escaped from the handler of node ${node.id}: ${error.message}`;
    }
    const due = halted ? undefined : nextAttempt(failure, held, node, options);
    if (halted) return { item: bareItem(held, OUTCOME.cancelled, detail(error)), blobs: [] };
    noteFailure(held, error, due, options);
    if (due !== undefined)
      return { item: bareItem(held, OUTCOME.retrying, detail(error), { due }), blobs: [] };
    first = { error };
  }
  // A handler may have changed what it was given; conditions see what is on record.
  const seen = runsHandler && hasConditions(held) ? viewOf(held, abort, log) : execution;
  return concluded(held, seen, first, detail, options);
}

function hasConditions(held: HeldExecution): boolean {
  const { loop, out } = nodeOf(held);
  return loop !== undefined || out.some((edge) => held.ir.edges[edge]?.condition !== undefined);
}

/** What is needed where no handler is called. */
type Outside = Pick<PerformOptions, "workerId" | "now" | "log" | "mayHandOver" | "lost"> & {
  services: Pick<WaitingServices, "limits">;
};

/** What a failure comes to that is not its handler's: it is not tried again. */
export function failed(held: HeldExecution, thrown: HitzeroError, options: Outside): Performed {
  const execution = viewOf(held, options.lost, logOf(held, options.log));
  const startedAt = options.now();
  const error = errorOf(thrown, held.attempt, options.workerId);
  noteFailure(held, error, undefined, options);
  return concluded(held, execution, { error }, (told) => detailOf(held, startedAt, options, told), options);
}

function detailOf(
  held: HeldExecution,
  startedAt: number,
  options: Pick<PerformOptions, "workerId" | "now">,
  error: ExecutionError | undefined,
): ExecutionDetail {
  return {
    worker: options.workerId,
    started_at: startedAt,
    ended_at: Math.max(startedAt, options.now()),
    from: [...held.sources],
    ...(error?.code === "DEAD_LETTER" && held.losses ? { losses: held.losses } : {}),
    ...(error === undefined ? {} : { error }),
  };
}

function concluded(
  held: HeldExecution,
  execution: Execution,
  first: Outcome,
  detail: (error?: ExecutionError) => ExecutionDetail,
  options: Outside,
): Performed {
  const routed = route(execution, first, options.workerId);
  if ("error" in routed.outcome && !("error" in first))
    noteFailure(held, routed.outcome.error, undefined, options);
  const told = {
    ...detail("error" in routed.outcome ? routed.outcome.error : undefined),
    ...(routed.faults.length > 0 ? { faults: routed.faults } : {}),
  };
  return finishedItem(held, routed, told, options.mayHandOver(), options.services.limits.inlineBytes);
}

/** Where an execution stands, for the log. */
function placeOf(held: HeldExecution): Record<string, unknown> {
  const { runId, ir, scope, attempt } = held;
  return { run_id: runId, workflow: ir.name, node: nodeOf(held).id, scope, attempt };
}

/** The handler's, made when it is asked for: its lines say where they come from. */
function logOf(held: HeldExecution, log: Log): () => Log {
  let own: Log | undefined;
  return () => {
    const parent = log as Log & { child?: (bindings: object) => Log };
    own ??= parent.child?.(placeOf(held)) ?? log;
    return own;
  };
}

/** One line for each failed attempt. What the engine itself took back did not fail. */
function noteFailure(
  held: HeldExecution,
  error: ExecutionError,
  due: number | undefined,
  { log, lost }: Pick<PerformOptions, "log" | "lost">,
): void {
  if (lost.aborted) return;
  const { code, message, stack, causes } = error;
  const more = due === undefined ? {} : { max_attempts: nodeOf(held).retry.max_attempts };
  log.warn({ ...placeOf(held), ...more, code, message, stack, causes }, "an attempt failed");
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
  held: HeldExecution,
  node: IRNode,
  options: PerformOptions,
): number | undefined {
  if (held.attempt >= node.retry.max_attempts || !isRetryable(thrown) || options.lost.aborted)
    return undefined;
  return options.now() + (requestedDelayMs(thrown) ?? backoffMs(node.retry, held.attempt, Math.random()));
}

/** Code of the reason for which the worker holds the execution no more. */
function lossOf(lost: LazyAbort): string | undefined {
  return lost.aborted ? (lost.reason as HitzeroError).code : undefined;
}
