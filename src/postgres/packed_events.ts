/**
 * Events of runs as they are kept: a row for each run and batch holds all its events as one JSON text, in order. Who follows a run reads the
 * rows that are new. `hitzero.event_log` is the view that shows them one by one; the queries of the product use the rows themselves.
 */
import { CopyBuffer } from "./copy_binary.ts";
import { type Connection, DUPLICATE, type Queryable } from "./database.ts";
import { spanOf } from "./run_span.ts";

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
  /** Of NOTED_TYPES and NOTED_KEYS those that its events have. */
  kinds: string[];
  /** JSON text. */
  events: string;
}

/** Bytes of a row's events at most, but for a single event that is larger. */
export const PACKED_BYTES = 64 * 1024;
/** Events of a row at most: who wants the next so many events knows by this which rows can hold them. */
export const PACKED_EVENTS = 1_000;

/** Types of events that queries look for. */
const NOTED_TYPES: ReadonlySet<string> = new Set(["run_cancelling", "run_timed_out", "run_resumed"]);
/** Keys of an event's data that queries look for. */
const NOTED_KEYS = ["command", "halted", "buries"] as const;

/** The rows that the reader looks for among those of runs that are not over: has an index of its own, which needs these words. */
export const NOTED = "kinds && '{run_cancelling,run_timed_out,run_resumed,command,halted,buries}'";

/** The events of the rows `p`, each with its place in its row, from 1. */
export const EACH_EVENT =
  "cross join lateral jsonb_array_elements(p.events::jsonb) with ordinality as e (event, place)";

/** SQL: how many values the short form of an event of EACH_EVENT has; 0: it is not a short one. */
const SIZE = "case jsonb_typeof(e.event -> 0) when 'number' then jsonb_array_length(e.event) else 0 end";

/** SQL of what an event of EACH_EVENT holds, as `event_log` shows it. */
export const EVENT = {
  seq: "(p.first_seq + e.place - 1)",
  level: `case ${SIZE} when 0 then e.event ->> 0 else 'INFO' end`,
  eventType: `case ${SIZE} when 7 then 'node_completed' when 3 then 'run_started' when 2 then 'run_completed' else e.event ->> 1 end`,
  nodeId: `case when ${SIZE} in (0, 7) then e.event ->> 2 end`,
  scope: `case when ${SIZE} in (0, 7) then e.event ->> 3 end`,
  /** Whole ms since 1970, rounded down. */
  at: `floor((e.event ->> case ${SIZE} when 0 then 4 else 0 end)::numeric)::bigint`,
  message: `case ${SIZE} when 7 then (e.event ->> 2) || ' completed in ' || (e.event ->> 4) || ' ms'
    when 3 then 'the run started' when 2 then 'the run completed' else e.event ->> 5 end`,
  data: `case ${SIZE}
    when 7 then jsonb_build_object('journal', e.event -> 1, 'attempt', 1, 'delivery', 1, 'arrivals', e.event -> 5, 'activated', e.event -> 6)
    when 3 then jsonb_build_object('journal', e.event -> 1, 'activated', e.event -> 2)
    when 2 then jsonb_build_object('journal', e.event -> 1)
    else nullif(e.event -> 6, 'null') end`,
} as const;

/** When the last event of the run `r` happened. */
export const LAST_EVENT_AT =
  "(select p.last_at from hitzero.events_packed p where p.run_id = r.run_id order by p.last_seq desc limit 1)";

/** Events of a batch as they come, those of one run in order of their numbers: rows grow, and a missing number or a full row begins another. */
export class EventPacks {
  /** Moments that Postgres might not take. */
  readonly odd: number[] = [];
  readonly #packs = new Map<string, EventPack>();

  of(runId: string): EventPack {
    let pack = this.#packs.get(runId);
    if (pack === undefined) {
      pack = new EventPack(runId);
      this.#packs.set(runId, pack);
    }
    return pack;
  }

  add(record: EventRecord): void {
    const { runId, seq, level, eventType, nodeId, scope, at, message, data } = record;
    const text = shortForm(record) ?? JSON.stringify([level, eventType, nodeId, scope, at, message, data]);
    const pack = this.of(runId);
    pack.add(seq, at, text, Buffer.byteLength(text));
    if (NOTED_TYPES.has(eventType)) pack.note(eventType);
    for (const key of NOTED_KEYS) if (data[key] !== undefined) pack.note(key);
    if (!(at >= 0 && at < LATEST_MS)) this.odd.push(at);
  }

  /** Nothing can be added afterwards. */
  finish(): PackedEvents[] {
    return [...this.#packs.values()].flatMap((pack) => pack.finish());
  }
}

/** Of a run that started or completed without more ado. */
function shortForm({ level, eventType, nodeId, at, message, data }: EventRecord): string | undefined {
  const { journal, activated, ...more } = data;
  if (level !== "INFO" || nodeId !== null) return undefined;
  if (typeof journal !== "number" || Object.keys(more).length > 0) return undefined;
  if (eventType === "run_started" && message === "the run started" && activated !== undefined)
    return JSON.stringify([at, journal, activated]);
  if (eventType === "run_completed" && message === "the run completed" && activated === undefined)
    return JSON.stringify([at, journal]);
  return undefined;
}

/** The events of a run in a batch. */
export class EventPack {
  readonly #runId: string;
  readonly #rows: PackedEvents[] = [];
  #row: PackedEvents | undefined;
  #bytes = 0;

