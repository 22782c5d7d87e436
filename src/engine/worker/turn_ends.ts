/**
 * What is to be done when the turn of the event loop is over in which it was added: its ticks and promises, and the immediates that were
 * set in it before. One immediate for all that is added between two looks at the ticks.
 *
 * Owns: what was added since.
 */

export interface TurnEnd {
  /** The turn is over. Does not throw. */
  endTurn(): void;
}

export class TurnEnds {
  #added: TurnEnd[] = [];
  // Behind the ticks that were set by then, and the promises: the immediate comes behind those that these set.
  readonly #afterTicks = () => queueMicrotask(this.#afterPromises);
  readonly #afterPromises = () => {
    const added = this.#added;
    this.#added = [];
    setImmediate(endAll, added);
  };

  add(one: TurnEnd): void {
    if (this.#added.push(one) === 1) process.nextTick(this.#afterTicks);
  }
}

function endAll(added: readonly TurnEnd[]): void {
  for (const one of added) one.endTurn();
}
