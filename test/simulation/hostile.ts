/** Handlers that throw or return what no handler should, and what is to come of it: the tables of the unit tests, by name. */
import {
  HOSTILE_DELAYS,
  HOSTILE_RESULTS,
  HOSTILE_THROWS,
  type HostileThrow,
  ODD_RESULTS,
} from "../support/hostile_values.ts";
import type { Json } from "./expression.ts";

export interface Hostile {
  /** Does what the handler does. */
  perform: () => unknown;
  outcome: { output: Json } | { error: { code: string; message: string | null }; forGood: boolean };
  /** It asks for a next try so late that no run should wait for it. */
  isLate: boolean;
}

function thrown({ name, make, code, message }: HostileThrow, isLate = false): [string, Hostile] {
  const perform = (): never => {
    throw make();
  };
  const error = { code, message: typeof message === "string" ? message : null };
  return [`throws ${name}`, { perform, outcome: { error, forGood: false }, isLate }];
}

/** By what the handler does, in words. */
export const HOSTILE: ReadonlyMap<string, Hostile> = new Map([
  ...HOSTILE_THROWS.map((one) => thrown(one)),
  ...HOSTILE_DELAYS.map(({ isLate, ...one }) => thrown(one, isLate)),
  ...HOSTILE_RESULTS.map(({ name, make, refused, code }): [string, Hostile] => {
    const outcome = { error: { code, message: null }, forGood: refused !== undefined };
    return [`returns ${name}`, { perform: make, outcome, isLate: false }];
  }),
  ...ODD_RESULTS.map(({ name, make, text }): [string, Hostile] => [
    `returns ${name}`,
    { perform: make, outcome: { output: JSON.parse(text) as Json }, isLate: false },
  ]),
]);

export function hostileNamed(what: string): Hostile {
  const found = HOSTILE.get(what);
  if (found === undefined) throw new Error(`no handler ${what}`);
  return found;
}
