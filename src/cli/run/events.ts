/** A run's events with the starts of its nodes in their places. The event log itself has no starts: they stand with the executions. */
import { pause } from "../../base/wait.ts";
import type { Client } from "../../engine/client/client.ts";
import type { EventLevel, EventRow, StartRow } from "../../postgres/events.ts";
import { isFinalRunStatus } from "../../token/lifecycle.ts";

/** An event, or a start derived from its execution (without a number of its own). */
export interface RunEvent {
  seq: number | null;
  level: EventLevel;
  event_type: string;
  node_id: string | null;
  scope: string | null;
  at: Date;
  message: string;
  data: Record<string, unknown> | null;
}

const PAGE = 5_000;
const FOLLOW_MS = 250;

interface ReadOptions {
  /** This level and above. */
  level: EventLevel;
  /** Goes on until the run is final or `signal` is aborted. */
  follow: boolean;
  signal: AbortSignal;
}

/** Reads events page by page; with `follow` also those that come while the run goes on. */
export async function* readRunEvents(
  client: Pick<Client, "getRun" | "listEvents" | "listStarts">,
  runId: string,
  options: ReadOptions,
): AsyncGenerator<RunEvent[]> {
  const { level, follow, signal } = options;
  const withStarts = level === "DEBUG" || level === "INFO";
  const told = new Set<string>();
  let after = 0;
  while (!signal.aborted) {
    // Looked at before: whatever a final run has is there then.
    const over = isFinalRunStatus((await client.getRun(runId)).status);
    const events = await client.listEvents(runId, { after, level, limit: PAGE });
    const nodeIds = [...new Set(events.flatMap(({ node_id }) => node_id ?? []))];
    const starts = withStarts ? await client.listStarts(runId, nodeIds) : [];
    const page = mergeStarts(
      events,
      starts.filter((start) => !told.has(startKey(start))),
    );
    for (const start of starts) told.add(startKey(start));
    if (page.length > 0) yield page;
    after = events.at(-1)?.seq ?? after;
    if (events.length === PAGE) continue;
    if (over || !follow) return;
    await pause(FOLLOW_MS, signal);
  }
}

/**
 * Puts each start before the first event that is later, at the latest before the end of the same try: clocks of workers
 * are estimates. The events keep their order.
 */
export function mergeStarts(events: readonly EventRow[], starts: readonly StartRow[]): RunEvent[] {
  const waiting = [...starts];
  const merged: RunEvent[] = [];
  for (const event of events) {
    const due = waiting.filter((start) => start.started_at < event.at || isEndOf(event, start));
    for (const start of due) {
      merged.push(asEvent(start));
      waiting.splice(waiting.indexOf(start), 1);
    }
    merged.push(event);
  }
  return [...merged, ...waiting.map(asEvent)];
}

function isEndOf(event: EventRow, start: StartRow): boolean {
  return (
    event.node_id === start.node_id && event.scope === start.scope && event.data?.attempt === start.attempt
  );
}

/** Not by its time: the note of a long execution and its outcome may differ by a millisecond. */
function startKey({ node_id, scope, attempt, worker_id }: StartRow): string {
  return JSON.stringify([node_id, scope, attempt, worker_id]);
}

function asEvent({ node_id, scope, attempt, worker_id, started_at }: StartRow): RunEvent {
  return {
    seq: null,
    level: "INFO",
    event_type: "node_started",
    node_id,
    scope,
    at: started_at,
    message: `${node_id} started${attempt > 1 ? ` (attempt ${attempt})` : ""}`,
    data: { attempt, worker_id },
  };
}
