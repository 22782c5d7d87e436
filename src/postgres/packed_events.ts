/**
 * Events of runs as they are kept: a row for each run and batch holds all its events as one JSON text, in order. Who follows a run reads the
 * rows that are new. `hitzero.event_log` is the view that shows them one by one; the queries of the product use the rows themselves.
 */
import { CopyBuffer } from "./copy_binary.ts";
import { type Connection, DUPLICATE, type Queryable } from "./database.ts";

/** `at`: ms since 1970. */
export interface EventRecord {
  runId: string;
  seq: number;
  level: "DEBUG" | "INFO" | "WARN" | "ERROR";
  eventType: string;
  nodeId: string | null;
  scope: string | null;
  at: number;
  message: string;
  data: Record<string, unknown>;
}

/** A row of `events_packed`. */
export interface PackedEvents {
  runId: string;
  firstSeq: number;
  lastSeq: number;
  lastAt: number;
  kinds: string[];
  /** JSON text. */
  events: string;
}

/** Bytes of a row's events at most, but for a single event that is larger. */
export const PACKED_BYTES = 64 * 1024;
/** Events of a row at most: who wants the next so many events knows by this which rows can hold them. */
export const PACKED_EVENTS = 1_000;

/** Keys of an event's data that queries look for; they count among the kinds of its row. */
const NOTED_KEYS = ["command", "halted", "buries"] as const;

/** The rows that the reader looks for among those of runs that are not over: has an index of its own, which needs these words. */
export const NOTED = "kinds && '{run_cancelling,run_timed_out,run_resumed,command,halted,buries}'";

/** The events of the rows `p`, each with its place in its row, from 1. */
export const EACH_EVENT =
  "cross join lateral jsonb_array_elements(p.events::jsonb) with ordinality as e (event, place)";

/** SQL of what an event of EACH_EVENT holds. */
export const EVENT = {
  seq: "p.first_seq + e.place - 1",
  level: "e.event ->> 0",
  eventType: "e.event ->> 1",
  nodeId: "e.event ->> 2",
  scope: "e.event ->> 3",
  /** Whole ms since 1970, rounded down. */
  at: "floor((e.event ->> 4)::numeric)::bigint",
  message: "e.event ->> 5",
  data: "nullif(e.event -> 6, 'null')",
} as const;

/** When the last event of the run `r` happened. */
export const LAST_EVENT_AT =
  "(select p.last_at from hitzero.events_packed p where p.run_id = r.run_id order by p.last_seq desc limit 1)";

interface Open {
  row: PackedEvents;
  kinds: Set<string>;
  texts: string[];
  bytes: number;
}

/** Rows of these events: pure. Events of one run come in order of their numbers; where one is missing, another row begins. */
export function packEvents(records: readonly EventRecord[]): PackedEvents[] {
  const rows: PackedEvents[] = [];
  const open = new Map<string, Open>();
  const close = ({ row, kinds, texts }: Open) => {
    row.kinds = [...kinds];
    row.events = `[${texts.join(",")}]`;
  };
  for (const { runId, seq, level, eventType, nodeId, scope, at, message, data } of records) {
    const text = JSON.stringify([level, eventType, nodeId, scope, at, message, data]);
    const bytes = Buffer.byteLength(text) + 1;
    let current = open.get(runId);
    if (current === undefined || seq !== current.row.lastSeq + 1 || isFull(current, bytes)) {
      if (current !== undefined) close(current);
      const row = { runId, firstSeq: seq, lastSeq: seq, lastAt: at, kinds: [], events: "" };
      current = { row, kinds: new Set(), texts: [], bytes: 0 };
      open.set(runId, current);
      rows.push(row);
    }
    const { row, kinds, texts } = current;
    row.lastSeq = seq;
    row.lastAt = at;
    texts.push(text);
    current.bytes += bytes;
    kinds.add(eventType);
    for (const key of NOTED_KEYS) if (data[key] !== undefined) kinds.add(key);
  }
  for (const last of open.values()) close(last);
  return rows;
}

const isFull = ({ bytes, texts }: Open, more: number) =>
  bytes + more >= PACKED_BYTES || texts.length >= PACKED_EVENTS;

/** JSON escapes of what jsonb cannot hold: NUL, and half a surrogate pair (a whole one is not escaped). */
const UNFIT = /\\u(?:0000|d[89a-f])/;
/** The year 2286. */
const LATEST_MS = 1e13;

const COLUMNS = ["run_id", "first_seq", "last_seq", "last_at", "kinds", "events"];
const COPY = `copy hitzero.events_packed (${COLUMNS.join(", ")}) from stdin (format binary)`;

/** Writes events. @throws what Postgres refuses; SQLSTATE 23505 for numbers that are on record already */
export async function recordEvents(client: Connection, records: readonly EventRecord[]): Promise<void> {
  if (records.length === 0) return;
  const rows = packEvents(records);
  await refuseUnfit(client, records, rows);
  await refuseRepeated(client, rows);
  const buffer = new CopyBuffer(rows.reduce((sum, { events }) => sum + 200 + events.length, 0));
  for (const { runId, firstSeq, lastSeq, lastAt, kinds, events } of rows) {
    buffer
      .row(COLUMNS.length)
      .uuid(runId)
      .int8(firstSeq)
      .int8(lastSeq)
      .timestamp(lastAt)
      .texts(kinds)
      .text(events);
  }
  await client.copy(COPY, buffer.finish());
}

/** What cannot be shown one day is refused now, by Postgres itself. */
async function refuseUnfit(
  client: Queryable,
  records: readonly EventRecord[],
  rows: readonly PackedEvents[],
): Promise<void> {
  for (const { at } of records) {
    if (at >= 0 && at < LATEST_MS) continue;
    await client.query("select to_timestamp($1::double precision / 1000)", [at]);
  }
  for (const { events } of rows) if (UNFIT.test(events)) await client.query("select $1::jsonb", [events]);
}

/** Rows may overlap without sharing their last number, which is what their key would refuse. */
async function refuseRepeated(client: Queryable, rows: readonly PackedEvents[]): Promise<void> {
  const last = new Map<string, number>();
  const first: PackedEvents[] = [];
  for (const row of rows) {
    const before = last.get(row.runId);
    if (before === undefined) first.push(row);
    else if (row.firstSeq <= before) throw repeated(row.runId, row.firstSeq);
    last.set(row.runId, row.lastSeq);
  }
  // Run by run, as a planner without statistics reads the whole table otherwise.
  const { rows: found } = await client.query<{ run_id: string; first_seq: number }>(
    `select n.run_id, n.first_seq from unnest($1::uuid[], $2::bigint[]) as n (run_id, first_seq)
     cross join lateral (
       select p.last_seq from hitzero.events_packed p where p.run_id = n.run_id order by p.last_seq desc limit 1) known
     where known.last_seq >= n.first_seq limit 1`,
    [first.map(({ runId }) => runId), first.map(({ firstSeq }) => firstSeq)],
  );
  if (found[0]) throw repeated(found[0].run_id, found[0].first_seq);
}

function repeated(runId: string, seq: number): Error {
  return Object.assign(new Error(`event ${seq} of run ${runId} is on record already`), { code: DUPLICATE });
}
