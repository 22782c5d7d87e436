/**
 * How much one call may do. One value, which is passed in: tests and the simulation play with 1 to 3 of each. What the scripts need of
 * it is sent with the call.
 */
export interface CallLimits {
  /** Edges that one call settles, of a start for each run; the rest becomes a settle token. At least one for each item of the call. */
  edges: number;
  /** Tokens that the runs have together which one call starts; a single run may have more. */
  starts: number;
  /** Edges that a call of the small step follows, of all its executions; what comes to more goes to the general one. */
  plainEdges: number;
  /** Elements of an IR's list in one field. All that use a partition must agree: a change is a new LAYOUT. */
  part: number;
  /** A join with more edges is wide: its arrivals are looked through by the worker, not in a script. As `part`. */
  wide: number;
  /** Entries of work in one field. */
  rest: number;
  /** Items of a map whose results are dropped together. */
  results: number;
  /** Entries of an item that begin together. */
  entries: number;
  /** Signals of one name that a run keeps while nobody waits for them. */
  earlySignals: number;
  /** Of maps that are gone: so many are taken out of a signal's line. */
  deadWaiters: number;
  /** Executions that wait for permits: so many are looked at, from the oldest on. */
  aside: number;
  /** Executions that are withdrawn or handed out again: each costs as much as a step. */
  executions: number;
  /** Leases, timers, entries and scopes that are looked after. */
  members: number;
  /** Fields of a run's state that are read. */
  reads: number;
  /** Keys of finished runs that are cleared. */
  keys: number;
  /** Function streams of one partition: what is not offered beyond that fails at once. */
  functionStreams: number;
  /** Tokens of a ready stream that the stuck detector looks through. */
  lookedThrough: number;
}

export const CALL_LIMITS: CallLimits = {
  edges: 50,
  starts: 100,
  plainEdges: 200,
  part: 100,
  wide: 100,
  rest: 200,
  results: 10,
  entries: 20,
  earlySignals: 1_000,
  deadWaiters: 200,
  aside: 200,
  executions: 25,
  members: 200,
  reads: 500,
  keys: 500,
  functionStreams: 1_000,
  lookedThrough: 500,
};
