/**
 * The letters that stand for states, outcomes and kinds inside of values that the scripts and TypeScript exchange: each is spelled here
 * alone, and in `lua/lib/letters.lua`, which has further ones that only scripts know. A test compares the two.
 */

/** One of the letters of a table. */
export type Letter<Table extends Readonly<Record<string, string>>> = Table[keyof Table];

/** What state an execution is in. */
export const EXECUTION = { active: "A" } as const;
/** What a worker's performance came to: over, to be tried again, or waiting. */
export const OUTCOME = {
  completed: "C",
  failed: "F",
  cancelled: "X",
  retrying: "R",
  waiting: "W",
} as const;
/** What a run's zero-hit comes to. */
export const STATUS = { completed: "C", failed: "F", cancelled: "X" } as const;
/** What an edge carries. */
export const ARRIVAL = { taken: "t", not_taken: "n", failed: "f" } as const;
/** On which outcomes an edge may be taken. */
export const ON = { success: "s", failure: "f", always: "a" } as const;
/** How arrivals are told: a letter for each edge behind it, or an unhandled failure fails every edge. */
export const MODE = { routed: "=", failed: "X" } as const;
/** What an execution waits for: a time, a signal, its items, or its child run. */
export const PARK = { time: "w", signal: "s", items: "m", child: "c" } as const;
/** What it was woken by; what follows tells of it. Asked: whether the map is complete. */
export const WOKEN = { signal: "S", child: "C", items: "M", asked: "K" } as const;
/** What an output is: JSON, the name of a blob, or the error that dependents see. */
export const OUTPUT = { json: "j", blob: "b", error: "e" } as const;
/** What is marked of a map's item that left no result: it failed, or none of several terminals completed. */
export const ITEM = { failed: "x", empty: "e" } as const;
/** What a worker says of itself when it lists what it holds: it is about to leave. */
export const LISTED = { leaves: "l" } as const;
/** What a token is for. */
export const TOKEN = { execution: "n", settle: "s" } as const;
/** What a journal entry tells. */
export const EVENT = {
  started: "s",
  running: "n",
  commanded: "c",
  redelivered: "l",
  retrying: "r",
  parked: "p",
  finished: "f",
  plain: "k",
  settled: "w",
} as const;
/**
 * What the small step answers of an item (done, and what it handed over: nothing, one, several; a claim runs); in place of an output or of
 * sources, that they are the predecessor's own, or that alone.
 */
export const ANSWER = {
  done: "d",
  handed: "h",
  several: "m",
  runs: "r",
  slow: "s",
  own: "-",
  own_alone: "=",
} as const;
