/** How much the simulated engine does at once: 1 to 3 of each, so that every list is cut and every rest is taken up again. */
import { LIMITS, type Limits } from "../../src/engine/limits.ts";
import type { Dice } from "./dice.ts";

/** Says what a run comes to, not how it gets there. */
const OUTCOMES: ReadonlySet<string> = new Set<keyof Limits>(["earlySignals"]);

/** Each batch is a transaction: with one entry in each, a campaign would wait for Postgres most of the time. */
const RECORDS = 10;

export function smallLimits(dice: Dice): Limits {
  const drawn = Object.entries(LIMITS).map(([name, limit]) => [
    name,
    OUTCOMES.has(name) ? limit : dice.between(1, 3),
  ]);
  const limits = Object.fromEntries(drawn) as Limits;
  return { ...limits, record: limits.record * RECORDS };
}
