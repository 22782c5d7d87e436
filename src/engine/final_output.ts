/** What a run comes to: its output, or its error. */
import { HitzeroError } from "../base/errors.ts";
import { presentable } from "../base/text.ts";
import type { FinalRecord, RecordedOutput, WantedOutput } from "../postgres/record.ts";
import type { IR } from "../workflow/ir.ts";
import { programsOf } from "../workflow/programs.ts";
import { STUCK_MS } from "./limits.ts";
import type { ZeroHit } from "./record_types.ts";

/** The executions whose outputs (or error) the final status is made of. */
export function outputsWanted({ runId, ir, status, unhandled, unhandledAt }: ZeroHit): WantedOutput[] {
  if (unhandled !== undefined) return [{ runId, nodeId: unhandled, scope: unhandledAt ?? null, last: false }];
  if (status !== "COMPLETED") return [];
  const last = ir.output === undefined;
  const indexes = last ? [...ir.terminals, ...ir.ends] : ir.output_needs;
  return indexes.map((index) => ({ runId, nodeId: ir.nodes[index]?.id as string, scope: null, last }));
}

/** Why a completed node is the last of its path though it has edges. */
export const NO_EDGE_TAKEN = "no_edge_taken";

/** What one node ended, where the graph has one terminal at most: its output; else an object of all that ended it, by id. */
function terminalOutput(ir: IR, outputs: ReadonlyMap<string, RecordedOutput>): unknown {
  const idsOf = (indexes: readonly number[]) => indexes.map((index) => ir.nodes[index]?.id as string);
  const completed = (id: string) => outputs.get(id)?.status === "COMPLETED";
  const ended = [
    ...idsOf(ir.terminals).filter(completed),
    ...idsOf(ir.ends).filter((id) => completed(id) && outputs.get(id)?.reason === NO_EDGE_TAKEN),
  ];
  if (ir.terminals.length <= 1 && ended.length <= 1) return outputs.get(ended[0] ?? "")?.output ?? null;
  return Object.fromEntries(ended.map((id) => [id, outputs.get(id)?.output]));
}

/** The final row of a run whose counter hit zero. `input` is the run's. */
export function finalOf(
  hit: ZeroHit,
  outputs: ReadonlyMap<string, RecordedOutput>,
  input: unknown,
  waitedFor: readonly string[],
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
    const output = ir.output === undefined ? terminalOutput(ir, outputs) : evaluateOutput(ir, outputs, input);
    return { runId, status: "COMPLETED", completedAt: at, output: JSON.stringify(output), error: null };
  } catch (error) {
    const code = error instanceof HitzeroError ? error.code : "EXPRESSION_FAILED";
    const message = `the workflow's output expression failed: ${presentable((error as Error).message)}`;
    return { runId, status: "FAILED", completedAt: at, output: null, error: { code, message } };
  }
}

function evaluateOutput(ir: IR, outputs: ReadonlyMap<string, RecordedOutput>, input: unknown): unknown {
  const nodes = Object.fromEntries(
    ir.output_needs.map((index) => {
      const id = ir.nodes[index]?.id as string;
      const recorded = outputs.get(id);
      return [id, { output: recorded?.status === "COMPLETED" ? recorded.output : null }];
    }),
  );
  return programsOf(ir).output()?.evaluate({ input, vars: ir.vars, nodes }) ?? null;
}
