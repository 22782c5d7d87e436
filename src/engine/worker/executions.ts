/**
 * The executions of a worker, from claim to answer.
 *
 * Owns: its slots. Invariants: at most `concurrency` of them run at once; a token is claimed before its handler runs and given up only by
 * `advance`; the room of a finished execution stays taken until its step is answered, because the answer may hand over the next token.
 */

import { assert } from "../../base/assert.ts";
import { Bag } from "../../base/bag.ts";
import { HitzeroError } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { ClaimItem, SettleItem } from "../../redis/calls.ts";
import type { HandedToken } from "../../redis/replies.ts";
import { isPostponed } from "../../redis/replies.ts";
import { noteRunning } from "../../redis/scripts/note_running.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { MOMENT_MS } from "../limits.ts";
import type { ItemReader } from "../nodes/map_items.ts";
import { failed, perform, type Surroundings } from "./execute.ts";
import type { Performed } from "./finished_step.ts";
import type { Answer, Batch, Lane } from "./lane.ts";
import type { Liveness } from "./liveness.ts";
import { type Identity, Rest, Slot } from "./slot.ts";
import type { SuspectTurns } from "./suspects.ts";
import { storeOutput, takeInputs } from "./token_inputs.ts";

export interface ExecutionsOptions {
  concurrency: number;
  log: Log;
  suspects: SuspectTurns;
  items: ItemReader;
  liveness: Liveness;
  around: Surroundings;
  /** Aborted when the worker gives up. */
  abandoned: AbortSignal;
  /** There may be room for another one. */
  onFreed: () => void;
  /** Lists what is held of a partition: a suspect is performed only when it is known that nothing else is. */
  list: (lane: Lane) => Promise<unknown>;
  /** Neither a step nor the failure instead of it is taken: the run is to end. */
  giveUp: (lane: Lane, slot: Slot | Rest, call: "finish" | "claim", reason: string) => Promise<void>;
}

/** Executions that are performed. */
export type Running = Iterable<Slot> & { has(slot: Slot): boolean };

/** Items of a map are stored as many blobs. */
const BLOBS_AT_ONCE = 16;

export class Executions {
  readonly #options: ExecutionsOptions;
  readonly #lanes: ReadonlyMap<number, Lane>;
  /** All that takes room. */
  readonly #taken = new Bag<"takenAt", Slot | Rest>("takenAt");
  /** Tokens that were claimed and are held: two entries may be of one token. */
  readonly #claimed = new Set<string>();
  /** Where the entries lie that are being taken up: after a lost reply they are read again. */
  readonly #lies = new Set<string>();
  readonly #ready: Slot[] = [];
  /** Those whose values are being stored are among them. */
  readonly #running = new Bag<"runningAt", Slot>("runningAt");
  /** Executions that are ready are being begun. */
  #isBeginning = false;
  /** The time of the drain is over. */
  #isLate = false;
  /** When an answer last came or a handler last ended, as `performance.now()`. */
  progressAt = 0;

  constructor(lanes: ReadonlyMap<number, Lane>, options: ExecutionsOptions) {
    this.#lanes = lanes;
    this.#options = options;
  }

  /** How many places are taken. */
  get taken(): number {
    return this.#taken.size;
  }

  get running(): Running {
    return this.#running;
  }

