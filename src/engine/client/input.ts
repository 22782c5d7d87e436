/** A run's input: checked before the run is accepted. */
import { type Fault, InvalidInputError } from "../../base/errors.ts";
import { encodeJson, pathText } from "../../base/json.ts";
import { misfitsOf, type ValueSchema } from "../../workflow/file/value_schema.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { MAX_INPUT_BYTES, MAX_JSON_DEPTH } from "../limits.ts";

/**
 * The JSON text of an input that the workflow accepts.
 * @throws HitzeroError when it is no JSON or too large; InvalidInputError with every fault against the workflow's `input_schema`
 */
export function encodeInput(ir: IR, input: unknown): string {
  const text = encodeJson(input ?? null, {
    maxBytes: MAX_INPUT_BYTES,
    maxDepth: MAX_JSON_DEPTH,
    what: "the run's input",
  });
  if (ir.input_schema === undefined) return text;
  const misfits = misfitsOf(ir.input_schema as ValueSchema, JSON.parse(text));
  if (misfits.length === 0) return text;
  const faults = misfits.map(
    ({ path, keyword, message }): Fault => ({
      code: "INPUT_SCHEMA",
      path: pathText(path),
      message,
      hint: `The workflow's input_schema asks for it (${keyword}).`,
    }),
  );
  throw new InvalidInputError("the run's input", faults);
}
