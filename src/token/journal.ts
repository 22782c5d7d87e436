/**
 * Journal entries: what the scripts append to a partition's stream, one for each call that changed anything, numbered
 * densely. An entry holds whatever is not deterministic; the record in Postgres is made of nothing else.
 *
 * Stream fields: `call` (nonce of the call), `at` (ms), then in order
 *   s {started}                       · n {still running}
 *   c {commanded}                     · l {handed out again}
 *   r {to be tried again}, d detail, o · p {it waits}, d detail, o
 *   f {finished}, d detail, o output  · w {settled rest}, d, o
 */
import { z } from "zod";
import { assert } from "../base/assert.ts";

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
  zero: z.enum(["C", "F", "X"]).optional(),
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
  outcome: z.enum(["C", "F", "X"]),
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
const redelivered = retrying.omit({ due: true });
const parked = step.extend({
  node: z.number(),
  scope: z.string(),
  attempt: z.number(),
  delivery: z.number(),
  /** For a time, a signal, its items, or its child run. */
  park: z.enum(["w", "s", "m", "c"]),
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

/** Reads one stream entry (`id`, alternating names and values). An entry that is not of this form is a broken invariant. */
export function decodeJournalEntry(id: string, fields: readonly string[]): JournalEntry {
  assert(fields[0] === "call" && fields[2] === "at", `journal entry ${id} has no call`);
  const events: JournalEvent[] = [];
  for (let index = 4; index < fields.length; index += 2) {
    const name = fields[index];
    const body: unknown = JSON.parse(fields[index + 1] as string);
    if (name === "s") events.push({ kind: "started", step: started.parse(body) });
    else if (name === "n") events.push({ kind: "running", running: running.parse(body) });
    else if (name === "c") events.push({ kind: "commanded", step: commanded.parse(body) });
    else if (name === "l") events.push({ kind: "redelivered", step: redelivered.parse(body) });
    else {
      assert(
        name === "f" || name === "w" || name === "r" || name === "p",
        `journal entry ${id} has an unknown field ${name}`,
      );
      if (name === "w") events.push({ kind: "settled", step: step.parse(body) });
      else if (name === "r" || name === "p") {
        const detail = executionDetail.parse(JSON.parse(fields[index + 3] as string));
        if (name === "r") events.push({ kind: "retrying", step: retrying.parse(body), detail });
        else events.push({ kind: "parked", step: parked.parse(body), detail });
      } else {
        const detail = executionDetail.parse(JSON.parse(fields[index + 3] as string));
        events.push({
          kind: "finished",
          step: finished.parse(body),
          detail,
          output: fields[index + 5] as string,
        });
      }
      index += 4;
    }
  }
  return { seq: Number(id.split("-")[0]), call: fields[1] as string, at: Number(fields[3]), events };
}
