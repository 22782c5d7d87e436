/** Have the rows of new runs tables of their time, and are there rows that have none? */
import type { PeriodHealth } from "../../postgres/periods.ts";
import { duration, plural } from "../shell/format.ts";
import { type Check, checksOf } from "./check.ts";

const DAY_MS = 86_400_000;

const span = (ms: number) => (ms < 2 * DAY_MS ? duration(ms) : plural(Math.floor(ms / DAY_MS), "day"));

/** `periodMs`: of the settings. */
export function periodChecks({ crowded, aheadMs }: PeriodHealth, periodMs: number): Check[] {
  const { ok, warn, fail } = checksOf("schema");
  const hint =
    "A supervisor makes them; its log says what keeps it from doing so. `npx hitzero migrate` makes them too.";
  const ahead = `there are tables for the runs of the next ${span(aheadMs)}`;
  const periods =
    aheadMs === 0
      ? fail("periods", "no period holds the runs of now: their rows are kept in DEFAULT", hint)
      : aheadMs < periodMs
        ? warn("periods", `${ahead} only`, hint)
        : ok("periods", ahead);
  if (crowded.length === 0) return [periods];
  return [
    periods,
    warn(
      "default",
      `rows of no period are in ${crowded.join(", ")}`,
      "They are read like all others, but no old period takes them along when it is dropped. `npx hitzero migrate` moves those that hinder the next period; docs/operations.md says how to remove the others (child runs of earlier releases, runs of a clock that was wrong).",
    ),
  ];
}
