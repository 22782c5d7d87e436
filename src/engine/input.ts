/** A run's input: checked before the run is accepted. */
import { type Schema, Validator } from "@cfworker/json-schema";
import { type Fault, InvalidInputError } from "../base/errors.ts";
import { encodeJson } from "../base/json.ts";
import type { IR } from "../workflow/ir.ts";
import { MAX_INPUT_BYTES, MAX_JSON_DEPTH } from "./limits.ts";

const FAULTS_SHOWN = 20;

/** `#/a/0` -> `$.a[0]` */
function pathOf(location: string): string {
  return location
    .split("/")
    .slice(1)
    .reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : `${path}.${part}`), "$");
}

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
  const result = new Validator(ir.input_schema as Schema, "2020-12", false).validate(JSON.parse(text));
  if (result.valid) return text;
  const leaves = result.errors.filter(
    (error) => !/^(properties|items|allOf|anyOf|oneOf|\$ref)$/.test(error.keyword),
  );
  const faults = (leaves.length > 0 ? leaves : result.errors).slice(0, FAULTS_SHOWN).map(
    (error): Fault => ({
      code: "INPUT_SCHEMA",
      path: pathOf(error.instanceLocation),
      message: error.error,
      hint: `The workflow's input_schema asks for it (${error.keywordLocation}).`,
    }),
  );
  throw new InvalidInputError("the run's input", faults);
}
