/** What is compared: one engine that performs the same works as the others. */

export const WORKS = ["chain", "fan", "single"] as const;
export type Work = (typeof WORKS)[number];

/** Steps of one run: what a run of each work is made of (bench/workloads.ts). */
export const STEPS: Record<Work, number> = { chain: 10, fan: 52, single: 1 };

export const TITLES: Record<Work, string> = {
  chain: "chains of 10 steps",
  fan: "1 → 50 → 1",
  single: "one-step runs",
};

/** Redis and Postgres, which all share, and the roles that processes of an engine play. */
export const PARTS = ["redis", "postgres", "worker", "server", "submitter"] as const;
export type Part = (typeof PARTS)[number];

/** Seconds from the begin of the submit. */
export interface Taken {
  /** Until the last run's end is reported: for hitzero its final row in Postgres, for others what they report. */
  seconds: number;
  /** Until all were submitted; runs begin meanwhile. */
  submitSeconds: number;
}

/** Processes of the engine by role; those of one role are added up. */
export type Processes = Partial<Record<Part, readonly number[]>>;

export interface Engine {
  readonly name: string;
  readonly title: string;
  readonly version: string;
  /** What it can do. */
  readonly works: readonly Work[];
  readonly processes: Processes;
  /** Rejects when one of its processes dies. Never resolves. */
  readonly failed: Promise<never>;
  /** What must be there before runs are submitted, and is not measured. */
  prepare(work: Work, runs: number): Promise<void>;
  /** Submits the runs that were prepared, and waits for their ends. */
  run(): Promise<Taken>;
  /** Looks whether everything was done. Not measured. @throws Error that names what is missing */
  check(): Promise<void>;
  /** One chain alone, on an idle engine: milliseconds from the entry of each step to the entry of the next one. */
  hops(): Promise<number[]>;
  stop(): Promise<void>;
}
