/** What is to be reached, beside what was found. */

export interface Goal {
  what: string;
  found: number;
  /** What it must be: at least or at most this. */
  bound: { least: number } | { most: number };
  aim?: number;
  /** After each number: `×`, ` µs`. */
  unit: string;
}

export function isReached({ found, bound }: Goal): boolean {
  return "least" in bound ? found >= bound.least : found <= bound.most;
}

/** The rows of a table under `GOAL_HEAD`. */
export const GOAL_HEAD = ["what is to be reached", "found", "must be", "aim", ""] as const;

export function goalRow(goal: Goal, shown: (value: number) => string): string[] {
  const { what, found, bound, aim, unit } = goal;
  const must = "least" in bound ? `≥ ${bound.least}${unit}` : `≤ ${bound.most.toLocaleString("en")}${unit}`;
  return [
    what,
    `${shown(found)}${unit}`,
    must,
    aim === undefined ? "" : `${aim}${unit}`,
    isReached(goal) ? "reached" : "**missed**",
  ];
}
