/**
 * Journal entries: what the scripts append to a partition's stream, one for each call that changed anything, numbered
 * densely. An entry holds whatever is not deterministic; the record in Postgres is made of nothing else.
 *
 * Stream fields: `call` (nonce of the call), `at` (ms), then in order
 *   s {started}                       · n {still running}
 *   c {commanded}                     · l {handed out again}
 *   r {to be tried again}, d detail, o · p {it waits}, d detail, o
 *   f {finished}, d detail, o output  · w {settled rest}, d, o
 *   k {plain}, output: finished, as a text that its worker wrote (`encodePlain`) behind what the script adds; the output has no name
 */
import { z } from "zod";
import { assert } from "../base/assert.ts";
import { storable } from "../base/text.ts";
import { EVENT, OUTCOME, PARK, STATUS } from "./letters.ts";

const skipped = z
  .array(
    z.union([
      z.tuple([z.number(), z.string(), z.literal("not_taken")]),
      z.tuple([z.number(), z.string(), z.enum(["upstream_failed", "unless"]), z.number()]),
    ]),
  )
  .default([]);
const activated = z
  .array(z.union([z.tuple([z.number(), z.string()]), z.tuple([z.number(), z.string(), z.array(z.number())])]))
  .default([]);

const cancelled = z
  .array(
    z.union([
      z.tuple([z.number(), z.string(), z.number()]),
      z.tuple([z.number(), z.string(), z.number(), z.number()]),
    ]),
  )
  .default([]);

const step = z.object({
  id: z.string(),
  g: z.number(),
  /** Number of this step's first event in its run, from 1. */
  q: z.number(),
  skipped,
  activated,
  /** Withdrawn executions: node, scope, attempt, and the node that withdrew them (absent: the run is halted). */
  cancelled,
  /** Nothing is outstanding but what is to be compensated. */
  compensating: z.boolean().optional(),
  /** Zero-hit: C completed, F failed, X cancelled. */
  zero: z.enum(STATUS).optional(),
  /** Why the run was halted: where it was, and again with the zero-hit. */
  halted: z.enum(["cancel", "time_out", "fail_fast", "stuck"]).optional(),
  /** First unhandled failure (node index, scope), with zero F. */
  unhandled: z.number().optional(),
  unhandled_at: z.string().optional(),
});
const started = step.extend({
  /** A child run whose parent is paused begins so. */
  paused: z.boolean().optional(),
});
const finished = step.extend({
  node: z.number(),
  scope: z.string(),
  attempt: z.number(),
  delivery: z.number(),
  outcome: z.enum(OUTCOME).exclude(["retrying", "waiting"]),
  arrivals: z.string(),
});
const commanded = step.extend({
  kind: z.enum(["cancel", "pause", "resume", "time_out", "stuck", "signal"]),
  seq: z.number(),
  /** Of a signal: its name, and what became of it. */
  name: z.string().optional(),
  fate: z.enum(["taken", "kept", "dropped"]).optional(),
  node: z.number().optional(),
  scope: z.string().optional(),
});
const running = z.object({
  id: z.string(),
  g: z.number(),
  node: z.number(),
  scope: z.string(),
  attempt: z.number(),
  worker: z.string(),
  started_at: z.number(),
});

const retrying = z.object({
  id: z.string(),
  g: z.number(),
  q: z.number(),
  node: z.number(),
  scope: z.string(),
  attempt: z.number(),
  delivery: z.number(),
  /** When the next attempt is due. */
  due: z.number(),
});
const redelivered = retrying.omit({ due: true }).extend({
  /** Workers that died while they performed it, and of these, those that performed nothing else. */
  lost: z.number().optional(),
  alone: z.number().optional(),
  /** What is known of the death. */
  words: z.string().optional(),
});
const parked = step.extend({
  node: z.number(),
  scope: z.string(),
  attempt: z.number(),
  delivery: z.number(),
  /** For a time, a signal, its items, or its child run. */
  park: z.enum(PARK),
  due: z.number().optional(),
});

/** What led to a failure. Each is followed by what led to it, one deeper. */
const errorCause = z.object({ depth: z.number(), code: z.string().optional(), message: z.string() });
export type ErrorCause = z.infer<typeof errorCause>;

