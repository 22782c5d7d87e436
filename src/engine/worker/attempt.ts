/**
 * One call of what a node does, until it is over: because it ended, its time ran out, an error escaped from it, or the worker holds it no
 * more. Whatever comes first decides; what comes later is no news.
 *
 * Only what gives a promise is waited for by one: most handlers are over when their call returns.
 */
import { types } from "node:util";
import { HitzeroError } from "../../base/errors.ts";
import { LazyAbort } from "../../base/lazy_abort.ts";
import type { Log } from "../../base/log.ts";
import { errorOf } from "../../handlers/thrown.ts";
import type { Deadlines, Limited } from "./deadlines.ts";
import { performWatched } from "./escapes.ts";
import type { Slot } from "./slot.ts";
import type { TurnEnd, TurnEnds } from "./turn_ends.ts";
import { logOf } from "./view.ts";

/** A handler that is told to stop has this long to do so. */
const GRACE_MS = 200;

/** An error that escaped from an execution's handler: nobody awaited it. */
export class Escape {
  readonly cause: unknown;

  constructor(cause: unknown) {
    this.cause = cause;
  }
}

/** What it is called within. */
export interface AttemptRoom {
  workerId: string;
  deadlines: Deadlines;
  turns: TurnEnds;
  /** The worker's. */
  log: Log;
}

/** What is called, and who is told once what it came to. */
export interface Attempted {
  /** What the node does: its result, or a promise of it. */
  work(): unknown;
  /** Makes of the result what is told. Called in the same asynchronous context. */
  encode?(result: unknown): unknown;
  /** What it left behind that has failed already is to be known before it is over. */
  readonly endsWithTurn: boolean;
  produced(value: unknown): void;
  failed(thrown: unknown): void;
}

export class Attempt implements Limited, TurnEnd {
  readonly deadline: number;
  limitedAt = -1;
  readonly #slot: Slot;
  readonly #room: AttemptRoom;
  #attempted!: Attempted;
  #abort: LazyAbort | undefined;
  #result: unknown;
  #isOver = false;

  constructor(slot: Slot, room: AttemptRoom) {
    this.#slot = slot;
    this.#room = room;
    this.deadline = performance.now() + slot.node.timeout_ms;
  }

  /** Its place, in words: for what escapes, and for who ends the process. */
  get name(): string {
    const { node, runId, scope } = this.#slot;
    return `node ${node.id}${scope === "" ? "" : ` in scope ${scope}`} of run ${runId}`;
  }

  /** Of what it calls: aborted with what ended it early. */
  get signal(): AbortSignal {
    this.#abort ??= new LazyAbort();
    return this.#abort.signal;
  }

  /** Calls it; tells what it came to, perhaps before it returns. What escapes fails it, too, as `Escape`. */
  run(attempted: Attempted): void {
    this.#attempted = attempted;
    this.#room.deadlines.add(this);
    this.#slot.performer = this;
    let result: unknown;
    let isPromised: boolean;
    try {
      result = performWatched(this, work, attempted);
      isPromised = types.isPromise(result) || performWatched(this, hasThen, result);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (!isPromised) {
      this.#returned(result);
      return;
    }
    performWatched(this, awaited, result).then(
      (value) => this.#returned(value),
      (error: unknown) => this.#fail(error),
    );
  }

  expire(): void {
    const { id, timeout_ms } = this.#slot.node;
    const error = new HitzeroError("TIMED_OUT", `node ${id} timed out after ${timeout_ms} ms`, {
      hint: "Raise timeout_ms of the node, or let the handler honour its signal.",
    });
    this.#fail(error);
    this.#callOff(error);
  }

  onEscape(error: unknown): void {
    const { workerId, log } = this.#room;
    if (this.#isOver) {
      const { code, message, stack } = errorOf(error, 0, workerId);
      logOf(this.#slot, log).error(
        { code, message, stack },
        "an error escaped from a handler whose execution is over",
      );
      return;
    }
    this.#fail(new Escape(error));
    this.#callOff(error);
  }

  /** The worker holds it no more. */
  lose(reason: unknown): void {
    this.#callOff(reason);
    // A success that still arrives is recorded; a handler that ignores its signal is left alone.
    setTimeout(() => this.#fail(reason), GRACE_MS);
  }

  endTurn(): void {
    if (this.#isOver) return;
    const attempted = this.#attempted;
    let value: unknown;
    try {
      value =
        attempted.encode === undefined
          ? this.#result
          : performWatched(this, encoded, attempted, this.#result);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#end();
    attempted.produced(value);
  }

  #returned(result: unknown): void {
    this.#result = result;
    if (this.#attempted.endsWithTurn) this.#room.turns.add(this);
    else this.endTurn();
  }

  #callOff(reason: unknown): void {
    this.#abort ??= new LazyAbort();
    this.#abort.abort(reason);
  }

  #fail(error: unknown): void {
    if (this.#isOver) return;
    this.#end();
    this.#attempted.failed(error);
  }

  #end(): void {
    this.#isOver = true;
    this.#room.deadlines.delete(this);
    this.#slot.performer = undefined;
  }
}

const work = (attempted: Attempted): unknown => attempted.work();
const encoded = (attempted: Attempted, result: unknown): unknown => attempted.encode?.(result);

/** Foreign thenables are awaited, too. */
function hasThen(value: unknown): boolean {
  if (value === null || (typeof value !== "object" && typeof value !== "function")) return false;
  return typeof (value as { then?: unknown }).then === "function";
}

const awaited = async (result: unknown): Promise<unknown> => await result;
