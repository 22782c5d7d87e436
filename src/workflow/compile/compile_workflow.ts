/**
 * Compiles a workflow file into its IR: read and check everything, then a few passes that cannot fail.
 *
 *     document -> plain JSON -> draft -> graph checks -> bodies -> expression checks -> [faults?] -> assemble -> IR, digest
 *
 * Deterministic: equal documents give equal digests, whatever the order of their properties.
 */
import { createHash } from "node:crypto";
import { assert } from "../../base/assert.ts";
import type { Fault } from "../../base/errors.ts";
import { canonicalJson } from "../../base/json.ts";
import { checkGraph, checkRules, graphWarnings } from "../check/check.ts";
import { checkExpressions } from "../check/check_expressions.ts";
import { checkSemaphores, findUnless } from "../check/check_guards.ts";
import { checkSoundness } from "../check/soundness.ts";
import { Faults, quote } from "../faults.ts";
import { toPlainJson } from "../file/plain_json.ts";
import { compensationOf } from "../file/schema.ts";
import { checkSupported } from "../file/supported.ts";
import { checkValueSchema } from "../file/value_schema_check.ts";
import type { IR } from "../ir/ir.ts";
import { LIMITS } from "../limits.ts";
import { assemble } from "./assemble.ts";
import { findBodies } from "./bodies.ts";
import { type Draft, isObject, readDraft } from "./draft.ts";
import { findWithdrawals } from "./withdrawals.ts";

export interface Compiled {
  ir: IR;
  /** SHA-256 (hex) of the IR's canonical JSON. */
  digest: string;
  /** What is allowed but probably not meant. */
  warnings: Fault[];
}

/** The identity of an IR: equal documents have equal digests. */
export function digestOf(ir: unknown): string {
  return createHash("sha256").update(canonicalJson(ir)).digest("hex");
}

export interface CompileOptions {
  /** The workflow's name where neither the file nor its metadata gives one; absent: that is a fault. */
  defaultName?: string | undefined;
}

/**
 * Compiles a workflow file.
 * @throws InvalidInputError with all faults.
 */
export function compileWorkflow(document: unknown, { defaultName }: CompileOptions = {}): Compiled {
  const faults = new Faults();
  const warnings = new Faults();
  const plain = toPlainJson(document, "the workflow", faults);
  const draft = faults.isEmpty ? readDraft(plain, defaultName, { faults, warnings }) : undefined;
  const what = workflowName(draft?.name ?? (isObject(plain) ? plain.name : undefined));
  if (draft === undefined) faults.throwIfAny(what);
  assert(draft !== undefined, "a workflow that cannot be read has a fault");
  const checked = checkGraph(draft, faults);
  const bodies = checked.order && findBodies(draft, checked, checked.order, faults);
  const needs = checkExpressions(draft, checked, bodies, faults);
  checkRules(draft, checked, faults);
  checkSemaphores(draft, faults);
  const withdrawals = bodies && findWithdrawals(draft, checked, bodies, faults);
  const unless = bodies && findUnless(draft, checked, checked.order as number[], bodies, faults);
  checkSupported(draft, faults);
  checkSizes(draft, faults);
  checkSchemas(draft, { faults, warnings });
  graphWarnings(draft, warnings);
  if (faults.isEmpty) checkSoundness(draft, checked, needs, { faults, warnings });
  faults.throwIfAny(what);
  assert(bodies && withdrawals && unless, "a graph without bodies has a fault");
  const ir = assemble({ draft, checked, bodies, needs, withdrawals, unless });
  return { ir, digest: digestOf(ir), warnings: warnings.list() };
}

function workflowName(name: unknown): string {
  return typeof name === "string" ? `workflow ${quote(name)}` : "the workflow";
}

/** The JSON Schemas that a workflow states. */
function checkSchemas({ header, nodes }: Draft, findings: { faults: Faults; warnings: Faults }): void {
  if (header?.input_schema !== undefined) checkValueSchema(header.input_schema, "$.input_schema", findings);
  for (const { parsed, path } of nodes) {
    if (parsed?.type !== "signal" && parsed?.type !== "approval") continue;
    const { schema } = parsed.config as { schema?: unknown };
    if (schema !== undefined) checkValueSchema(schema, `${path}.config.schema`, findings);
  }
}

function checkSizes(draft: Draft, faults: Faults): void {
  checkSize(draft.header?.metadata, "metadata", LIMITS.varsBytes, "$.metadata", faults);
  checkSize(draft.header?.input_schema, "input_schema", LIMITS.configBytes, "$.input_schema", faults);
  checkSize(draft.header?.vars, "vars", LIMITS.varsBytes, "$.vars", faults);
  for (const { parsed, path } of draft.nodes) {
    checkSize(parsed?.config, "config", LIMITS.configBytes, `${path}.config`, faults);
    const undo = parsed && compensationOf(parsed);
    checkSize(undo, "compensate_with", LIMITS.configBytes, `${path}.compensate_with`, faults);
  }
}

function checkSize(value: unknown, name: string, limit: number, path: string, faults: Faults): void {
  if (value === undefined) return;
  const size = Buffer.byteLength(JSON.stringify(value));
  if (size <= limit) return;
  const message = `${name} takes ${size} bytes as JSON; the limit is ${limit}`;
  faults.add(
    "LIMIT_EXCEEDED",
    path,
    message,
    "Every step that needs it loads it; pass large data as the run's input or by reference.",
  );
}
