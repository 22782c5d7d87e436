/**
 * The legal transitions, in one table each. The record refuses others; the README's state diagrams are checked against these
 * tables by a test.
 */

export const RUN_STATUSES = ["PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

export const NODE_STATUSES = [
  "PENDING",
  "RUNNING",
  "WAITING",
  "RETRYING",
  "COMPLETED",
  "FAILED",
  "SKIPPED",
  "CANCELLED",
] as const;
export type NodeStatus = (typeof NODE_STATUSES)[number];

/** Final is final: no transition leaves COMPLETED, FAILED or CANCELLED. */
export const RUN_TRANSITIONS: Readonly<Record<RunStatus, readonly RunStatus[]>> = {
  PENDING: ["RUNNING", "CANCELLED"],
  RUNNING: ["PAUSED", "COMPLETED", "FAILED", "CANCELLED"],
  PAUSED: ["RUNNING", "CANCELLED"],
  COMPLETED: [],
  FAILED: [],
  CANCELLED: [],
};

/** A short execution goes from PENDING straight to its outcome in the record: RUNNING is recorded when it lasts. */
export const NODE_TRANSITIONS: Readonly<Record<NodeStatus, readonly NodeStatus[]>> = {
  PENDING: ["RUNNING", "WAITING", "RETRYING", "COMPLETED", "FAILED", "SKIPPED", "CANCELLED"],
  RUNNING: ["RETRYING", "WAITING", "COMPLETED", "FAILED", "CANCELLED"],
  WAITING: ["RUNNING", "RETRYING", "COMPLETED", "FAILED", "CANCELLED"],
  RETRYING: ["RETRYING", "RUNNING", "WAITING", "COMPLETED", "FAILED", "CANCELLED"],
  COMPLETED: [],
  FAILED: [],
  SKIPPED: [],
  CANCELLED: [],
};

export function isFinalRunStatus(status: RunStatus): boolean {
  return RUN_TRANSITIONS[status].length === 0;
}

/** May a run go from one status to the other? */
export function mayRunBecome(from: RunStatus, to: RunStatus): boolean {
  return RUN_TRANSITIONS[from].includes(to);
}

/** May a node execution go from one status to the other? */
export function mayNodeBecome(from: NodeStatus, to: NodeStatus): boolean {
  return NODE_TRANSITIONS[from].includes(to);
}
