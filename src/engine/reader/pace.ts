import { LIMITS } from "../limits.ts";

/** How much is recorded at a time. It outlives the recorder: what fails or takes long is tried with less. */
export interface Pace {
  /** Entries of a batch at most. */
  limit: number;
  /** Entries of the next batch at most. */
  most: number;
  /** Doubtful failures of the entry that is next, in a row. */
  doubts: number;
}

export const startingPace = (limit: number = LIMITS.record): Pace => ({ limit, most: limit, doubts: 0 });
