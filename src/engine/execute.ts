/**
 * One node execution in a worker: from its token's inputs to the finished item that `advance` applies. Owns nothing; a crash
 * here loses only work that was never recorded.
 */
import { HitzeroError } from "../base/errors.ts";
import { encodeJson } from "../base/json.ts";
import type { Log } from "../base/log.ts";
import { presentable } from "../base/text.ts";
import { isRetryable, requestedDelayMs } from "../handlers/errors.ts";
import { performNode } from "../handlers/node_types.ts";
import type { Execution, Handlers } from "../handlers/types.ts";
import type { FinishedItem } from "../redis/calls.ts";
import { backoffMs } from "../token/backoff.ts";
import type { ExecutionDetail, ExecutionError } from "../token/journal.ts";
import { type ConditionResult, routeFailure, routeSuccess } from "../token/routing.ts";
import type { IR, IRNode } from "../workflow/ir.ts";
import { programsOf } from "../workflow/programs.ts";
import { INLINE_OUTPUT_BYTES, MAX_DELIVERIES, MAX_JSON_DEPTH, MAX_OUTPUT_BYTES } from "./limits.ts";

/**
 * An output as the run's state holds it: `j<JSON>`, or `e<JSON>`, the `{"error": …}` that dependents of a failed execution
 * see. Blobs are read before they come here.
 */
export type StoredOutput = string;

/** An execution as the worker holds it. */
export interface HeldExecution {
  runId: string;
  generation: number;
  digest: string;
  ir: IR;
  nodeIndex: number;
  scope: string;
  attempt: number;
  delivery: number;
  nonce: string;
  sources: readonly number[];
  /** Output of each source; null: it has none. */
  inputs: readonly (StoredOutput | null)[];
  /** Outputs of ancestors that expressions name. */
  needs: ReadonlyMap<number, StoredOutput | null>;
  /** JSON of the run's input. */
  input: string;
  /** Tokens handed over in a row up to this one. */
  hops: number;
}

export interface Performed {
  item: FinishedItem;
  /** A large output, to be stored under `item.blob` before the step. */
  blob?: string;
}

export interface PerformOptions {
  workerId: string;
  handlers: Handlers;
  now: () => number;
  log: Log;
  mayHandOver: boolean;
  /** Aborted when the worker holds the execution no more. */
  lost: AbortSignal;
}

/** The reason of `lost` when the run was halted: the execution is then CANCELLED. */
export const RUN_HALTED = "RUN_HALTED";

/** A handler that is told to stop has this long to do so. */
const GRACE_MS = 200;

const parseOutput = (stored: StoredOutput | null | undefined): unknown =>
  stored === null || stored === undefined ? null : JSON.parse(stored.slice(1));

/** By name, an ancestor that did not complete has no output. */
const parseCompleted = (stored: StoredOutput | null): unknown =>
  stored?.startsWith("j") ? parseOutput(stored) : null;

/** Reads a JSON text once, when first asked. */
function lazily(read: () => unknown): () => unknown {
  let known: { value: unknown } | undefined;
  return () => {
    known ??= { value: read() };
    return known.value;
  };
}

function dataOf(held: HeldExecution, node: IRNode): unknown {
  if (node.in.length === 0) return JSON.parse(held.input);
  if (node.in.length === 1) return parseOutput(held.inputs[0]);
  const data: Record<string, unknown> = {};
  held.sources.forEach((source, index) => {
    data[held.ir.nodes[source]?.id as string] = parseOutput(held.inputs[index]);
  });
  return data;
}

function ancestorsOf(held: HeldExecution): Record<string, { output: unknown }> {
  const ancestors: Record<string, { output: unknown }> = {};
  for (const [index, output] of held.needs) {
    const read = lazily(() => parseCompleted(output));
    Object.defineProperty(ancestors, held.ir.nodes[index]?.id as string, {
      enumerable: true,
      get: () => ({ output: read() }),
    });
  }
  return ancestors;
}

function errorOf(thrown: unknown, held: HeldExecution, workerId: string): ExecutionError {
  const error =
    thrown instanceof Error ? thrown : new Error(`a value that is no Error was thrown: ${String(thrown)}`);
  const code = (error as { code?: unknown }).code;
  return {
    code: typeof code === "string" && /^[A-Z][A-Z0-9_]*$/.test(code) ? code : "HANDLER_ERROR",
    message: presentable(error.message),
    ...(error.stack && !(error instanceof HitzeroError) ? { stack: presentable(error.stack) } : {}),
    attempt: held.attempt,
    worker: workerId,
  };
}

