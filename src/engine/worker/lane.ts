/**
 * One partition's queue of calls in a worker: gathers what is ready into `advance` calls, several under way at once.
 *
 * Owns: finished items and claims until they are answered. A call whose answer is lost is made again with the same items; the
 * scripts answer repeats with `duplicate` and what is owed. One that fails by its own fault is halved until the item at fault stands
 * alone. Never waits to fill a batch. While the worker stops, a call that fails for another reason than an absent server is given up
 * after some tries: its tokens are left to their leases.
 */
import type { Log } from "../../base/log.ts";
import { pause } from "../../base/wait.ts";
import { isCallFault } from "../../redis/call_fault.ts";
import type { ClaimEntry, FinishedEntry } from "../../redis/calls.ts";
import { RedisAwayError } from "../../redis/connection.ts";
import { FenceError, type Partition } from "../../redis/partition.ts";
import { type AdvanceReply, isPostponed } from "../../redis/replies.ts";
import { applyCall } from "../../redis/step.ts";
import { LAST_TRIES, type Limits } from "../limits.ts";

/** What one call carries. */
export interface Batch {
  finished: readonly FinishedEntry[];
  claims: readonly ClaimEntry[];
}

export interface Answer extends Batch {
  reply: AdvanceReply;
  payloads: readonly string[];
}

/** An item that fails so often alone, by its own fault, is refused. */
const FAULTS = 2;

export interface LaneOptions {
  workerId: string;
  queues: readonly string[];
  leaseMs: number;
  limits: Limits;
  log: Log;
  onAnswer: (lane: Lane, answer: Answer) => void;
  onGivenUp: (lane: Lane, batch: Batch) => void;
  /** The call with this one item, finished or claimed, fails each time, by its own fault. */
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
  #finished: FinishedEntry[] = [];
  #claims: ClaimEntry[] = [];
  #calls = 0;
  readonly #sentAt = new Map<Batch, number>();
  #scheduled = false;

  constructor(partition: Partition, options: LaneOptions) {
    this.partition = partition;
    this.#options = options;
  }

  /** When the oldest call was made whose answer has not come, by `performance.now()`. */
  get since(): number {
    return Math.min(performance.now(), ...this.#sentAt.values());
  }

  /** Nothing waits for an answer. */
  get idle(): boolean {
    return this.#calls === 0 && this.#finished.length === 0 && this.#claims.length === 0;
  }

  finish(entry: FinishedEntry): void {
    this.#finished.push(entry);
    this.#schedule();
  }

  claim(entry: ClaimEntry): void {
    this.#claims.push(entry);
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
    this.#sentAt.set(batch, performance.now());
    await this.#deliver(batch);
    this.#calls -= 1;
    this.#sentAt.delete(batch);
    this.#schedule();
  }

  /** A call that fails by its own fault is made with halves of its items, until the one at fault stands alone. */
  async #deliver(batch: Batch): Promise<void> {
    const outcome = await this.#answered(batch);
    if (outcome === undefined) this.#options.onGivenUp(this, batch);
    else if ("reply" in outcome) {
      await this.#repeatPostponed(outcome);
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
        return { ...batch, ...(await this.#call(batch)) };
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
      take: finished.filter(({ item }) => !("work" in item)).length,
      reads: queues,
      finished,
      claims,
    };
    return applyCall(this.partition, call, limits.step);
  }

  /** Finishes and claims again what was postponed. Where the scripts' copy of an IR is gone, it is loaded again before. */
  async #repeatPostponed({ finished, claims, reply }: Answer): Promise<void> {
    const unfinished = finished.filter((_entry, index) => isPostponed(reply.finished[index]?.word));
    const unclaimed = claims.filter((_entry, index) => isPostponed(reply.claims[index]?.word));
    const lacking = [
      ...finished.filter((_entry, index) => reply.finished[index]?.word === "ir_missing"),
      ...claims.filter((_entry, index) => reply.claims[index]?.word === "ir_missing"),
    ];
    const byDigest = new Map(lacking.map((entry) => [entry.item.digest, entry.ir]));
    for (const [digest, ir] of byDigest) await this.partition.loadIR(digest, ir).catch(() => {});
    for (const entry of unfinished) this.finish(entry);
    for (const entry of unclaimed) this.claim(entry);
  }
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