/** A recorded failure, as `node_executions.error` holds it. */
const executionError = z.object({
  code: z.string(),
  message: z.string(),
  stack: z.string().optional(),
  causes: z.array(errorCause).optional(),
  attempt: z.number().optional(),
  worker: z.string().optional(),
});
export type ExecutionError = z.infer<typeof executionError>;

/** A child run, as the execution that waits for it wants it. */
const childRun = z.object({
  run_id: z.string(),
  workflow: z.string(),
  version: z.number(),
  digest: z.string(),
  /** JSON text. */
  input: z.string(),
});
export type ChildRun = z.infer<typeof childRun>;

/** What the worker adds of its own to a finished execution. Times in ms since 1970. */
const executionDetail = z.object({
  worker: z.string(),
  started_at: z.number(),
  ended_at: z.number(),
  /** Nodes whose arrivals it ran on. */
  from: z.array(z.number()).default([]),
  error: executionError.optional(),
  /** Workers that were lost with a dead letter. */
  losses: z.object({ alone: z.number(), words: z.string() }).optional(),
  /** Conditions of failure edges that could not be evaluated. */
  faults: z.array(z.object({ edge: z.number(), message: z.string() })).optional(),
  /** Of one that waits: name of the signal, number of items and the blobs that hold them, or the child run. */
  signal: z.string().optional(),
  items: z.object({ total: z.number(), blobs: z.array(z.string()) }).optional(),
  /** A map was asked whether it is complete, and was or was not. */
  complete: z.boolean().optional(),
  child: childRun.optional(),
});
export type ExecutionDetail = z.infer<typeof executionDetail>;

export type Step = z.infer<typeof step>;
export type Parked = z.infer<typeof parked>;
export type Commanded = z.infer<typeof commanded>;
export type Finished = z.infer<typeof finished>;
export type Running = z.infer<typeof running>;

export type JournalEvent =
  | { kind: "started"; step: z.infer<typeof started> }
  | { kind: "running"; running: Running }
  /** The attempt failed; the next one is due later. */
  | { kind: "retrying"; step: z.infer<typeof retrying>; detail: ExecutionDetail }
  /** Its worker was lost; the token was handed out again. */
  | { kind: "redelivered"; step: z.infer<typeof redelivered> }
  /** It waits, without a worker. */
  | { kind: "parked"; step: Parked; detail: ExecutionDetail }
  /** A command was applied. */
  | { kind: "commanded"; step: Commanded }
  | { kind: "settled"; step: Step }
  /** `output`: `j<JSON>`, `b<name of a blob>`, or empty. */
  | { kind: "finished"; step: Finished; detail: ExecutionDetail; output: string };

export interface JournalEntry {
  seq: number;
  call: string;
  at: number;
  events: JournalEvent[];
}

/** An entry as the stream has it: `events` are alternating names and values, not looked at yet. */
export interface RawEntry {
  seq: number;
  /** Fit to be stored: what Postgres cannot hold is replaced. */
  call: string;
  at: number;
  events: RawEvent[];
}
export type RawEvent = readonly string[];

/** Fields of one event, by the name of the first. */
const EVENT_FIELDS: Readonly<Record<string, number | undefined>> = {
  [EVENT.started]: 2,
  [EVENT.running]: 2,
  [EVENT.commanded]: 2,
  [EVENT.redelivered]: 2,
  [EVENT.retrying]: 6,
  [EVENT.parked]: 6,
  [EVENT.finished]: 6,
  [EVENT.plain]: 4,
  [EVENT.settled]: 6,
};

/** Takes one stream entry (`id`, alternating names and values) apart. Never throws: what is of another form is one event, which does not decode. */
export function splitJournalEntry(id: string, fields: readonly string[]): RawEntry {
  const events: RawEvent[] = [];
  const hasHead = fields[0] === "call" && fields[2] === "at";
  for (let index = hasHead ? 4 : 0; index < fields.length; index += events.at(-1)?.length as number) {
    events.push(fields.slice(index, index + (EVENT_FIELDS[fields[index] as string] ?? fields.length)));
  }
  return { seq: Number(id.split("-")[0]), call: storable(fields[1] ?? ""), at: Number(fields[3]), events };
}

/** What a worker says of a plain execution: completed at its first attempt and first delivery, with its edges decided. */
export interface PlainExecution {
  runId: string;
  generation: number;
  node: number;
  scope: string;
  /** `=` and a letter for each edge. */
  arrivals: string;
  detail: Pick<ExecutionDetail, "worker" | "started_at" | "ended_at" | "from">;
}

