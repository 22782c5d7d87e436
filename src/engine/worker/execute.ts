/**
 * One node execution in a worker: from its token's inputs to the step that `advance` applies. Owns nothing; a crash here loses only
 * work that was never recorded.
 */
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
import { Attempt, type Attempted, type AttemptRoom, Escape } from "./attempt.ts";
import { bareStep, finishedStep, type HandOver, NO_BLOBS, type Performed } from "./finished_step.ts";
import type { Slot } from "./slot.ts";
import { placeOf, View } from "./view.ts";

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
  call: <T, Given extends unknown[]>(slot: Slot, work: (...given: Given) => T, ...given: Given) => T;
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
/** What ended it early is heard there. */
type Abort = { readonly signal: AbortSignal };
const NEVER: Abort = new LazyAbort();

/** Told once what an execution came to. Undefined: the worker stops, or another has it, and nothing is said of it. */
export type Done = (slot: Slot, performed: Performed | undefined) => void;

/**
 * Performs one execution. Never throws: whatever fails becomes the execution's failure. What only evaluates expressions is done when the call
 * returns.
 */
export function perform(slot: Slot, around: Surroundings, done: Done): void {
  slot.startedAt = around.now();
  const attempt = new Attempt(slot, around);
  const view = new View(slot, attempt, around.log, slot.facts.runsHandler);
  if (slot.losses && isDeadLetter(slot.losses))
    done(slot, failedBy(slot, view, deadLetter(slot.losses), attempt, around));
  else if (slot.facts.isImmediate) done(slot, evaluated(slot, view, attempt, around));
  else if (slot.facts.waits) attempt.run(new Waiting(slot, view, attempt, around, done));
  else attempt.run(new Calling(slot, view, attempt, around, done));
}

/** A node that only evaluates expressions. */
function evaluated(slot: Slot, view: Execution, abort: Abort, around: Surroundings): Performed | undefined {
  let output: Outcome;
  try {
    // An input that cannot be evaluated fails the node, even if nothing reads its data.
    if (slot.node.input !== undefined) void view.data;
    output = outputOf(
      slot,
      around.call(slot, () => callNode(view, around.handlers)),
    );
  } catch (thrown) {
    return failedBy(slot, view, thrown, abort, around);
  }
  return concluded(slot, view, output, abort, around);
}

/** What may last. */
abstract class Lasting implements Attempted {
  abstract readonly endsWithTurn: boolean;
  abstract work(): unknown;
  abstract produced(value: unknown): void;

  constructor(
    protected readonly slot: Slot,
    protected readonly view: Execution,
    protected readonly abort: Abort,
    protected readonly around: Surroundings,
    protected readonly done: Done,
  ) {}

  failed(thrown: unknown): void {
    const { slot, view, abort, around, done } = this;
    done(slot, failedBy(slot, view, thrown, abort, around));
  }
}

/** A handler, or a request. */
class Calling extends Lasting {
  /** Of a handler. */
  get endsWithTurn(): boolean {
    return this.slot.facts.runsHandler;
  }

  work(): unknown {
    if (this.slot.node.input !== undefined) void this.view.data;
    return this.around.call(this.slot, callNode, this.view, this.around.handlers, this.around.connections);
  }

  encode(result: unknown): Outcome {
    return outputOf(this.slot, result);
  }

  produced(output: Outcome): void {
    const { slot, view, abort, around, done } = this;
    done(slot, concluded(slot, view, output, abort, around));
  }
}

/** A node that waits: for what it is to wait, or what it waited for. */
class Waiting extends Lasting {
  readonly endsWithTurn = false;
  /** Its time is up, perhaps, or nobody wants it any more: what still waits for a server waits for nothing. */
  readonly #over = new LazyAbort();

  work(): Promise<Produced> {
    const { slot, view, around } = this;
    return waited(slot, view, around.servicesOf(slot, this.#over));
  }

  produced(produced: Produced): void {
    const { slot, view, abort, around, done } = this;
    this.#over.abort();
    if (!("park" in produced)) {
      done(slot, concluded(slot, view, produced, abort, around));
      return;
    }
    const { park, blobs } = produced;
    const detail = { ...detailOf(slot, around, undefined), ...produced.detail };
    done(slot, { step: bareStep(slot, OUTCOME.waiting, detail, { park }), blobs });
  }

  override failed(thrown: unknown): void {
    this.#over.abort();
    super.failed(thrown);
  }
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
  abort: Abort,
  around: Surroundings,
): Performed | undefined {
  const loss = lossOf(slot);
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
  if (halted) return { step: bareStep(slot, OUTCOME.cancelled, detail), blobs: NO_BLOBS };
  const due = nextAttempt(failure, slot, around);
  if (!slot.isLost) noteFailure(slot, error, due, around);
  if (due !== undefined) return { step: bareStep(slot, OUTCOME.retrying, detail, { due }), blobs: NO_BLOBS };
  return concluded(slot, view, { error }, abort, around);
}

/** What a failure comes to that is not its handler's: it is not tried again. `isQuiet`: it is not logged, as the process gives up. */
export function failed(slot: Slot, thrown: HitzeroError, around: Outside, isQuiet = false): Performed {
  const view = new View(slot, NEVER, around.log);
  slot.startedAt = around.now();
  const error = errorOf(thrown, slot.attempt, around.workerId);
  if (!isQuiet) noteFailure(slot, error, undefined, around);
  return finished(slot, route(view, { error }, around.workerId), { error }, around);
}

function concluded(slot: Slot, view: Execution, first: Outcome, abort: Abort, around: Outside): Performed {
  const { arrivals, runsHandler, hasConditions } = slot.facts;
  if (arrivals !== undefined && !("error" in first))
    return finished(
      slot,
      { outcome: first, arrivals, again: false, unhandled: false, faults: [] },
      first,
      around,
    );
  // A handler may have changed what it was given; conditions see what is on record.
  const seen = runsHandler && hasConditions ? new View(slot, abort, around.log) : view;
  return finished(slot, route(seen, first, around.workerId), first, around);
}

function finished(slot: Slot, routed: Routed, first: Outcome, around: Outside): Performed {
  const error = "error" in routed.outcome ? routed.outcome.error : undefined;
  if (error !== undefined && !("error" in first) && !slot.isLost) noteFailure(slot, error, undefined, around);
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
  { node, attempt, isLost }: Slot,
  { now }: Pick<Outside, "now">,
): number | undefined {
  if (attempt >= node.retry.max_attempts || !isRetryable(thrown) || isLost) return undefined;
  return now() + (requestedDelayMs(thrown) ?? backoffMs(node.retry, attempt, Math.random()));
}

/** Code of the reason for which the worker holds the execution no more. */
function lossOf(slot: Slot): string | undefined {
  return slot.isLost ? (slot.lost.reason as HitzeroError).code : undefined;
}
