/**
 * Limits of time that count only while this process's own loop turns. What came while it stood still (a busy handler, SIGSTOP, a machine
 * asleep) is read before anything is judged by its absence.
 */

/** The loop is looked at this often; limits are counted in these. */
const TURN_MS = 250;

const waiting = new Set<Patience>();
let timer: NodeJS.Timeout | undefined;

function turn(): void {
  for (const one of waiting) one.count();
}

/** Begins full; runs out unless it is begun again or ended before. */
export class Patience {
  readonly #turns: number;
  readonly #out: () => void;
  #left = 0;

  constructor(limitMs: number, out: () => void) {
    this.#turns = Math.ceil(limitMs / TURN_MS);
    this.#out = out;
  }

  begin(): void {
    this.#left = this.#turns;
    waiting.add(this);
    timer ??= setInterval(turn, TURN_MS).unref();
  }

  end(): void {
    waiting.delete(this);
    if (waiting.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  }

  /** One turn of the loop went by. */
  count(): void {
    this.#left -= 1;
    if (this.#left >= 0) return;
    this.end();
    this.#out();
  }
}