/** The record of a plain execution, which script and reader pass on untouched: `run|generation|node|scope|arrivals|start|end|sources|worker`. */
export function encodePlain(of: PlainExecution): string {
  const { worker, started_at, ended_at, from } = of.detail;
  const place = `${of.runId}|${of.generation}|${of.node}|${of.scope}|${of.arrivals}`;
  return `${place}|${started_at}|${ended_at}|${from.length === 0 ? "" : from.join(",")}|${worker}`;
}

const NONE: [] = [];
const numbersOf = (text: string): number[] => (text === "" ? NONE : text.split(",").map(Number));

/** `node:source,source@scope node:…`; without a scope it is that of the execution that activated them. */
function activatedOf(text: string, home: string): Step["activated"] {
  if (text === "") return NONE;
  return text.split(" ").map((one) => {
    const [, node, sources, elsewhere] = /^(\d+):([\d,]*)(?:@(.*))?$/.exec(one) ?? [];
    const scope = elsewhere ?? home;
    return sources === "" ? [Number(node), scope] : [Number(node), scope, numbersOf(sources ?? "")];
  });
}

/** Parts of a plain event: what the script adds (first event, activated, zero), and what its worker said. */
const PLAIN_PARTS = 12;

function decodePlain(text: string, output: string): JournalEvent {
  const parts = text.split("|");
  assert(parts.length >= PLAIN_PARTS, "a plain execution is told in whole");
  const [q, activated, zero, id, g, node, scope, arrivals, started, ended, from] = parts as string[];
  const step = {
    id: id as string,
    g: Number(g),
    q: Number(q),
    skipped: NONE,
    activated: activatedOf(activated as string, scope as string),
    cancelled: NONE,
    zero: zero === "" ? undefined : STATUS.completed,
    node: Number(node),
    scope: scope as string,
    attempt: 1,
    delivery: 1,
    outcome: OUTCOME.completed,
    arrivals: arrivals as string,
  };
  const detail = {
    worker: parts.slice(PLAIN_PARTS - 1).join("|"),
    started_at: Number(started),
    ended_at: Number(ended),
    from: numbersOf(from as string),
  };
  const isWhole = step.q > 0 && step.g > 0 && step.node >= 0 && detail.ended_at >= detail.started_at;
  assert(isWhole, "a plain execution has numbers where they belong");
  return { kind: "finished", step, detail, output };
}

/** @throws when it is not of the form of an event: a broken invariant */
export function decodeJournalEvent([name, text, , detailText, , output]: RawEvent): JournalEvent {
  // Of a plain one, its output follows at once.
  if (name === EVENT.plain) return decodePlain(text as string, detailText as string);
  const body: unknown = JSON.parse(text as string);
  switch (name) {
    case EVENT.started:
      return { kind: "started", step: started.parse(body) };
    case EVENT.running:
      return { kind: "running", running: running.parse(body) };
    case EVENT.commanded:
      return { kind: "commanded", step: commanded.parse(body) };
    case EVENT.redelivered:
      return { kind: "redelivered", step: redelivered.parse(body) };
    case EVENT.settled:
      return { kind: "settled", step: step.parse(body) };
    default: {
      const known = name === EVENT.finished || name === EVENT.retrying || name === EVENT.parked;
      assert(known, `the journal has an unknown field ${name}`);
      const detail = executionDetail.parse(JSON.parse(detailText as string));
      if (name === EVENT.retrying) return { kind: "retrying", step: retrying.parse(body), detail };
      if (name === EVENT.parked) return { kind: "parked", step: parked.parse(body), detail };
      return { kind: "finished", step: finished.parse(body), detail, output: output as string };
    }
  }
}

/** Reads an entry that was taken apart. An event that is not of its form is a broken invariant. */
export function decodeRawEntry({ events, ...entry }: RawEntry): JournalEntry {
  assert(Number.isFinite(entry.at) && entry.at >= 0, `journal entry ${entry.seq} has no time`);
  return { ...entry, events: events.map(decodeJournalEvent) };
}

/** Reads one stream entry (`id`, alternating names and values). */
export function decodeJournalEntry(id: string, fields: readonly string[]): JournalEntry {
  return decodeRawEntry(splitJournalEntry(id, fields));
}

/** The run that an event is about. */
export function runOf(event: JournalEvent): string {
  return event.kind === "running" ? event.running.id : event.step.id;
}