  /** Those whose handlers are at work. */
  get performing(): Slot[] {
    return [...this.#running].filter(({ state }) => state === "running");
  }

  get waiting(): readonly Slot[] {
    return this.#ready;
  }

  /** Tokens of a partition that are held, as leases name them: from their arrival until their steps are answered. */
  keptOf({ partition }: Lane): string[] {
    const kept: string[] = [];
    for (const slot of this.#taken)
      if (slot instanceof Slot && slot.isHeld && slot.partition === partition.number) kept.push(slot.kept);
    return kept;
  }

  /** Is the entry that lies there being taken up already? */
  isTakingUp(lie: string): boolean {
    return this.#lies.has(lie);
  }

  /** Takes up the token of an entry. */
  claim(lane: Lane, ir: IR, lie: string, identity: Identity, claim: ClaimItem): void {
    const slot = new Slot(lane.partition.number, ir, identity);
    slot.lie = lie;
    slot.claim = claim;
    this.#taken.add(slot);
    this.#lies.add(lie);
    lane.claim(slot);
  }

  settle(lane: Lane, ir: IR, lie: string, item: SettleItem): void {
    const rest = new Rest(lane.partition.number, ir, lie, item);
    this.#taken.add(rest);
    this.#lies.add(lie);
    lane.finish(rest);
  }

  /** A call was answered: what was postponed is made again by the lane, and stays. */
  answered(lane: Lane, { finished, claims, reply, payloads }: Answer): void {
    this.progressAt = performance.now();
    finished.forEach((slot, index) => {
      if (!isPostponed(reply.finished[index]?.word)) this.#drop(slot, "over");
    });
    claims.forEach((slot, index) => {
      const word = reply.claims[index]?.word;
      if (word === "run") this.#takenUp(slot);
      else if (!isPostponed(word)) this.#drop(slot, "over");
    });
    for (const token of reply.tokens) {
      if (token.after === undefined) {
        const slot = claims[token.claim as number];
        const isOwn = slot?.runId === token.id && slot.nodeIndex === token.node && slot.scope === token.scope;
        assert(isOwn, "a claim is answered by its own token");
        // A token that was put aside, by a claim whose answer was lost, lies in its stream once more.
        if (this.#claimed.has(slot.kept)) {
          this.#drop(slot, "over");
          continue;
        }
        this.#claimed.add(slot.kept);
        slot.become("receiving");
        this.#receive(lane, slot, token, payloads, undefined);
        continue;
      }
      const origin = finished[token.after];
      assert(origin instanceof Slot, "an execution hands a token over");
      const slot = new Slot(lane.partition.number, origin.ir, identityOf(token), "receiving");
      this.#taken.add(slot);
      this.#receive(lane, slot, token, payloads, origin);
    }
    this.#options.onFreed();
  }

  /** The calls of these are given up: they are left to their leases. */
  givenUp({ finished, claims }: Batch): void {
    for (const slot of finished) this.#drop(slot, "left");
    for (const slot of claims) this.#drop(slot, "left");
    this.#options.onFreed();
  }

  /** An execution whose step is refused fails; if that is refused too, or there is no execution, its run is to end. */
  async refused(lane: Lane, { finished, claims }: Batch, reason: string): Promise<void> {
    const slot = (finished[0] ?? claims[0]) as Slot | Rest;
    const { log, around, abandoned, giveUp } = this.#options;
    log.error({ partition: slot.partition, run_id: slot.runId, reason }, "the scripts refuse a step");
    if (slot instanceof Slot && slot.state === "finishing") {
      const fault = new HitzeroError("STEP_REFUSED", `its step is refused: ${reason}`);
      const mayHandOver = () => ({ next: false, items: false, unoffered: NONE });
      slot.become("failing");
      slot.step = failed(slot, fault, { ...around, mayHandOver }, abandoned.aborted).step;
      lane.finish(slot);
      return;
    }
    await giveUp(lane, slot, finished[0] ? "finish" : "claim", reason);
    this.#drop(slot, "over");
    this.#options.onFreed();
  }

  /** What waits for its turn is left to its lease; of one partition, or of all. */
  leaveWaiting(lane?: Lane): void {
    for (const slot of this.#ready.splice(0)) {
      if (lane === undefined || slot.partition === lane.partition.number) this.#leave(slot);
      else this.#ready.push(slot);
    }
  }

  /** The time of the drain is over: nothing more begins. */
  endDrain(): void {
    this.#isLate = true;
    this.leaveWaiting();
  }

  /** Executions that last longer than a moment are put on record as RUNNING. */
  noteLong(): void {
    const { around } = this.#options;
    const before = around.now() - MOMENT_MS;
    const byLane = new Map<Lane, Slot[]>();
    for (const slot of this.#running) {
      if (slot.noted || slot.startedAt > before) continue;
      slot.noted = true;
      const lane = this.laneOf(slot);
      byLane.set(lane, [...(byLane.get(lane) ?? []), slot]);
    }
    for (const [lane, slots] of byLane) {
      const notes = slots.map((slot) => ({
        runId: slot.runId,
        generation: slot.generation,
        node: slot.nodeIndex,
        scope: slot.scope,
        attempt: slot.attempt,
        delivery: slot.delivery,
        nonce: slot.nonce,
        startedAt: slot.startedAt,
      }));
      // Only a note: when it is lost, the outcome is recorded all the same.
      noteRunning(lane.partition, around.workerId, notes).catch(() => {});
    }
  }

  laneOf({ partition }: Slot): Lane {
    return this.#lanes.get(partition) as Lane;
  }

  /** Takes what came with a token; most often that is all that it needs. */
  #receive(
    lane: Lane,
    slot: Slot,
    token: HandedToken,
    payloads: readonly string[],
    origin: Slot | undefined,
  ): void {
    const { items, abandoned, suspects } = this.#options;
    const reader = { partition: lane.partition, items, abandoned };
    const more = takeInputs(slot, token, payloads, origin, reader);
    if (more === undefined && !suspects.alone && !this.#isLate) this.#begin(slot);
    else void this.#receiveLater(lane, slot, more);
  }

  async #receiveLater(lane: Lane, slot: Slot, more: Promise<void> | undefined): Promise<void> {
    const { suspects, list, log } = this.#options;
    try {
      await more;
      if (suspects.alone) {
        suspects.performed = slot.kept;
        await list(lane);
      }
      if (this.#isLate) throw new HitzeroError("WORKER_STOPS", "the worker stops");
    } catch (error) {
      log.warn({ run_id: slot.runId, error: String(error) }, "a token is left to its lease");
      this.#leave(slot);
      return;
    }
    this.#begin(slot);
  }

  #begin(slot: Slot): void {
    slot.become("ready");
    this.#ready.push(slot);
    this.#runNext();
  }

  /** Begins what is ready, as far as there is room. */
  #runNext(): void {
    if (this.#isBeginning || this.#ready.length === 0) return;
    const { concurrency, liveness, around } = this.#options;
    this.#isBeginning = true;
    try {
      while (this.#running.size < concurrency) {
        const slot = this.#ready.shift();
        if (slot === undefined) break;
        slot.become("running");
        this.#running.add(slot);
        liveness.begin(slot);
        perform(slot, around, this.#performed);
      }
    } finally {
      this.#isBeginning = false;
    }
  }

  /** Told by `perform`, perhaps before that returns: then the loop that called it goes on. */
  readonly #performed = (slot: Slot, performed: Performed | undefined): void => {
    this.#ended(slot, performed);
    this.#runNext();
  };

  /** A handler is through. */
  #ended(slot: Slot, performed: Performed | undefined): void {
    this.#options.liveness.end(slot);
    this.progressAt = performance.now();
    if (performed === undefined) {
      this.#running.delete(slot);
      this.#leave(slot);
      return;
    }
    slot.step = performed.step;
    slot.largeOutput = performed.step.blob === undefined ? undefined : performed.blobs[0]?.value;
    if (performed.blobs.length > 0) void this.#store(slot, performed);
    else this.#finish(slot);
  }

