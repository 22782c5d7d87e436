/**
 * One call of what a node does, until it is over: because it ended, its time ran out, an error escaped from it, or the worker holds it no
 * more. Whatever comes first decides; what comes later is no news.
 */
import { HitzeroError } from "../../base/errors.ts";
import type { LazyAbort } from "../../base/lazy_abort.ts";
import type { Log } from "../../base/log.ts";
import { errorOf } from "../../handlers/thrown.ts";
import type { Deadlines, Limited } from "./deadlines.ts";
import { performWatched } from "./escapes.ts";
import type { Slot } from "./slot.ts";

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
}

export class Attempt<T> implements Limited {
  readonly deadline: number;
  /** Of what it calls: aborted with what ended it early. */
  readonly abort: LazyAbort;
  readonly #slot: Slot;
  readonly #room: AttemptRoom;
  readonly #log: () => Log;
  #resolve!: (value: T) => void;
  #reject!: (error: unknown) => void;
  #isOver = false;

  constructor(slot: Slot, abort: LazyAbort, room: AttemptRoom, log: () => Log) {
    this.#slot = slot;
    this.#room = room;
    this.#log = log;
    this.abort = abort;
    this.deadline = performance.now() + slot.node.timeout_ms;
  }

  /** Its place, in words: for what escapes, and for who ends the process. */
  get name(): string {
    const { node, runId, scope } = this.#slot;
    return `node ${node.id}${scope === "" ? "" : ` in scope ${scope}`} of run ${runId}`;
  }

  /** Calls `work`. Fails, too, by what escapes from it, as `Escape`. */
  run(work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#room.deadlines.add(this);
      this.#slot.lost.onAbort = () => this.#lose();
      performWatched(this, work).then(
        (value) => {
          this.#end();
          this.#resolve(value);
        },
        (error: unknown) => this.#fail(error),
      );
    });
  }

  expire(): void {
    const { id, timeout_ms } = this.#slot.node;
    const error = new HitzeroError("TIMED_OUT", `node ${id} timed out after ${timeout_ms} ms`, {
      hint: "Raise timeout_ms of the node, or let the handler honour its signal.",
    });
    this.#fail(error);
    this.abort.abort(error);
  }

  onEscape(error: unknown): void {
    if (this.#isOver) {
      const { code, message, stack } = errorOf(error, 0, this.#room.workerId);
      this.#log().error({ code, message, stack }, "an error escaped from a handler whose execution is over");
      return;
    }
    this.#fail(new Escape(error));
    this.abort.abort(error);
  }

  #lose(): void {
    const { reason } = this.#slot.lost;
    this.abort.abort(reason);
    // A success that still arrives is recorded; a handler that ignores its signal is left alone.
    setTimeout(() => this.#fail(reason), GRACE_MS);
  }

  #fail(error: unknown): void {
    this.#end();
    this.#reject(error);
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#room.deadlines.delete(this);
    this.#slot.lost.onAbort = undefined;
  }
}
