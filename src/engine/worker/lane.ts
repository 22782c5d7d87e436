/**
 * One partition's queue of calls in a worker: moves slots into `advance` calls, several under way at once.
 *
 * Owns: slots that are finished or claimed, until they are answered. A call whose answer is lost is made again with the same slots; the
 * scripts answer repeats with `duplicate` and what is owed. One that fails by its own fault is halved until the slot at fault stands
 * alone. Never waits to fill a batch. While the worker stops, a call that fails for another reason than an absent server is given up
 * after some tries: its tokens are left to their leases.
 */

import type { Log } from "../../base/log.ts";
import { pause } from "../../base/wait.ts";
import { applyCall } from "../../redis/apply_call.ts";
import { isCallFault } from "../../redis/call_fault.ts";
import type { ClaimItem, FinishedItem, SettleItem } from "../../redis/calls.ts";
import { RedisAwayError } from "../../redis/connection.ts";
import { FenceError } from "../../redis/fence_error.ts";
import type { Partition } from "../../redis/partition.ts";
import { type AdvanceReply, isPostponed } from "../../redis/replies.ts";
import { loadIR } from "../../redis/scripts/load_ir.ts";
import { LAST_TRIES, type Limits } from "../limits.ts";
import { type Rest, Slot } from "./slot.ts";

/** What one call carries: each is answered by its position. */
export interface Batch {
  finished: readonly (Slot | Rest)[];
  claims: readonly Slot[];
}

export interface Answer extends Batch {
  reply: AdvanceReply;
  payloads: readonly string[];
}

/** A slot whose call fails so often alone, by its own fault, is refused. */
const FAULTS = 2;

export interface LaneOptions {
  workerId: string;
  queues: readonly string[];
  leaseMs: number;
  limits: Limits;
  log: Log;
  onAnswer: (lane: Lane, answer: Answer) => void;
  onGivenUp: (lane: Lane, batch: Batch) => void;
  /** The call with this one slot, finished or claimed, fails each time, by its own fault. */
  onRefused: (lane: Lane, batch: Batch, error: unknown) => void;
  /** A call failed. Returns whether that was told: nothing is logged here then. */
  onFailed: (lane: Lane, error: unknown) => boolean;
  /** Aborted when the worker is told to stop. */
  stopping: AbortSignal;
  /** Aborted when the worker gives up waiting for Redis. */
  abandoned: AbortSignal;
}

export class Lane {
  readonly partition: Partition;
  readonly #options: LaneOptions;
  #finished: (Slot | Rest)[] = [];
  #claims: Slot[] = [];
  #calls = 0;
  /** Of the calls under way, as `performance.now()`. */
  readonly #sentAt: number[] = [];
  #scheduled = false;

  constructor(partition: Partition, options: LaneOptions) {
    this.partition = partition;
    this.#options = options;
  }

