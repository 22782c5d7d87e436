import type { Expected } from "./record_check.ts";

/** Everything that was submitted, for the count at the end. */
export class Ledger {
  readonly total: Expected = { runs: 0, steps: 0 };

  add({ runs, steps }: Expected): void {
    this.total.runs += runs;
    this.total.steps += steps;
  }
}
