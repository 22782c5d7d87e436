/**
 * Node types that wait: the first phase says for what, whatever wakes it comes with the second token, and the second phase makes the
 * output of it. Between the two no worker holds the execution.
 */
import { assert } from "../../base/assert.ts";
import { HitzeroError } from "../../base/errors.ts";
import { encodeJson } from "../../base/json.ts";
import { budgetOf, countedText, renderJson, variablesOf } from "../../handlers/execution.ts";
import type { Execution } from "../../handlers/types.ts";
import type { ExecutionPlace } from "../../postgres/runs.ts";
import type { Park } from "../../redis/calls.ts";
import type { ExecutionDetail } from "../../token/journal.ts";
import { PARK, WOKEN } from "../../token/letters.ts";
import { timeOf } from "../../workflow/file/time_text.ts";
import { programsOf } from "../../workflow/ir/programs.ts";
import { type Limits, MAX_INPUT_BYTES, MAX_JSON_DEPTH, MAX_OUTPUT_BYTES, MAX_RUN_DEPTH } from "../limits.ts";
import { childRunId } from "./child_runs.ts";
import { firstItems, gatherResults, type ItemParts, type MapEnd, moreItems } from "./map_items.ts";

/** What is needed of the servers. */
export interface WaitingServices {
  limits: Limits;
  /** Redis's clock, ms. */
  now(): number;
  readFields(runId: string, fields: readonly string[]): Promise<(string | null)[]>;
  readBlob(runId: string, name: string): Promise<string>;
  /** @throws HitzeroError WORKFLOW_NOT_FOUND */
  findWorkflow(
    name: string,
    version?: number,
  ): Promise<{ workflowName: string; version: number; digest: string }>;
  /** Runs above that of the execution, and the child run that it has on record. */
  lineageOf(execution: ExecutionPlace): Promise<{ depth: number; childRunId: string | null }>;
}

export interface Parked {
  park: Park;
  /** What the record is told besides. */
  detail: Partial<ExecutionDetail>;
  /** To be stored before the step. */
  blobs: { name: string; value: string }[];
}

/** First phase. */
export async function beginWaiting(execution: Execution, services: WaitingServices): Promise<Parked> {
  const { type, config } = execution.node;
  const timeout = config.timeout_ms as number | undefined;
  switch (type) {
    case "wait":
      return parked({ kind: PARK.time, due: dueOf(execution, services.now()) });
    case "map":
      return parkedMap(execution, firstItems(execution, services.limits), { closes: config.open !== true });
    case "subworkflow":
      return parked({ kind: PARK.child }, { child: await childOf(execution, services) });
    default: {
      const signal = config.name as string;
      const due = timeout === undefined ? {} : { due: services.now() + timeout };
      return parked({ kind: PARK.signal, signal, ...due }, { signal });
    }
  }
}

function parkedMap(
  { node }: Execution,
  { added, blobs }: ItemParts,
  ends: { closes?: boolean; stops?: boolean },
): Parked {
  const names = blobs.map(({ name }) => name);
  const { name } = node.config as { name?: string };
  const park: Park = {
    kind: PARK.items,
    total: added,
    blobs: names,
    ...ends,
    ...(name === undefined ? {} : { signal: name }),
  };
  const items = { total: added, blobs: names };
  return { park, detail: ends.stops ? { items, complete: true } : { items }, blobs };
}

const parked = (park: Park, detail: Partial<ExecutionDetail> = {}): Parked => ({ park, detail, blobs: [] });

function dueOf(execution: Execution, now: number): number {
  const { duration_ms, until } = execution.node.config as { duration_ms?: number; until?: string };
  if (duration_ms !== undefined) return now + duration_ms;
  const program = programsOf(execution.ir).until(execution.nodeIndex);
  const value = program === undefined ? until : program.evaluate(variablesOf(execution), budgetOf(execution));
  const due = typeof value === "string" ? timeOf(value) : undefined;
  if (due !== undefined) return Math.max(due, now);
  throw new HitzeroError(
    "WAIT_NOT_A_TIME",
    `until of node ${execution.node.id} is no time: ${JSON.stringify(value)?.slice(0, 100)}`,
    {
      hint: 'Give a timestamp, or text such as "2026-01-31T12:00:00Z".',
    },
  );
}

