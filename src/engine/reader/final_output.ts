/** What a run comes to: its output, or its error. */
import { HitzeroError } from "../../base/errors.ts";
import { encodeJson } from "../../base/json.ts";
import { partsBySize } from "../../base/parts.ts";
import { presentable } from "../../base/text.ts";
import type { Queryable } from "../../postgres/database.ts";
import {
  type FinalRecord,
  type RecordedOutput,
  readInput,
  readOutputBytes,
  readOutputs,
  readUnrecorded,
  type WantedOutput,
} from "../../postgres/finals.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { programsOf } from "../../workflow/ir/programs.ts";
import { MAX_JSON_DEPTH, MAX_RUN_OUTPUT_BYTES, PART_BYTES, STUCK_MS } from "../limits.ts";
import type { ZeroHit } from "./record_types.ts";

/** The executions whose outputs (or error) the final status is made of. */
function outputsWanted({ runId, ir, status, unhandled, unhandledAt, output }: ZeroHit): WantedOutput[] {
  if (unhandled !== undefined) return [{ runId, nodeId: unhandled, scope: unhandledAt ?? null, last: false }];
  if (status !== "COMPLETED" || output !== undefined) return [];
  const wanted = (indexes: readonly number[], last: boolean, reason?: string) =>
    indexes.map((index) => {
      const place = { runId, nodeId: ir.nodes[index]?.id as string, scope: null };
      return { ...place, last, ...(reason === undefined ? {} : { reason }) };
    });
  if (ir.output !== undefined) return wanted(ir.output_needs, false);
  return [...wanted(ir.terminals, true), ...wanted(ir.ends, true, NO_EDGE_TAKEN)];
}

/** Why a completed node is the last of its path though it has edges. */
export const NO_EDGE_TAKEN = "no_edge_taken";

/**
 * JSON text: what one node ended, where the graph has one terminal at most, its output; else an object of all that ended it, by id. Outputs
 * were checked when they were recorded.
 */
function terminalOutput(ir: IR, outputs: ReadonlyMap<string, RecordedOutput>): string {
  const ended = [...ir.terminals, ...ir.ends]
    .map((index) => ir.nodes[index]?.id as string)
    .filter((id) => outputs.get(id)?.status === "COMPLETED");
  const textOf = (id: string) => outputs.get(id)?.output ?? "null";
  if (ir.terminals.length <= 1 && ended.length <= 1) return textOf(ended[0] ?? "");
  return `{${ended.map((id) => `${JSON.stringify(id)}:${textOf(id)}`).join(",")}}`;
}

/** The final row of a run whose counter hit zero. `input` is the run's. */
function finalOf(
  hit: ZeroHit,
  outputs: ReadonlyMap<string, RecordedOutput>,
  input: unknown,
  waitedFor: readonly string[],
  bytes: number,
): FinalRecord {
  const { runId, ir, at } = hit;
  if (hit.status === "CANCELLED") {
    const error = { code: "CANCELLED", message: "the run was cancelled" };
    return { runId, status: "CANCELLED", completedAt: at, output: null, error };
  }
  if (hit.halted === "stuck") {
    const message = `no activity for ${STUCK_MS / 60_000} minutes; it waited for ${waitedFor.join(", ") || "nothing"}`;
    return { runId, status: "FAILED", completedAt: at, output: null, error: { code: "STUCK", message } };
  }
  if (hit.halted === "time_out") {
    const message = `the run timed out after ${ir.timeout_ms} ms`;
    return {
      runId,
      status: "FAILED",
      completedAt: at,
      output: null,
      error: { code: "RUN_TIMED_OUT", message },
    };
  }
  if (hit.unhandled !== undefined) {
    const error = outputs.get(hit.unhandled)?.error;
    const message = `node ${hit.unhandled} failed: ${error?.message ?? "unknown"}`;
    return {
      runId,
      status: "FAILED",
      completedAt: at,
      output: null,
      error: {
        code: error?.code ?? "NODE_FAILED",
        message,
        node_id: hit.unhandled,
        ...(error?.causes ? { causes: error.causes } : {}),
      },
    };
  }
  try {
    if (bytes > MAX_RUN_OUTPUT_BYTES) throw outputTooLarge(bytes);
    const output =
      hit.output ??
      (ir.output === undefined ? terminalOutput(ir, outputs) : evaluateOutput(ir, outputs, input));
    return { runId, status: "COMPLETED", completedAt: at, output, error: null };
  } catch (error) {
    const code = error instanceof HitzeroError ? error.code : "EXPRESSION_FAILED";
    const what =
      ir.output === undefined ? "there is no output of the run" : "the workflow's output expression failed";
    const message = `${what}: ${presentable((error as Error).message)}`;
    return { runId, status: "FAILED", completedAt: at, output: null, error: { code, message } };
  }
}

function outputTooLarge(bytes: number): HitzeroError {
  const message = `the outputs that it is made of take ${bytes} bytes; the limit is ${MAX_RUN_OUTPUT_BYTES}`;
  return new HitzeroError("OUTPUT_TOO_LARGE", message, {
    hint: "Give the workflow an `output` that names what is wanted, or let nodes return references to their data.",
  });
}

/** @throws HitzeroError EXPRESSION_FAILED, OUTPUT_NOT_JSON, OUTPUT_TOO_LARGE, OUTPUT_TOO_DEEP */
function evaluateOutput(ir: IR, outputs: ReadonlyMap<string, RecordedOutput>, input: unknown): string {
  const nodes = Object.fromEntries(
    ir.output_needs.map((index) => {
      const id = ir.nodes[index]?.id as string;
      const recorded = outputs.get(id);
      const output = recorded?.status === "COMPLETED" ? JSON.parse(recorded.output ?? "null") : null;
      return [id, { output }];
    }),
  );
  const value = programsOf(ir).output()?.evaluate({ input, vars: ir.vars, nodes }) ?? null;
  const limits = { maxBytes: MAX_RUN_OUTPUT_BYTES, maxDepth: MAX_JSON_DEPTH, what: "the output of the run" };
  return encodeJson(value, limits);
}

/** The final rows of these runs, a bounded number of bytes at a time. Reads what they are made of, this transaction's own rows included. */
export async function* finalsOf(client: Queryable, hits: readonly ZeroHit[]): AsyncGenerator<FinalRecord[]> {
  const bytes = await readOutputBytes(client, hits.flatMap(outputsWanted));
  const bytesOf = ({ runId }: ZeroHit) => bytes.get(runId) ?? 0;
  for (const part of partsBySize(hits, bytesOf, PART_BYTES)) {
    const readable = part.filter((hit) => bytesOf(hit) <= MAX_RUN_OUTPUT_BYTES);
    const byRun = new Map<string, Map<string, RecordedOutput>>();
    for (const row of await readOutputs(client, readable.flatMap(outputsWanted))) {
      const outputs = byRun.get(row.run_id) ?? new Map();
      byRun.set(row.run_id, outputs.set(row.node_id, row));
    }
    const finals = [];
    for (const hit of part) {
      const input = hit.ir.output === undefined ? null : await readInput(client, hit.runId);
      const waitedFor = hit.halted === "stuck" ? await readUnrecorded(client, hit.runId, hit.ir) : [];
      const final = finalOf(hit, byRun.get(hit.runId) ?? new Map(), input, waitedFor, bytesOf(hit));
      finals.push({ ...final, startedAt: hit.startedAt, totals: hit.totals });
    }
    yield finals;
  }
}
