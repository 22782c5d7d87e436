/**
 * The items of one execution of a map: which are under way, which are over, and whether it goes on.
 *
 * `complete_when` is looked at when an item ended, unless nothing is left to be done then. A look sees the counts of the moment it
 * begins; what ends while it is under way is seen by the next one. An open map does one thing after the other: a look that is
 * still under way when a signal takes effect had not begun, and begins after it.
 */
import { booleanOf, type Json } from "./expression.ts";
import type { MapSignal, SimulatedMap } from "./model.ts";
import { attempt } from "./reference_nodes.ts";
import type { Frame } from "./reference_scopes.ts";
import type { Body } from "./structure.ts";

interface Counts {
  completed: number;
  failed: number;
  total: number;
}

const MAX_CONCURRENCY = 1000;

export class Items {
  readonly body: Body & { kind: "map" };
  readonly begun: Frame[] = [];
  readonly #map: SimulatedMap;
  readonly #input: Json;
  readonly #values: Json[];
  readonly #over = new Set<Frame>();
  /** No more are added. */
  #closed: boolean;
  /** Ended early. */
  #complete = false;
  #unseen = false;
  #look: Counts | null = null;

  /** `input`: the run's. */
  constructor(body: Body & { kind: "map" }, values: readonly Json[], input: Json) {
    this.body = body;
    this.#map = body.node;
    this.#input = input;
    this.#values = [...values];
    this.#closed = body.node.open === undefined;
  }

  /** Nothing is awaited any more: its execution goes on. */
  isReady(): boolean {
    return this.#complete || (this.#look === null && this.#isDone()) || this.lookFails();
  }

  /** It was ended early. */
  isComplete(): boolean {
    return this.#complete;
  }

  /** It takes a signal, if one is given. */
  takesSignals(): boolean {
    return !this.#closed && !this.#complete && this.#look === null;
  }

  isLooking(): boolean {
    return this.#look !== null;
  }

  /** What the look under way answers; null: it has no answer, which fails the map. */
  lookAnswers(): boolean | null {
    const { complete_when } = this.#map;
    if (this.#look === null || complete_when === undefined) throw new Error("no look is under way");
    const bindings = { variables: { ...this.#look, input: this.#input }, nodes: {} };
    return attempt(() => booleanOf(complete_when, bindings));
  }

  lookFails(): boolean {
    return this.#look !== null && this.lookAnswers() === null;
  }

  /** The look under way has been answered. */
  endLook(): void {
    this.#complete ||= this.lookAnswers() === true;
    this.#look = null;
    this.#lookAgain();
  }

  /** The item that begins next; undefined: none does now. */
  next(): { index: number; value: Json } | undefined {
    const index = this.begun.length;
    const most = this.#map.max_concurrency ?? MAX_CONCURRENCY;
    if (this.#complete || index >= this.#values.length || index - this.#over.size >= most) return undefined;
    return { index, value: this.#values[index]! };
  }

  end(item: Frame): void {
    this.#over.add(item);
    this.#unseen = true;
    this.#lookAgain();
  }

  /** A signal takes effect. */
  add({ items = [], close = false, complete = false }: MapSignal): void {
    this.#values.push(...items);
    this.#closed ||= close;
    this.#complete ||= complete;
    this.#unseen ||= this.#look !== null;
    this.#look = null;
    this.#lookAgain();
  }

  /** More items failed than may. */
  hasFailed(): boolean {
    return this.#failed() > (this.#map.tolerated_failures ?? 0);
  }

  /** What each item gives; null if it failed or did not end. */
  results(of: (item: Frame) => Json): Json[] {
    return this.#values.map((_value, index) => {
      const item = this.begun[index];
      return item === undefined || item.failed || !this.#over.has(item) ? null : of(item);
    });
  }

  #isDone(): boolean {
    return this.#closed && this.#over.size === this.#values.length;
  }

  #failed(): number {
    return [...this.#over].filter(({ failed }) => failed).length;
  }

  #lookAgain(): void {
    const isAsked = this.#map.complete_when !== undefined && this.#unseen && this.#look === null;
    if (!isAsked || this.#complete || this.#isDone()) return;
    const failed = this.#failed();
    this.#unseen = false;
    this.#look = { completed: this.#over.size - failed, failed, total: this.#values.length };
  }
}
