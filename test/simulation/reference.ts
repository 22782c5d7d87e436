/**
 * The reference interpreter: the meaning of a workflow (docs/semantics.md) as a token game, one execution at a time.
 * It shares no code with src/ and knows nothing of Redis, batches or crashes, so that the engine can be compared with it.
 *
 * A game starts with its entry nodes enabled. Resolving an execution gives it an outcome, sends one arrival along each of its
 * edges and settles the targets; a target that is skipped sends its own arrivals in the same move. Then come the withdrawals that
 * the move caused, then the scopes in which nothing is outstanding any more: the next iteration of a loop begins, an item of a
 * map is over. The game ends when nothing is outstanding. Only the order of moves is open.
 *
 * An execution is known by its key: the node's id, and `@` with its scope inside a body.
 *
 * Choices made here:
 * - A node skipped as `upstream_failed` names one failed node: the one behind its failed arrival with the lowest edge
 *   index (file order). A skipped predecessor passes on the name it was given itself.
 * - `mode: first` stops at the first match: later conditions are not evaluated, so they cannot fail. `mode: all` and the
 *   edges of all other nodes are all evaluated. An absent priority is 0.
 * - A node whose condition fails has no output; its failure is routed like any other, and may be handled.
 * - An aggregate over a single predecessor's output that is no list has that one value; null has none.
 * - A run is halted by a command, or with `fail_fast` by its first unhandled failure, once all that follows
 *   from it in that move is settled. From then on no arrival is sent, no iteration and no item begins: an active execution may still be resolved (it was
 *   under way), or is cancelled; a node outside bodies that was not active by then never is, and is cancelled when the game ends;
 *   one inside bodies has no execution. What halts a run first decides how it ends.
 * - The output of a loop node that is named from outside is that of the last iteration in which it ran, also when it was skipped in a
 *   later one; none if it failed there. As a terminal node it is what it is in its last iteration.
 * - A map begins its first items when it is activated. What it withdraws sends nothing inside its items.
 * - An execution that was activated after a node of its `unless` completed is skipped; one activated before may still run.
 * - A cancel that comes while a run is compensated changes nothing.
 */
import type { Json } from "./expression.ts";
import type { Behaviour, SimulatedWorkflow } from "./model.ts";
import type { NodeError, Reason } from "./reference_routing.ts";
import type { Fate, Signal } from "./reference_signals.ts";
import { TokenGame } from "./token_game.ts";

export type Halt = "cancel" | "fail_fast";

/** How a node execution ended. */
export interface NodeResult {
  node_id: string;
  scope: string;
  status: "COMPLETED" | "FAILED" | "SKIPPED" | "CANCELLED";
  /** Why it was skipped or withdrawn; else null. */
  reason: Reason | null;
  /** null unless COMPLETED. */
  output: Json;
  /** null unless FAILED. */
  error: NodeError | null;
  /** Tries; 0 if SKIPPED. Of a CANCELLED one only a bound is known: at most so many. */
  attempts: number;
  /** What it was given; null if SKIPPED or CANCELLED. */
  data: Json;
  /** Predecessors whose taken arrivals were in when it fired, by edge index; empty if SKIPPED. */
  from_nodes: string[];
  /** The move in which it was resolved, skipped or cancelled, from 1. */
  move: number;
  /** Of a `wait` with an instant: that instant, ms since 1970. */
  not_before: number | null;
}

/** A move that resolves nothing, by its place among all. */
export type Moment = { order: number } & (
  | { kind: "wait"; key: string; due: number | null }
  | { kind: "look"; key: string; answer: boolean }
  | { kind: "signal"; signal: Signal }
);

export interface GameResult {
  status: "RUNNING" | "COMPLETED" | "FAILED" | "CANCELLED";
  /** What halted it, if anything did. */
  halted: Halt | null;
  /** The first unhandled failure; null unless FAILED. */
  error: (NodeError & { node_id: string }) | null;
  /** null unless COMPLETED. */
  output: Json;
  /** The executions that are over, by key. */
  nodes: Record<string, NodeResult>;
}

/** What a game cannot know by itself. */
export interface Told {
  /**
   * Stands in for what the semantics leave open: the wording of errors that the engine itself raises, the code of a failing
   * transform, filter item, template or merge. SIGNAL_TIMED_OUT: the answer did not come in time.
   */
  error?: NodeError | undefined;
  /** How the child run ended that a `subworkflow` execution started. */
  child?: { status: string; output: Json } | undefined;
  /** The event came, if that can be, before any of the executions that it withdraws was active. */
  unnoticed?: boolean;
}

export interface Child {
  workflow: SimulatedWorkflow;
  input: Json;
}

export interface Game {
  /** Keys of executions that can be resolved, in the order in which they were activated. */
  enabled(): string[];
  /** Keys of all executions that are not over: also of maps whose items are under way. */
  outstanding(): string[];
  /** What an outstanding or finished execution is given. */
  dataOf(key: string): Json;
  /** Resolves an enabled execution. `behaviour` is for nodes that call the handler. */
  resolve(key: string, behaviour?: Behaviour, told?: Told): NodeResult;
  /** The workflow and the input of the run that a `subworkflow` execution starts; null: it has none. */
  childOf(key: string): Child | null;
  /**
   * For an enabled `one_success` node with several taken arrivals: lets it have fired on that of `from`. Legal when
   * arrivals may be delivered late. False, and no change, if it has no such arrival.
   */
  fireOn(key: string, from: string): boolean;
  /** The event arrives that a `wait`, `signal` or `approval` execution waits for: it withdraws others before it is resolved. */
  wake(key: string): boolean;
  /** Keys of maps whose `complete_when` is being looked at. */
  looks(): string[];
  /** The look at a map's `complete_when` is over. Its answer; null, and no change: there is no such look, or it has none. */
  look(key: string): boolean | null;
  /** An execution begins to wait, or waits on after what a signal did. False, and no change, if it does not wait. */
  wait(key: string, due?: number | null): boolean;
  /** Is it an open map that may be given a signal now? */
  takesSignals(key: string): boolean;
  /** A signal is given: it is taken by who waits for it, kept, or dropped. */
  signal(signal: Signal): Fate;
  /** What was done beside resolving executions. */
  moments(): Moment[];
  /** Skips an enabled execution because of its `unless`. False, and no change, if none of these nodes completed. */
  skipUnless(key: string): boolean;
  /** It is halted, and what is outstanding may be withdrawn. */
  isHalting(): boolean;
  /** Halts the game. False, and no change, if it is over, unless something held back its end (`unfinished`): a pause, items to withdraw. */
  cancel(unfinished?: boolean): boolean;
  /** An outstanding execution of a halted game is withdrawn or given up. The behaviour bounds its attempts. */
  withdraw(key: string, behaviour?: Behaviour): NodeResult;
  /** Items of maps that are under way in a halted game and of which `begun` says nothing were never begun. */
  forgetItems(begun: (scope: string) => boolean): void;
  result(): GameResult;
}

/** A new game with its entry nodes enabled. */
export function createGame(workflow: SimulatedWorkflow, input: Json): Game {
  return new TokenGame(workflow, input);
}
