/** Collects the faults of one input, so that all are reported at once. */
import { type Fault, InvalidInputError } from "../base/errors.ts";
import { LIMITS } from "./limits.ts";

export class Faults {
  private readonly kept: Fault[] = [];
  private count = 0;

  add(code: string, path: string, message: string, hint: string): void {
    this.count += 1;
    if (this.kept.length < LIMITS.faults) this.kept.push({ code, path, message, hint });
  }

  get isEmpty(): boolean {
    return this.count === 0;
  }

  /** True when further faults are only counted: costly hints need not be worked out. */
  get isFull(): boolean {
    return this.count >= LIMITS.faults;
  }

  list(): Fault[] {
    const hidden = this.count - this.kept.length;
    if (hidden === 0) return [...this.kept];
    const message = `… and ${hidden} more`;
    return [
      ...this.kept,
      { code: "MORE_FAULTS", path: "$", message, hint: "Correct the faults above first." },
    ];
  }

  /** @throws InvalidInputError if there is any fault. `what` names the input: `workflow "a"`. */
  throwIfAny(what: string): void {
    if (!this.isEmpty) throw new InvalidInputError(what, this.list());
  }
}

const MAX_QUOTED = 60;

/** A user's text as it may stand in a message: quoted, without control characters, not endless. */
export function quote(text: string): string {
  return JSON.stringify(text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text);
}

const MAX_DISTANCE = 3;

/** The known word nearest to a mistyped one, or undefined if none is near. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  if (word.length > LIMITS.idLength) return undefined;
  const lower = word.toLowerCase();
  let best: string | undefined;
  let bestDistance = Math.min(MAX_DISTANCE, Math.ceil(word.length / 2)) + 1;
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) >= bestDistance) continue;
    const distance = editDistance(lower, candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/**
 * The known word in which somebody slipped: other case or separators, one letter in words from five letters on, two from nine
 * on. Nearer than `nearest`, which only makes a hint: here words that are meant otherwise must not be hit.
 */
export function slipOf(word: string, known: Iterable<string>): string | undefined {
  if (word.length > LIMITS.idLength) return undefined;
  const letters = lettersOf(word);
  for (const candidate of known) {
    const wanted = lettersOf(candidate);
    const most = wanted.length < 5 ? 0 : wanted.length < 9 ? 1 : 2;
    if (Math.abs(wanted.length - letters.length) > most) continue;
    if (editDistance(letters, wanted, most + 1) <= most) return candidate;
  }
  return undefined;
}

const lettersOf = (word: string) => word.toLowerCase().replaceAll(/[_-]/g, "");

/** `Did you mean "x"?`, or the fallback. */
export function didYouMean(word: string, known: Iterable<string>, fallback: string): string {
  const best = nearest(word, known);
  return best === undefined ? fallback : `Did you mean ${quote(best)}?`;
}

/** Adds an UNKNOWN_NODE; `known` holds the ids that there are. */
export function reportUnknownNode(
  path: string,
  id: string,
  known: ReadonlyMap<string, unknown>,
  faults: Faults,
): void {
  const hint = faults.isFull ? "" : didYouMean(id, known.keys(), "Name a node of this workflow.");
  faults.add("UNKNOWN_NODE", path, `there is no node ${quote(id)}`, hint);
}

/** Levenshtein's distance by rows (Wagner and Fischer); gives up, answering `limit`, once it cannot stay below. */
function editDistance(a: string, b: string, limit: number): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    let smallest = row;
    for (let column = 1; column <= b.length; column++) {
      const same = a.charCodeAt(row - 1) === b.charCodeAt(column - 1) ? 0 : 1;
      const distance = Math.min(
        (previous[column] as number) + 1,
        (current[column - 1] as number) + 1,
        (previous[column - 1] as number) + same,
      );
      current.push(distance);
      smallest = Math.min(smallest, distance);
    }
    if (smallest >= limit) return limit;
    previous = current;
  }
  return previous[b.length] as number;
}
