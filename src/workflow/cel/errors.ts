/**
 * The CEL library's errors in words that may be stored and shown. Its own messages may quote values of the data, so only those
 * made of types and names pass; for the others the reason is told from the error's code.
 */
import { CelFault } from "./fault.ts";
import { REPLACED_FUNCTIONS } from "./functions.ts";

interface CelReason {
  reason: string;
  /** Offset in the source, if known. */
  position: number | undefined;
  /** The library's code, empty for other errors. */
  code: string;
}

/** Codes whose messages hold nothing but the expression's own text and the names of types. */
const SAFE_WHILE_EVALUATING: ReadonlySet<string> = new Set([
  "no_such_overload",
  "no_matching_overload",
  "unknown_variable",
  "invalid_condition_type",
  "invalid_logical_operand",
  "invalid_comprehension_range",
  "invalid_index_type",
  "cannot_index_type",
  "division_by_zero",
  "modulo_by_zero",
]);

const REASONS: Readonly<Record<string, string>> = {
  no_such_key: "there is no such field or key",
  index_out_of_bounds: "the index is outside of the list",
  index_out_of_range: "the index is outside of the string",
  numeric_overflow: "the number is beyond 64 bits",
  bool_conversion_error: "bool() cannot read this text",
  int_conversion_error: "int() cannot read this text",
  uint_conversion_error: "uint() cannot read this",
  double_conversion_error: "double() cannot read this text",
  invalid_timestamp: "this is no timestamp",
  invalid_duration: "duration() cannot read this text",
  variable_type_mismatch: "a variable has a type that expressions cannot use",
  unsupported_type:
    'a value of a kind that expressions cannot use (or an object with a field named "constructor")',
  field_type_mismatch: "a field has another type than the expression needs",
  list_item_type_mismatch: "a list item has another type than the expression needs",
};

/** What an error of an evaluation says. */
export function evaluationReason(error: unknown): CelReason {
  if (error instanceof CelFault) return { reason: error.message, position: error.position, code: "" };
  const { code, summary, position } = celErrorParts(error);
  if (code === "") return { reason: "the engine could not evaluate it", position, code };
  if (SAFE_WHILE_EVALUATING.has(code)) return { reason: readableTypes(summary), position, code };
  return { reason: REASONS[code] ?? `the engine could not evaluate it (${code})`, position, code };
}

/** What an error of the parser or the type check says. There is no data yet, so its message may be shown. */
export function compileReason(error: unknown): CelReason {
  if (error instanceof CelFault) return { reason: error.message, position: error.position, code: "" };
  const { code, summary, position } = celErrorParts(error);
  return {
    reason: code === "" ? "the types of its parts do not fit" : readableTypes(summary),
    position,
    code,
  };
}

function celErrorParts(error: unknown): { code: string; summary: string; position: number | undefined } {
  const parts = (error ?? {}) as { code?: unknown; summary?: unknown; range?: { start?: unknown } };
  const start = parts.range?.start;
  return {
    code: typeof parts.code === "string" && typeof parts.summary === "string" ? parts.code : "",
    summary: typeof parts.summary === "string" ? parts.summary : "",
    position: typeof start === "number" ? start : undefined,
  };
}

/** `dyn<double>` tells a user no more than `double`; replaced functions go by the name that was written. */
function readableTypes(message: string): string {
  let text = message.replaceAll(/dyn<(\w+)>/g, "$1");
  for (const [written, replacement] of REPLACED_FUNCTIONS) text = text.replaceAll(replacement, written);
  return text;
}
