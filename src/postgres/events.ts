/** The event log of a run, as people and programs read it. */
import type { Queryable, Row } from "./database.ts";
import { dated, momentOf } from "./moments.ts";

export const EVENT_LEVELS = ["DEBUG", "INFO", "WARN", "ERROR"] as const;
export type EventLevel = (typeof EVENT_LEVELS)[number];

/** One event of a run. */
export interface EventRow extends Row {
  /** Number of the event in its run, from 1. */
  seq: number;
  level: EventLevel;
  event_type: string;
  node_id: string | null;
  scope: string | null;
  at: Date;
  message: string;
  data: Record<string, unknown> | null;
}

export interface EventFilter {
  /** Events with greater numbers only. Default 0. */
  after?: number;
  /** Events of this level and above. Default DEBUG. */
  level?: EventLevel;
  /** Default 5,000. */
  limit?: number;
}

/** Events of a run in order. */
export async function listEvents(
  database: Queryable,
  runId: string,
  filter: EventFilter = {},
): Promise<EventRow[]> {
  const levels = EVENT_LEVELS.slice(EVENT_LEVELS.indexOf(filter.level ?? "DEBUG"));
  const { rows } = await database.query<EventRow>(
    `select seq, level, event_type, node_id, scope, ${momentOf("at")}, message, data from hitzero.event_log
     where run_id = $1 and seq > $2 and level = any ($3) order by seq limit $4`,
    [runId, filter.after ?? 0, levels, filter.limit ?? 5_000],
  );
  return dated(rows, "at");
}

/** When the last try of an execution began. */
export interface StartRow extends Row {
  node_id: string;
  scope: string;
  attempt: number;
  worker_id: string | null;
  started_at: Date;
}

/** Begun executions of these nodes, and of all nodes that run now, in order of time. The event log has no entry for a start. */
export async function listStarts(
  database: Queryable,
  runId: string,
  nodeIds: readonly string[],
): Promise<StartRow[]> {
  const { rows } = await database.query<StartRow>(
    `select node_id, scope, attempt, worker_id, ${momentOf("e.started_at")} from hitzero.node_executions e
     where run_id = $1 and started_at is not null and (status = 'RUNNING' or node_id = any ($2))
     order by e.started_at, node_id, scope`,
    [runId, nodeIds],
  );
  return dated(rows, "started_at");
}
