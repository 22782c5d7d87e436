/**
 * Journal entries: what the scripts append to a partition's stream, one for each call that changed anything, numbered
 * densely. An entry holds whatever is not deterministic; the record in Postgres is made of nothing else.
 *
 * Stream fields: `call` (nonce of the call), `at` (ms), then in order
 *   s {started}                       · n {still running}
 *   x {withdrawn}                     · c {commanded}
 *   l {handed out again}              · r {to be tried again}, d detail, o
 *   f {finished}, d detail, o output  · w {settled rest}, d, o
 */
import { z } from "zod";
import { assert } from "../base/assert.ts";

const skipped = z
  .array(
    z.union([
      z.tuple([z.number(), z.string(), z.literal("not_taken")]),
      z.tuple([z.number(), z.string(), z.literal("upstream_failed"), z.number()]),
    ]),
  )
  .default([]);
const activated = z
  .array(z.union([z.tuple([z.number(), z.string()]), z.tuple([z.number(), z.string(), z.array(z.number())])]))
  .default([]);

const step = z.object({
  id: z.string(),
  g: z.number(),
  /** Number of this step's first event in its run, from 1. */
  q: z.number(),
  skipped,
  activated,
  /** Zero-hit: C completed, F failed, X cancelled. */
  zero: z.enum(["C", "F", "X"]).optional(),
  /** Why the run was halted: where it was, and again with the zero-hit. */
  halted: z.enum(["cancel", "time_out", "fail_fast", "stuck"]).optional(),
  /** First unhandled failure (node index), with zero F. */
  unhandled: z.number().optional(),
});
const finished = step.extend({
  node: z.number(),
  scope: z.string(),
  attempt: z.number(),
  delivery: z.number(),
  outcome: z.enum(["C", "F", "X"]),
  arrivals: z.string(),
});
const withdrawn = step.extend({ node: z.number(), scope: z.string(), attempt: z.number() });
const commanded = step.extend({
  kind: z.enum(["cancel", "pause", "resume", "time_out", "stuck"]),
  seq: z.number(),
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

/** A recorded failure, as `node_executions.error` holds it. */
const executionError = z.object({
  code: z.string(),
  message: z.string(),
  stack: z.string().optional(),
  attempt: z.number().optional(),
  worker: z.string().optional(),
});
export type ExecutionError = z.infer<typeof executionError>;

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
});
export type ExecutionDetail = z.infer<typeof executionDetail>;

export type Step = z.infer<typeof step>;
export type Withdrawn = z.infer<typeof withdrawn>;
export type Commanded = z.infer<typeof commanded>;
export type Finished = z.infer<typeof finished>;
export type Running = z.infer<typeof running>;

export type JournalEvent =
  | { kind: "started"; step: Step }
  | { kind: "running"; running: Running }
  /** The attempt failed; the next one is due later. */
  | { kind: "retrying"; step: z.infer<typeof retrying>; detail: ExecutionDetail }
  /** Its worker was lost; the token was handed out again. */
  | { kind: "redelivered"; step: z.infer<typeof redelivered> }
  /** Cancelled before it ran. */
  | { kind: "withdrawn"; step: Withdrawn }
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
    if (name === "s") events.push({ kind: "started", step: step.parse(body) });
    else if (name === "n") events.push({ kind: "running", running: running.parse(body) });
    else if (name === "x") events.push({ kind: "withdrawn", step: withdrawn.parse(body) });
    else if (name === "c") events.push({ kind: "commanded", step: commanded.parse(body) });
    else if (name === "l") events.push({ kind: "redelivered", step: redelivered.parse(body) });
    else {
      assert(
        name === "f" || name === "w" || name === "r",
        `journal entry ${id} has an unknown field ${name}`,
      );
      if (name === "w") events.push({ kind: "settled", step: step.parse(body) });
      else if (name === "r") {
        const detail = executionDetail.parse(JSON.parse(fields[index + 3] as string));
        events.push({ kind: "retrying", step: retrying.parse(body), detail });
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