  /** Its large values are there before the step that names them. */
  async #store(slot: Slot, { step, blobs }: Performed): Promise<void> {
    const { log, abandoned } = this.#options;
    const { partition } = this.laneOf(slot);
    slot.become("storing");
    const signal = AbortSignal.any([abandoned, slot.lost.signal]);
    for (let first = 0; first < blobs.length; first += BLOBS_AT_ONCE) {
      const part = blobs.slice(first, first + BLOBS_AT_ONCE);
      const stored = part.map((blob) => storeOutput(partition, step, blob, log, signal));
      if (!(await Promise.all(stored)).includes(false)) continue;
      this.#running.delete(slot);
      this.#leave(slot);
      return;
    }
    this.#finish(slot);
    this.#runNext();
  }

  #finish(slot: Slot): void {
    slot.become("finishing");
    this.#running.delete(slot);
    this.laneOf(slot).finish(slot);
  }

  /** It is left to its lease. */
  #leave(slot: Slot): void {
    this.#drop(slot, "left");
    this.#options.onFreed();
  }

  #drop(slot: Slot | Rest, state: "over" | "left"): void {
    if (slot instanceof Slot) {
      if (slot.claim !== undefined && slot.isHeld) this.#claimed.delete(slot.kept);
      slot.become(state);
    }
    this.#takenUp(slot);
    this.#taken.delete(slot);
  }

  /** Its entry is not in its stream any more, or is read again. */
  #takenUp(slot: Slot | Rest): void {
    if (slot.lie !== undefined) this.#lies.delete(slot.lie);
    slot.lie = undefined;
  }
}

const NONE: ReadonlySet<number> = new Set();

function identityOf(token: HandedToken): Identity {
  return {
    runId: token.id,
    generation: token.g,
    digest: token.digest,
    node: token.node,
    scope: token.scope,
    attempt: token.attempt,
    delivery: token.delivery,
    nonce: token.nonce,
  };
}
