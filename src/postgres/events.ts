/** The event log of a run, as people and programs read it. */
import type { Queryable, Row } from "./database.ts";
import { dated, momentOf } from "./moments.ts";
import { EACH_EVENT, EVENT, PACKED_EVENTS } from "./packed_events.ts";

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

/** Those of the rows that end behind `from`, up to `to`. */
const WITHIN = `select ${EVENT.seq} as seq, ${EVENT.level} as level, ${EVENT.eventType} as event_type, ${EVENT.nodeId} as node_id,
    ${EVENT.scope} as scope, ${EVENT.at} as at, ${EVENT.message} as message, ${EVENT.data} as data
  from hitzero.events_packed p ${EACH_EVENT}
  where p.run_id = $1 and p.last_seq > $2 and p.last_seq <= $3 and ${EVENT.seq} > $4 and (${EVENT.level}) = any ($5)
  order by p.last_seq, e.place limit $6`;
const NEXT =
  "select last_seq from hitzero.events_packed where run_id = $1 and last_seq > $2 order by last_seq limit 1";

/** Events of a run in order. Reads the rows that can hold them and no others, however many there are. */
export async function listEvents(
  database: Queryable,
  runId: string,
  filter: EventFilter = {},
): Promise<EventRow[]> {
  const levels = EVENT_LEVELS.slice(EVENT_LEVELS.indexOf(filter.level ?? "DEBUG"));
  const { after = 0, limit = 5_000 } = filter;
  const found: EventRow[] = [];
  for (let from = after; ; ) {
    const to = from + limit + PACKED_EVENTS;
    // Asked before: rows are recorded in order, so if there is one beyond, none up to there is still to come.
    const { rows: beyond } = await database.query<{ last_seq: number }>(NEXT, [runId, to]);
    const left = limit - found.length;
    const { rows } = await database.query<EventRow>(WITHIN, [runId, from, to, after, levels, left]);
    found.push(...rows);
    // Fewer than are wanted while there are more: the level is rare.
    if (rows.length === left || !beyond[0]) return dated(found, "at");
    from = beyond[0].last_seq - 1;
  }
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