  /** When the oldest call was made whose answer has not come, by `performance.now()`. */
  get since(): number {
    return Math.min(performance.now(), ...this.#sentAt);
  }

  /** Nothing waits for an answer. */
  get idle(): boolean {
    return this.#calls === 0 && this.#finished.length === 0 && this.#claims.length === 0;
  }

  /** Applies what a slot came to (`step`). */
  finish(slot: Slot | Rest): void {
    this.#finished.push(slot);
    this.#schedule();
  }

  /** Takes up a slot's token (`claim`). */
  claim(slot: Slot): void {
    this.#claims.push(slot);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      const { calls, batch } = this.#options.limits;
      while (this.#calls < calls && this.#finished.length + this.#claims.length > 0) {
        this.#calls += 1;
        const finished = this.#finished.splice(0, batch);
        void this.#send({ finished, claims: this.#claims.splice(0, batch - finished.length) });
      }
    });
  }

  async #send(batch: Batch): Promise<void> {
    const sentAt = performance.now();
    this.#sentAt.push(sentAt);
    await this.#deliver(batch);
    this.#calls -= 1;
    this.#sentAt.splice(this.#sentAt.indexOf(sentAt), 1);
    this.#schedule();
  }

  /** A call that fails by its own fault is made with halves of its slots, until the one at fault stands alone. */
  async #deliver(batch: Batch): Promise<void> {
    const outcome = await this.#answered(batch);
    if (outcome === undefined) this.#options.onGivenUp(this, batch);
    else if ("reply" in outcome) {
      if (isAnyPostponed(outcome)) await this.#repeatPostponed(outcome);
      this.#options.onAnswer(this, outcome);
    } else if (sizeOf(batch) === 1) this.#options.onRefused(this, batch, outcome.refused);
    else for (const half of halvesOf(batch)) await this.#deliver(half);
  }

  /** Calls until there is an answer, or the call fails by its own fault; undefined when the worker stops without either. */
  async #answered(batch: Batch): Promise<Answer | { refused: unknown } | undefined> {
    const { abandoned, stopping, log } = this.#options;
    let [failures, faults] = [0, 0];
    for (let tries = 0; !abandoned.aborted; tries += 1) {
      try {
        const { finished, claims } = batch;
        const { reply, payloads } = await this.#call(batch);
        return { finished, claims, reply, payloads };
      } catch (error) {
        if (isCallFault(error) && (sizeOf(batch) > 1 || ++faults >= FAULTS)) return { refused: error };
        const expected = error instanceof RedisAwayError || error instanceof FenceError;
        const facts = { partition: this.partition.number, error: String(error) };
        if (!expected) failures += 1;
        if (stopping.aborted && failures >= LAST_TRIES) {
          log.error(facts, "call is given up; its tokens are left to their leases");
          return undefined;
        }
        const isTold = this.#options.onFailed(this, error);
        if (!isTold && (tries === 0 || !expected))
          log[expected ? "warn" : "error"](facts, "call is repeated");
        await pause(Math.min(50 * 2 ** Math.min(tries, 5), 1_000), abandoned);
        await this.partition.refresh().catch(() => {});
      }
    }
    return undefined;
  }

  #call({ finished, claims }: Batch) {
    const { workerId, queues, leaseMs, limits } = this.#options;
    const call = {
      worker: workerId,
      leaseMs,
      // A finished execution frees the slot that its successor may take.
      take: finished.filter((slot) => slot instanceof Slot).length,
      reads: queues,
      finished: finished.map(({ ir, step }) => ({ ir, item: step as FinishedItem | SettleItem })),
      claims: claims.map(({ ir, claim }) => ({ ir, item: claim as ClaimItem })),
    };
    return applyCall(this.partition, call, limits.step);
  }

  /** Finishes and claims again what was postponed. Where the scripts' copy of an IR is gone, it is loaded again before. */
  async #repeatPostponed({ finished, claims, reply }: Answer): Promise<void> {
    const unfinished = answeredWith(finished, reply.finished, isPostponed);
    const unclaimed = answeredWith(claims, reply.claims, isPostponed);
    const isMissing = (word: string | undefined) => word === "ir_missing";
    const lacking = [
      ...answeredWith(finished, reply.finished, isMissing),
      ...answeredWith(claims, reply.claims, isMissing),
    ];
    const byDigest = new Map(lacking.map(({ digest, ir }) => [digest, ir]));
    for (const [digest, ir] of byDigest) await loadIR(this.partition, digest, ir).catch(() => {});
    for (const slot of unfinished) this.finish(slot);
    for (const slot of unclaimed) this.claim(slot);
  }
}

/** The slots whose answers, at their positions, are such words. */
function answeredWith<T>(
  slots: readonly T[],
  answers: readonly { word: string }[],
  is: (word: string | undefined) => boolean,
): T[] {
  return slots.filter((_slot, index) => is(answers[index]?.word));
}

function isAnyPostponed({ reply }: Answer): boolean {
  for (const { word } of reply.finished) if (isPostponed(word)) return true;
  for (const { word } of reply.claims) if (isPostponed(word)) return true;
  return false;
}

const sizeOf = ({ finished, claims }: Batch) => finished.length + claims.length;

function halvesOf({ finished, claims }: Batch): [Batch, Batch] {
  const half = (finished.length + claims.length) >> 1;
  const rest = Math.max(0, half - finished.length);
  return [
    { finished: finished.slice(0, half), claims: claims.slice(0, rest) },
    { finished: finished.slice(half), claims: claims.slice(rest) },
  ];
}
