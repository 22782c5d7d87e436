/** Bounds of the engine, in one place (CONTRACT "Defaults"). */

/** Outputs up to this size travel inline; larger ones as blobs. Bytes of JSON. */
export const INLINE_OUTPUT_BYTES = 32 * 1024;
/** Largest output, bytes of JSON. */
export const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
/** Largest input of a run, bytes of JSON. */
export const MAX_INPUT_BYTES = 1024 * 1024;
/** Deepest nesting of an input or output. */
export const MAX_JSON_DEPTH = 200;
/** Executions that a worker performs at once, unless told otherwise. */
export const DEFAULT_CONCURRENCY = 32;
/** Largest `--concurrency`. */
export const MAX_CONCURRENCY = 1_000;
/** Executions that one call finishes and claims at most, together. */
export const STEP_BATCH = 4;
/** Calls of one partition that may be under way at once. */
export const CALLS_IN_FLIGHT = 8;
/** A worker that stops gives a call up that fails this often for another reason than an absent server (some 4 s). */
export const LAST_TRIES = 8;
/** Tokens that may be handed over in a row before one goes through the stream: others get their turn. */
export const HAND_OVER_BOUND = 50;
/** Items of a map are handed over in a row for this long: then tokens that wait in the stream get their turn. */
export const ITEMS_HANDED_MS = 100;
/** A token that is handed out belongs to its worker for this long, unless renewed (a third of it apart). */
export const LEASE_MS = 10_000;
/** A process whose event loop has not turned for so long since the `timeout_ms` of an execution that it performs ran out is ended. */
export const BLOCKED_GRACE_MS = 30_000;
/** Shorter leases are for tests: every pause of a process would look like its loss. */
export const SHORTEST_LEASE_MS = 100;
export const LONGEST_LEASE_MS = 600_000;
/** A token that was handed out this often without an answer is a dead letter: its execution fails. */
export const MAX_DELIVERIES = 5;
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
/** Journal entries that one recording transaction takes. */
export const RECORD_BATCH = 200;
/** A run without any event for this long is looked at: is anything of it in reach? */
export const STUCK_MS = 300_000;
/** Signs of life of workers and supervisors. */
export const HEARTBEAT_MS = 5_000;
/** Items of one map. */
export const MAX_MAP_ITEMS = 1_000_000;
/** Runs within runs. */
export const MAX_RUN_DEPTH = 16;
