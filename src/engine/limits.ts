/** Bounds of the engine, in one place (CONTRACT "Defaults"). */
import { PERIODS_AHEAD } from "../postgres/periods.ts";
import { CALL_LIMITS, type CallLimits } from "../redis/call_limits.ts";

/**
 * How much is done at once. One value, which is passed in: tests and the simulation play with 1 to 3 of each. It changes how many calls
 * are made, never what comes of them.
 */
export interface Limits extends CallLimits {
  /** Executions that go together: plain ones in one call. */
  batch: number;
  /** Executions that one call of the general step finishes and claims, together. */
  step: number;
  /** Calls of one partition that may be under way. */
  calls: number;
  /** Tokens that may be handed over in a row before one goes through the stream: others get their turn. */
  handOvers: number;
  /** Outputs up to this size travel inline; larger ones as blobs. Bytes of JSON. */
  inlineBytes: number;
  /** Items of a map in one blob. All workers must agree, and runs that began under another number would miss items. */
  items: number;
  /** Journal entries that one recording transaction takes. */
  record: number;
  /** Open commands that a reader applies before it looks at its journal again. */
  commands: number;
  /** Quiet runs that are looked at together. */
  quiet: number;
  /** Accepted runs that never started: so many are started together. */
  unstarted: number;
  /** Periods of Postgres that are made ahead. */
  periods: number;
  /** Rows outside of all periods that may be moved when theirs is made, while others work. */
  strays: number;
}

const OWN: Omit<Limits, keyof CallLimits> = {
  batch: 16,
  step: 4,
  calls: 8,
  handOvers: 50,
  inlineBytes: 32 * 1024,
  items: 100,
  record: 800,
  commands: 200,
  quiet: 50,
  unstarted: 200,
  periods: PERIODS_AHEAD,
  strays: 10_000,
};

export const LIMITS: Limits = { ...CALL_LIMITS, ...OWN };

/** Largest output, bytes of JSON. */
export const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
/** Largest output of a run, and of what it is made of together, bytes of JSON. */
export const MAX_RUN_OUTPUT_BYTES = 32 * 1024 * 1024;
/** Largest input of a run, bytes of JSON. */
export const MAX_INPUT_BYTES = 1024 * 1024;
/** Deepest nesting of an input or output. */
export const MAX_JSON_DEPTH = 200;
/** Executions that a worker performs at once, unless told otherwise. */
export const DEFAULT_CONCURRENCY = 32;
/** Largest `--concurrency`. */
export const MAX_CONCURRENCY = 1_000;
/** A worker that stops gives a call up that fails this often for another reason than an absent server (some 4 s). */
export const LAST_TRIES = 8;
/**
 * A worker that stops lets handlers run on for this long: container platforms end a process 30 s after they asked it to (Kubernetes, Nomad,
 * ECS), and what is told to stop then needs a moment for it.
 */
export const DRAIN_TIMEOUT_MS = 25_000;
export const LONGEST_DRAIN_MS = 86_400_000;
/** After that time, calls under way have this long. */
export const LAST_ANSWERS_MS = 1_000;
/** Items of a map are handed over in a row for this long: then tokens that wait in the stream get their turn. */
export const ITEMS_HANDED_MS = 100;
/** A token that is handed out belongs to its worker for this long, unless renewed (a third of it apart). */
export const LEASE_MS = 10_000;
/** A process whose event loop has not turned for so long since the `timeout_ms` of an execution that it performs ran out is ended. */
export const BLOCKED_GRACE_MS = 30_000;
/** Shorter leases are for tests: every pause of a process would look like its loss. */
export const SHORTEST_LEASE_MS = 100;
export const LONGEST_LEASE_MS = 600_000;
/** A node fails whose function no live worker of its queue has offered for this long, ms (`unoffered_timeout_ms`). */
export const UNOFFERED_TIMEOUT_MS = 900_000;
export const LONGEST_UNOFFERED_TIMEOUT_MS = 30 * 86_400_000;
/** Runs of so long a time at least have tables of their own, ms (`period_ms`). */
export const SHORTEST_PERIOD_MS = 60_000;
export const LONGEST_PERIOD_MS = 366 * 86_400_000;
/** A consumer that has not read for so many times UNCLAIMED_MS is of a worker that is gone. */
export const GONE_UNCLAIMED = 30;
/** An execution is a dead letter when so many workers died that performed it and nothing else. */
export const MOST_LOSSES = 3;
/** Entries that were delivered and not claimed for this long are put back. */
export const UNCLAIMED_MS = 10_000;
/** An execution that lasts longer is recorded as RUNNING. */
export const MOMENT_MS = 100;
/** A blob without the step that refers to it vanishes after this time. */
export const BLOB_TTL_MS = 3_600_000;
/** A submitter's own start is refused after this time; the reader starts the run later. */
export const START_DEADLINE_MS = 3_000;
/** The reader starts accepted runs that are older than this and never started. */
export const START_GRACE_MS = 4_000;
/** A reader's lease of its partition. */
export const READER_LEASE_MS = 10_000;
/** Journal entries that are read in one call. */
export const JOURNAL_PART = 100;
/** A recording transaction costs some 0.5 ms whatever it writes: a reader that lags begins the next one so long after the last, ms. */
export const RECORD_GAP_MS = 10;
/** A reader that nobody rings looks at the journal so long after the first entry that it has not read, ms (as lua/lib/writes.lua). */
export const RECORD_LOOK_MS = 50;
/** Bytes of journal entries that it takes, about: reading ends with the part that exceeds them. */
export const RECORD_ENTRY_BYTES = 8 * 1024 * 1024;
/** Bytes of large outputs that it takes at most, but for those of a single entry. */
export const RECORD_BLOB_BYTES = 32 * 1024 * 1024;
/** Bytes of large values that are read and written at a time, but for a single one that is larger. */
export const PART_BYTES = 4 * 1024 * 1024;
/** A run without any event for this long is looked at: is anything of it in reach? */
export const STUCK_MS = 300_000;
/** Signs of life of workers and supervisors. */
export const HEARTBEAT_MS = 5_000;
/** Items of one map. */
export const MAX_MAP_ITEMS = 1_000_000;
/** Runs within runs. */
export const MAX_RUN_DEPTH = 16;
