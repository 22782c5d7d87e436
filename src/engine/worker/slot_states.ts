/**
 * The states of an execution in a worker, and which may follow which.
 *
 *     claiming ─→ receiving ─→ ready ─→ running ──┬─→ storing ─→┬─→ finishing ─→ failing
 *                                                 └─────────────┘
 *
 * Over, with the answer of a call: claiming, finishing, failing. Left, to its lease: any of them.
 * A claim may be over without its token: it was parked, moved, or is gone. What was handed over begins with `receiving`.
 */

export type SlotState =
  /** Its entry was read, and its lane claims it. */
  | "claiming"
  /** Its token has come; what it needs is read. */
  | "receiving"
  /** It waits for its turn. */
  | "ready"
  /** It is performed. */
  | "running"
  /** Its large values are stored. */
  | "storing"
  /** Its lane applies what it came to. */
  | "finishing"
  /** That was refused: its lane applies that it failed. */
  | "failing"
  /** Its call was answered: it is this worker's no more. */
  | "over"
  /** Nobody ends it here: its lease runs out. */
  | "left";

export const TRANSITIONS: Readonly<Record<SlotState, readonly SlotState[]>> = {
  claiming: ["receiving", "over", "left"],
  receiving: ["ready", "left"],
  ready: ["running", "left"],
  running: ["storing", "finishing", "left"],
  storing: ["finishing", "left"],
  finishing: ["failing", "over", "left"],
  failing: ["over", "left"],
  over: [],
  left: [],
};
