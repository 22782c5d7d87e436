/** hitzero as a library. The command line uses the same. */
import { handlersOf } from "./handlers/load.ts";
import type { Handler, Handlers } from "./handlers/types.ts";

export { type Fault, HitzeroError, InvalidInputError } from "./base/errors.ts";
export {
  Client,
  type ClientOptions,
  type RegisteredWorkflow,
  type Submission,
  type SubmitOptions,
} from "./engine/client.ts";
export type { StateChange } from "./engine/record_batch.ts";
export { Supervisor, type SupervisorOptions } from "./engine/supervisor.ts";
export { Worker, type WorkerOptions } from "./engine/worker.ts";
export { NonRetryableError, RetryAfterError } from "./handlers/errors.ts";
export { handlersOf, loadHandlers } from "./handlers/load.ts";
export type { Handler, HandlerContext, Handlers } from "./handlers/types.ts";
export { type MigrateOptions, type MigrateResult, migrate } from "./postgres/migrate.ts";
export type { NodeExecutionRow, RunFilter, RunRow } from "./postgres/runs.ts";
export type { NodeStatus, RunStatus } from "./token/lifecycle.ts";
export { type Compiled, compile } from "./workflow/compile.ts";
export type { IR, IREdge, IRNode } from "./workflow/ir.ts";

/** Handlers for a `Worker`, typed: `defineHandlers({ async fetch_data({ data }) { … } })`. */
export function defineHandlers(handlers: Readonly<Record<string, Handler>>): Handlers {
  return handlersOf(handlers);
}
