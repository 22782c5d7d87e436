/** Plays whole runs of the reference, without an engine. */
import type { Json } from "./expression.ts";
import {
  ANSWERED_BY,
  allNodes,
  type Behaviours,
  type SimulatedNode,
  type SimulatedWorkflow,
} from "./model.ts";
import { createGame, type Game, type GameResult, type Moment } from "./reference.ts";
import type { NodeError } from "./reference_routing.ts";
import { idIn } from "./reference_scopes.ts";

/**
 * Chooses the next move out of those that there are (never empty): an execution's key to resolve it, with `?` behind it to look at
 * its `complete_when`, with `+` to give it its next signal.
 */
export type Chooser = (moves: readonly string[]) => string;

/** A game that was played to its end, and those of the runs that it started, by the key of the execution. */
export interface Played extends GameResult {
  children: Record<string, Played>;
  moments: Moment[];
}

/** Plays a whole run. The first enabled execution goes first unless `choose` says otherwise. What is enabled in a halted run is withdrawn. */
export function play(
  workflow: SimulatedWorkflow,
  input: Json,
  behaviours: Behaviours,
  choose: Chooser = (moves) => moves[0]!,
  wording?: NodeError,
): Played {
  const game = createGame(workflow, input);
  const signals = new Signals(game, workflow);
  const children: Record<string, Played> = {};
  while (game.outstanding().length > 0) {
    const looks = game.looks().map((key) => `${key}?`);
    const moves = game.isHalting() ? game.outstanding() : [...looks, ...game.enabled(), ...signals.moves()];
    const move = choose(moves);
    const key = move.replace(/[?+]$/, "");
    const behaviour = behaviours[idIn(key)];
    if (game.isHalting()) game.withdraw(key, behaviour);
    else if (move.endsWith("?")) game.look(key);
    else if (move.endsWith("+")) signals.give(key);
    else if (!game.skipUnless(key)) {
      const child = game.childOf(key);
      if (child !== null) children[key] = play(child.workflow, child.input, behaviours, choose, wording);
      signals.answer(key);
      game.resolve(key, behaviour, { error: wording, child: children[key] });
    }
  }
  return { ...game.result(), children, moments: game.moments() };
}

/** Gives the executions of a game the signals that its workflow foresees. */
class Signals {
  readonly #game: Game;
  readonly #nodes: ReadonlyMap<string, SimulatedNode>;
  readonly #given = new Map<string, number>();

  constructor(game: Game, workflow: SimulatedWorkflow) {
    this.#game = game;
    this.#nodes = new Map(allNodes(workflow).map((node) => [node.id, node]));
  }

  /** Open maps that there are signals for. */
  moves(): string[] {
    return this.#game
      .outstanding()
      .filter((key) => this.#game.takesSignals(key) && this.#next(key) !== undefined)
      .map((key) => `${key}+`);
  }

  give(key: string): void {
    const payload = this.#next(key);
    const given = this.#given.get(key) ?? 0;
    if (given === 0) this.#game.wait(key);
    this.#given.set(key, given + 1);
    this.#signal(key, (this.#nodes.get(idIn(key)) as { open: { name: string } }).open.name, payload as Json);
    this.#game.wait(key);
  }

  answer(key: string): void {
    const node = this.#nodes.get(idIn(key));
    if (node?.type !== "signal" && node?.type !== "approval") return;
    this.#game.wait(key);
    if (node.answer !== null) this.#signal(key, node.name, node.answer);
  }

  #next(key: string) {
    const node = this.#nodes.get(idIn(key));
    return node?.type === "map" ? node.open?.signals[this.#given.get(key) ?? 0] : undefined;
  }

  #signal(key: string, name: string, payload: Json): void {
    const scope = key.slice(idIn(key).length + 1);
    this.#game.signal({ name, scope, payload, by: ANSWERED_BY, at: "2026-01-01T00:00:00.000Z" });
  }
}