async function childOf(execution: Execution, services: WaitingServices) {
  const { node, runId, scope } = execution;
  const { workflow, version, input } = node.config as {
    workflow: string;
    version?: number | string;
    input?: unknown;
  };
  const { depth, childRunId: known } = await services.lineageOf({ runId, nodeId: node.id, scope });
  if (depth >= MAX_RUN_DEPTH) {
    throw new HitzeroError("RECURSION_LIMIT", `node ${node.id} would start a run ${MAX_RUN_DEPTH + 1} deep`, {
      hint: `Sub-workflows may be nested ${MAX_RUN_DEPTH} deep; does a workflow call itself without end?`,
    });
  }
  const found = await services.findWorkflow(workflow, version === undefined ? undefined : Number(version));
  const value = input === undefined ? execution.data : renderInput(execution, input);
  const limits = {
    maxBytes: MAX_INPUT_BYTES,
    maxDepth: MAX_JSON_DEPTH,
    what: `the input of node ${node.id}`,
  };
  return {
    run_id: known ?? childRunId(runId, node.id, scope),
    workflow: found.workflowName,
    version: found.version,
    digest: found.digest,
    input: encodeJson(value, limits),
  };
}

function renderInput(execution: Execution, input: unknown): unknown {
  const variables = variablesOf(execution);
  return renderJson(["input"], input, (path, text) => {
    const template = programsOf(execution.ir).template(execution.nodeIndex, path, text);
    const parts = template.map((part) =>
      typeof part === "string" ? part : part.evaluate(variables, budgetOf(execution)),
    );
    if (parts.length === 1) return parts[0];
    const write = (part: unknown) =>
      countedText(typeof part === "string" ? part : JSON.stringify(part), execution);
    return parts.map(write).join("");
  });
}

/** How a child run ended, as `wake` is told. */
export interface ChildEnd {
  status: "COMPLETED" | "FAILED" | "CANCELLED";
  run_id: string;
  output: unknown;
  error: { code: string; message: string } | null;
}

/** A map that was woken while its items run: items come in, or complete_when is asked. It waits on. */
async function lookAfterMap(execution: Execution, woken: string, services: WaitingServices): Promise<Parked> {
  const told = JSON.parse(woken.slice(1));
  if (woken.startsWith(WOKEN.asked)) {
    const program = programsOf(execution.ir).completeWhen(execution.nodeIndex);
    const { input, ir } = execution;
    const complete = program?.evaluate({ ...told, input, vars: ir.vars }, budgetOf(execution)) === true;
    const { name } = execution.node.config as { name?: string };
    const park: Park = {
      kind: PARK.items,
      total: 0,
      stops: complete,
      ...(name === undefined ? {} : { signal: name }),
    };
    return parked(park, { complete });
  }
  const { items = [], close, complete } = (told.payload ?? {}) as OpenMapPayload;
  const parts = await moreItems(execution, items, services);
  return parkedMap(execution, parts, { closes: close === true, stops: complete === true });
}

/** What the signals of an open map bring. */
interface OpenMapPayload {
  items?: unknown[];
  close?: boolean;
  complete?: boolean;
}

/** Second phase: the JSON text of the output, unless it waits on. `woken`: by what (field p of the run's state). @throws what fails the execution */
export async function endWaiting(
  woken: string,
  execution: Execution,
  services: WaitingServices,
): Promise<{ text: string } | Parked> {
  const isMap = execution.node.type === "map";
  if (isMap && (woken.startsWith(WOKEN.asked) || woken.startsWith(WOKEN.signal)))
    return lookAfterMap(execution, woken, services);
  return { text: await outputOf(execution, woken, services) };
}

/** What waited may come to more than a node may give: the outputs of many, or that of a whole run. */
function outputText(value: unknown, nodeId: string): string {
  const what = `the output of node ${nodeId}`;
  return encodeJson(value ?? null, { maxBytes: MAX_OUTPUT_BYTES, maxDepth: MAX_JSON_DEPTH, what });
}

async function outputOf(execution: Execution, woken: string, services: WaitingServices): Promise<string> {
  const told = woken.slice(1);
  const { id, type, config } = execution.node;
  switch (woken[0]) {
    case PARK.time:
      return outputText(execution.data, id);
    case WOKEN.items:
      return gatherResults(execution, JSON.parse(told) as MapEnd, services);
    case WOKEN.signal: {
      const { payload, by, at } = JSON.parse(told) as { payload: unknown; by: string | null; at: string };
      return outputText(type === "signal" ? payload : { ...(payload as object | null), by, at }, id);
    }
    case WOKEN.child: {
      const end = JSON.parse(told) as ChildEnd;
      if (end.status === "COMPLETED") return outputText(end.output, id);
      const code = end.status === "FAILED" ? "CHILD_FAILED" : "CHILD_CANCELLED";
      const why = end.error === null ? "" : `: ${end.error.code}: ${end.error.message}`;
      throw new HitzeroError(code, `run ${end.run_id} of node ${id} is ${end.status}${why}`);
    }
    default:
      assert(woken === PARK.signal, `node ${id} was woken by nothing`);
      throw new HitzeroError(
        "SIGNAL_TIMED_OUT",
        `no signal ${config.name} came within ${config.timeout_ms} ms`,
        {
          hint: "Lead an edge `on: failure` from the node to what is to happen then.",
        },
      );
  }
}