  constructor(runId: string) {
    this.#runId = runId;
  }

  /** `text`: JSON, of so many bytes. */
  add(seq: number, at: number, text: string, bytes: number): void {
    let row = this.#row;
    if (row === undefined || seq !== row.lastSeq + 1 || this.#isFull(row, bytes + 1)) {
      row = { runId: this.#runId, firstSeq: seq, lastSeq: seq, lastAt: at, kinds: [], events: text };
      this.#row = row;
      this.#rows.push(row);
      this.#bytes = bytes + 1;
      return;
    }
    row.lastSeq = seq;
    row.lastAt = at;
    row.events += `,${text}`;
    this.#bytes += bytes + 1;
  }

  /**
   * An execution that completed in its first attempt and delivery, as the view of events shows it. None of these texts needs an escape.
   * `activated`: JSON.
   */
  addCompleted(
    seq: number,
    at: number,
    journal: number,
    nodeId: string,
    scope: string,
    durationMs: number,
    arrivals: string,
    activated: string,
  ): void {
    const text = `[${at},${journal},"${nodeId}","${scope}",${durationMs},"${arrivals}",${activated}]`;
    this.add(seq, at, text, text.length);
  }

  /** A kind of the last event's row. */
  note(kind: string): void {
    const kinds = this.#row?.kinds;
    if (kinds?.includes(kind) === false) kinds.push(kind);
  }

  finish(): PackedEvents[] {
    for (const row of this.#rows) row.events = `[${row.events}]`;
    return this.#rows;
  }

  #isFull({ firstSeq, lastSeq }: PackedEvents, more: number): boolean {
    return this.#bytes + more >= PACKED_BYTES || lastSeq - firstSeq + 1 >= PACKED_EVENTS;
  }
}

/** JSON escapes of what jsonb cannot hold: NUL, and half a surrogate pair (a whole one is not escaped). */
const UNFIT = /\\u(?:0000|d[89a-f])/;
/** The year 2286. */
const LATEST_MS = 1e13;

const COLUMNS = ["run_id", "first_seq", "last_seq", "last_at", "kinds", "events"];
const COPY = `copy hitzero.events_packed (${COLUMNS.join(", ")}) from stdin (format binary)`;

/** Tells the number of the last event of a run that is on record; undefined: that is to be looked up. */
export type LastSeq = (runId: string) => number | undefined;

/** Writes events. @throws what Postgres refuses; SQLSTATE 23505 for numbers that are on record already */
export async function recordEvents(
  client: Connection,
  rows: readonly PackedEvents[],
  odd: readonly number[] = [],
  lastSeqOf: LastSeq = () => undefined,
): Promise<void> {
  if (rows.length === 0) return;
  await refuseUnfit(client, rows, odd);
  await refuseRepeated(client, rows, lastSeqOf);
  const buffer = CopyBuffer.take();
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
  buffer.release();
}

/** What cannot be shown one day is refused now, by Postgres itself. */
async function refuseUnfit(
  client: Queryable,
  rows: readonly PackedEvents[],
  odd: readonly number[],
): Promise<void> {
  for (const at of odd) await client.query("select to_timestamp($1::double precision / 1000)", [at]);
  for (const { events } of rows) if (UNFIT.test(events)) await client.query("select $1::jsonb", [events]);
}

/** Rows may overlap without sharing their last number, which is what their key would refuse. */
async function refuseRepeated(
  client: Queryable,
  rows: readonly PackedEvents[],
  lastSeqOf: LastSeq,
): Promise<void> {
  const last = new Map<string, number>();
  const first: PackedEvents[] = [];
  for (const row of rows) {
    let before = last.get(row.runId);
    if (before === undefined) {
      before = lastSeqOf(row.runId);
      if (before === undefined) first.push(row);
    }
    if (before !== undefined && row.firstSeq <= before) throw repeated(row.runId, row.firstSeq);
    last.set(row.runId, row.lastSeq);
  }
  if (first.length === 0) return;
  const runIds = first.map(({ runId }) => runId);
  // Run by run, as a planner without statistics reads the whole table otherwise.
  const { rows: found } = await client.query<{ run_id: string; first_seq: number }>(
    `select n.run_id, n.first_seq from unnest($1::uuid[], $2::bigint[]) as n (run_id, first_seq)
     cross join lateral (
       select p.last_seq from hitzero.events_packed p where p.run_id = n.run_id and p.run_id between $3 and $4 order by p.last_seq desc limit 1) known
     where known.last_seq >= n.first_seq limit 1`,
    [runIds, first.map(({ firstSeq }) => firstSeq), ...spanOf(runIds)],
  );
  if (found[0]) throw repeated(found[0].run_id, found[0].first_seq);
}

function repeated(runId: string, seq: number): Error {
  return Object.assign(new Error(`event ${seq} of run ${runId} is on record already`), { code: DUPLICATE });
}