/** Runs the handler under the node's timeout; the signal is aborted when it passes. */
async function withTimeout<T>(
  node: IRNode,
  abort: AbortController,
  lost: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let giveUp = () => {};
  const gone = new Promise<never>((_resolve, reject) => {
    giveUp = () => {
      abort.abort(lost.reason);
      // A success that still arrives is recorded; a handler that ignores its signal is left alone.
      setTimeout(() => reject(lost.reason), GRACE_MS);
    };
  });
  lost.addEventListener("abort", giveUp, { once: true });
  const timedOut = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = new HitzeroError("TIMED_OUT", `node ${node.id} timed out after ${node.timeout_ms} ms`, {
        hint: "Raise timeout_ms of the node, or let the handler honour its signal.",
      });
      reject(error);
      abort.abort(error);
    }, node.timeout_ms);
  });
  try {
    return await Promise.race([work(), timedOut, gone]);
  } finally {
    clearTimeout(timer);
    lost.removeEventListener("abort", giveUp);
  }
}

/** What a target needs of other ancestors when it is handed straight to this worker. */
function needsOfTargets(ir: IR, node: IRNode): Record<string, number[]> {
  const needs: Record<string, number[]> = {};
  for (const edge of node.out) {
    const target = ir.edges[edge]?.to as number;
    const wanted = ir.nodes[target]?.needs ?? [];
    if (wanted.length > 0) needs[target] = wanted;
  }
  return needs;
}

type Outcome = { output: unknown; text: string } | { error: ExecutionError };

function conditionEvaluator(execution: Execution, outcome: Outcome): (edge: number) => ConditionResult {
  const output = "error" in outcome ? null : outcome.output;
  const error = "error" in outcome ? { code: outcome.error.code, message: outcome.error.message } : null;
  const variables = {
    get data() {
      return execution.data;
    },
    get input() {
      return execution.input;
    },
    vars: execution.ir.vars,
    nodes: { ...execution.ancestors, [execution.node.id]: { output } },
    output,
    error,
  };
  return (edge) => {
    try {
      const value = programsOf(execution.ir).condition(edge)?.evaluate(variables);
      if (typeof value === "boolean") return { ok: true, value };
      return { ok: false, message: "the condition is not true or false" };
    } catch (thrown) {
      return { ok: false, message: thrown instanceof Error ? thrown.message : String(thrown) };
    }
  };
}

interface Routed {
  outcome: Outcome;
  arrivals: string;
  unhandled: boolean;
  faults: { edge: number; message: string }[];
}

const letters = (taken: readonly boolean[]) => `=${taken.map((is) => (is ? "t" : "n")).join("")}`;

function route(execution: Execution, first: Outcome, held: HeldExecution, workerId: string): Routed {
  const { ir, node } = execution;
  let outcome = first;
  if (!("error" in outcome)) {
    const success = routeSuccess(ir, node, conditionEvaluator(execution, outcome));
    const fault = success.faults[0];
    if (!fault) return { outcome, arrivals: letters(success.taken), unhandled: false, faults: [] };
    const edge = ir.edges[fault.edge] as IR["edges"][number];
    const where = `condition of edge ${ir.nodes[edge.from]?.id} -> ${ir.nodes[edge.to]?.id} (edges[${fault.edge}])`;
    const failure = new HitzeroError("CONDITION_FAILED", `${where}: ${fault.message}`);
    outcome = { error: errorOf(failure, held, workerId) };
  }
  const failed = routeFailure(ir, node, conditionEvaluator(execution, outcome));
  const arrivals = failed.handled ? letters(failed.taken) : "X";
  return { outcome, arrivals, unhandled: !failed.handled, faults: failed.faults };
}

async function produce(execution: Execution, handlers: Handlers): Promise<{ output: unknown; text: string }> {
  const value = await performNode(execution, handlers);
  const text = encodeJson(value ?? null, {
    maxBytes: MAX_OUTPUT_BYTES,
    maxDepth: MAX_JSON_DEPTH,
    what: `the output of node ${execution.node.id}`,
  });
  // Conditions see what dependents will see: JSON, not the handler's own object.
  return { text, output: execution.node.out.length > 0 ? JSON.parse(text) : null };
}

