/**
 * One execution as a worker has it, from the entry that it reads to the answer of the step that ends it: one object all the way, of which
 * each part of the worker fills in what it finds out.
 *
 * Owns: its state, which changes as `slot_states.ts` says and in no other way. A crash leaves what was held to its lease.
 */

import { LazyAbort } from "../../base/lazy_abort.ts";
import type { ClaimItem, FinishedItem, SettleItem } from "../../redis/calls.ts";
import type { Losses } from "../../redis/replies.ts";
import { FIELD, fieldOf } from "../../redis/run_state.ts";
import { type ExecutionToken, encodeLease } from "../../token/token.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { itemIndexOf } from "../../workflow/ir/scopes.ts";
import { factsOf, type NodeFacts, stateOf } from "./node_facts.ts";
import { type SlotState, TRANSITIONS } from "./slot_states.ts";

/**
 * An output as the run's state holds it: `j<JSON>`, or `e<JSON>`, the `{"error": …}` that dependents of a failed execution
 * see. Blobs are read before they come here.
 */
export type StoredOutput = string;

/** What names an execution and its hand-out. */
export type Identity = Omit<ExecutionToken, "kind">;

const NO_NEEDS: ReadonlyMap<number, StoredOutput | null> = new Map();

export class Slot {
  /** Number of its partition. */
  readonly partition: number;
  readonly facts: NodeFacts;
  readonly runId: string;
  readonly generation: number;
  readonly digest: string;
  readonly nodeIndex: number;
  readonly scope: string;
  readonly attempt: number;
  readonly delivery: number;
  readonly nonce: string;
  #state: SlotState;
  #kept: string | undefined;

  /** Its places among all that its worker holds, and among what is performed; -1: none. */
  takenAt = -1;
  runningAt = -1;
  /** Where its entry lies while it is taken up. */
  lie: string | undefined;
  /** What its lane claims it with; undefined: it was handed over. */
  claim: ClaimItem | undefined;

  // What came with its token.
  sources: readonly number[] = [];
  /** Output of each source; null: it has none. */
  inputs: readonly (StoredOutput | null)[] = [];
  /** Outputs of ancestors that expressions name. */
  needs = NO_NEEDS;
  /** JSON of the run's input. */
  input = "";
  /** Item of the innermost map around it. */
  item: unknown;
  /** What woke it (field p of the run's state): it has waited. */
  woken: string | undefined;
  /** Workers that were lost with it. */
  losses: Losses | undefined;
  /** Tokens handed over in a row up to this one. */
  hops = 0;
  /** When the first of them came, as `performance.now()`. */
  since = 0;
  /** State of the execution that handed it over, when that was the last of another item. */
  follows: string | undefined;

  // While it runs.
  /** Redis's clock, ms. */
  startedAt = 0;
  /** It is on record as RUNNING. */
  noted = false;
  /** Its row in the table of what the process performs; -1: none. */
  seat = -1;
  /** What performs it now: told when the worker holds it no more. */
  performer: { lose(reason: unknown): void } | undefined;
  #lost: LazyAbort | undefined;

  /** What it came to: its lane applies that. */
  step: FinishedItem | undefined;
  /** JSON text of its output, where the step names a blob: whom it hands over to need not read that. */
  largeOutput: string | undefined;

  /** @param state where it begins: `receiving` if it was handed over */
  constructor(partition: number, ir: IR, identity: Identity, state: "claiming" | "receiving" = "claiming") {
    this.partition = partition;
    this.facts = factsOf(ir, identity.node);
    this.runId = identity.runId;
    this.generation = identity.generation;
    this.digest = identity.digest;
    this.nodeIndex = identity.node;
    this.scope = identity.scope;
    this.attempt = identity.attempt;
    this.delivery = identity.delivery;
    this.nonce = identity.nonce;
    this.#state = state;
  }

  get state(): SlotState {
    return this.#state;
  }

  /** @throws Error when the table has no such transition */
  become(state: SlotState): void {
    if (!TRANSITIONS[this.#state].includes(state))
      throw new Error(
        `broken invariant: node ${this.node.id} of run ${this.runId} is ${this.#state}, and becomes ${state}`,
      );
    this.#state = state;
  }

  /** Does this worker hold its token? */
  get isHeld(): boolean {
    return this.#state !== "claiming" && this.#state !== "over" && this.#state !== "left";
  }

  /** Aborted when the worker holds it no more, with the reason. */
  get lost(): LazyAbort {
    this.#lost ??= new LazyAbort();
    return this.#lost;
  }

  get isLost(): boolean {
    return this.#lost?.aborted ?? false;
  }

  /** The worker holds it no more; repeating it changes nothing. */
  lose(reason: unknown): void {
    if (this.isLost) return;
    this.lost.abort(reason);
    this.performer?.lose(reason);
  }

  get ir(): IR {
    return this.facts.ir;
  }

  get node() {
    return this.facts.node;
  }

  /** What its lease is named by. */
  get kept(): string {
    this.#kept ??= encodeLease(this.node.queue, {
      runId: this.runId,
      generation: this.generation,
      node: this.nodeIndex,
      scope: this.scope,
      attempt: this.attempt,
      delivery: this.delivery,
      nonce: this.nonce,
    });
    return this.#kept;
  }

  /** Its place in the items of the innermost map around it; undefined: there is none. */
  get place() {
    if (this.scope === "" || this.facts.mapBodies.length === 0) return undefined;
    return itemIndexOf(this.ir, this.nodeIndex, this.scope);
  }

  /** Fields of the run's state on which it hangs: its own, and those of the maps around it. */
  get lifelines(): { own: string; maps: string[] } {
    const maps: string[] = [];
    for (let node = this.nodeIndex, at = this.scope; at !== ""; ) {
      const place = itemIndexOf(this.ir, node, at);
      if (place === undefined) break;
      maps.push(fieldOf(FIELD.map, place.map, place.scope));
      node = place.map;
      at = place.scope;
    }
    return { own: stateOf(this.nodeIndex, this.scope)[1], maps };
  }

  /** Did it come here by going round once more? Then its data is what its loop node put out. */
  get isRepeated(): boolean {
    if (this.sources.length !== 1) return false;
    return this.ir.nodes[this.sources[0] as number]?.loop?.entry === this.nodeIndex;
  }
}

/** A settle token that a worker holds: arrivals that one call could not hold. It takes room as an execution does, and is not performed. */
export class Rest {
  readonly partition: number;
  readonly ir: IR;
  readonly runId: string;
  readonly digest: string;
  /** Its place among all that its worker holds; -1: none. */
  takenAt = -1;
  lie: string | undefined;
  readonly step: SettleItem;

  constructor(partition: number, ir: IR, lie: string, step: SettleItem) {
    this.partition = partition;
    this.ir = ir;
    this.runId = step.runId;
    this.digest = step.digest;
    this.lie = lie;
    this.step = step;
  }
}
