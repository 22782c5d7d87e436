/** The way in: documents become IRs here, be they workflow files or IRs. */

import { loadIr } from "../ir/load_ir.ts";
import { type Compiled, type CompileOptions, compileWorkflow } from "./compile_workflow.ts";
import { isObject } from "./draft.ts";

export { loadIr } from "../ir/load_ir.ts";
export { type Compiled, type CompileOptions, digestOf } from "./compile_workflow.ts";

/**
 * Compiles a workflow file, or verifies an IR (a document with `format`). The result shares nothing with `document`; take it
 * as immutable and keep one object per digest.
 * @throws InvalidInputError with all faults (docs/errors.md lists their codes).
 */
export function compile(document: unknown, options: CompileOptions = {}): Compiled {
  return isObject(document) && "format" in document ? loadIr(document) : compileWorkflow(document, options);
}