/** Performs one execution. Never throws: whatever fails becomes the execution's failure. */
export async function perform(held: HeldExecution, options: PerformOptions): Promise<Performed> {
  const node = held.ir.nodes[held.nodeIndex] as IRNode;
  const startedAt = options.now();
  const readData = lazily(() => dataOf(held, node));
  const readInput = lazily(() => JSON.parse(held.input));
  const abort = new AbortController();
  const execution: Execution = {
    ir: held.ir,
    nodeIndex: held.nodeIndex,
    node,
    runId: held.runId,
    scope: held.scope,
    attempt: held.attempt,
    sources: held.sources,
    get data() {
      return readData();
    },
    get input() {
      return readInput();
    },
    ancestors: ancestorsOf(held),
    signal: abort.signal,
    log: options.log,
  };
  let first: Outcome;
  try {
    if (held.delivery > MAX_DELIVERIES) throw deadLetter(held.delivery - 1);
    first = await withTimeout(node, abort, options.lost, () => produce(execution, options.handlers));
  } catch (thrown) {
    const halted = isHalted(options.lost);
    const error = errorOf(halted ? options.lost.reason : thrown, held, options.workerId);
    const due = halted ? undefined : nextAttempt(thrown, held, node, options);
    if (halted || due !== undefined) {
      return bareItem(held, node, halted ? "X" : "R", detailOf(held, startedAt, options, error), due);
    }
    first = { error };
  }
  const routed = route(execution, first, held, options.workerId);
  const detail = {
    ...detailOf(held, startedAt, options, "error" in routed.outcome ? routed.outcome.error : undefined),
    ...(routed.faults.length > 0 ? { faults: routed.faults } : {}),
  };
  return finishedItem(held, node, routed, detail, options.mayHandOver);
}

function detailOf(
  held: HeldExecution,
  startedAt: number,
  options: PerformOptions,
  error: ExecutionError | undefined,
): ExecutionDetail {
  return {
    worker: options.workerId,
    started_at: startedAt,
    ended_at: Math.max(startedAt, options.now()),
    from: [...held.sources],
    ...(error === undefined ? {} : { error }),
  };
}

function deadLetter(deliveries: number): HitzeroError {
  return new HitzeroError(
    "DEAD_LETTER",
    `handed out ${deliveries} times without an answer: each worker was lost with it`,
    {
      hint: "Does the handler kill its process or block it for longer than a lease?",
    },
  );
}

/** When the next attempt is due, if there is one. */
function nextAttempt(
  thrown: unknown,
  held: HeldExecution,
  node: IRNode,
  options: PerformOptions,
): number | undefined {
  if (held.attempt >= node.retry.max_attempts || !isRetryable(thrown) || options.lost.aborted)
    return undefined;
  return options.now() + (requestedDelayMs(thrown) ?? backoffMs(node.retry, held.attempt, Math.random()));
}

/** What identifies the execution in a call. */
function identityOf(held: HeldExecution, node: IRNode) {
  return {
    runId: held.runId,
    generation: held.generation,
    digest: held.digest,
    queue: node.queue,
    node: held.nodeIndex,
    scope: held.scope,
    attempt: held.attempt,
    delivery: held.delivery,
    nonce: held.nonce,
    limited: held.ir.max_parallel_nodes > 0,
  };
}

function isHalted(lost: AbortSignal): boolean {
  return lost.aborted && (lost.reason as { code?: string }).code === RUN_HALTED;
}

/** An item without output or arrivals: cancelled, or to be tried again. */
function bareItem(
  held: HeldExecution,
  node: IRNode,
  outcome: "R" | "X",
  detail: ExecutionDetail,
  due?: number,
): Performed {
  return {
    item: {
      ...identityOf(held, node),
      outcome,
      ...(due === undefined ? {} : { due }),
      arrivals: "",
      unhandled: false,
      halt: false,
      hand: false,
      needs: {},
      detail: JSON.stringify(detail),
      output: "",
      outputInJournal: false,
      keep: false,
    },
  };
}

function finishedItem(
  held: HeldExecution,
  node: IRNode,
  routed: Routed,
  detail: ExecutionDetail,
  mayHandOver: boolean,
): Performed {
  const { outcome } = routed;
  const failed = "error" in outcome;
  let output: string;
  let blob: string | undefined;
  if (failed) {
    const { code, message } = outcome.error;
    output = `e${JSON.stringify({ error: { code, message } })}`;
  } else if (
    outcome.text.length * 3 > INLINE_OUTPUT_BYTES &&
    Buffer.byteLength(outcome.text) > INLINE_OUTPUT_BYTES
  ) {
    blob = `${held.nodeIndex}${held.scope === "" ? "" : `@${held.scope}`}.${held.nonce}.${held.delivery}`;
    output = `b${blob}`;
  } else output = `j${outcome.text}`;
  const item: FinishedItem = {
    ...identityOf(held, node),
    outcome: failed ? "F" : "C",
    arrivals: routed.arrivals,
    unhandled: failed && routed.unhandled,
    halt: failed && routed.unhandled && held.ir.fail_fast,
    hand: mayHandOver,
    needs: needsOfTargets(held.ir, node),
    detail: JSON.stringify(detail),
    output,
    outputInJournal: !failed,
    keep: node.out.length > 0,
    ...(blob === undefined ? {} : { blob }),
  };
  return blob === undefined || failed ? { item } : { item, blob: (outcome as { text: string }).text };
}
