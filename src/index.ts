/** hitzero as a library. The command line uses the same. */
import type { Handler } from "./handlers/types.ts";

export { type Fault, HitzeroError, InvalidInputError } from "./base/errors.ts";
export {
  Client,
  type ClientOptions,
  type RegisteredWorkflow,
  type Submission,
  type SubmitOptions,
} from "./engine/client/client.ts";
export type { StateChange } from "./engine/reader/record_types.ts";
export { Supervisor, type SupervisorOptions } from "./engine/reader/supervisor.ts";
export { Worker, type WorkerOptions } from "./engine/worker/worker.ts";
export { NonRetryableError, RetryAfterError } from "./handlers/errors.ts";
export { handlersOf, loadHandlers } from "./handlers/load.ts";
export type { Handler, HandlerContext, Handlers } from "./handlers/types.ts";
export type { SignalContent, UserCommand } from "./postgres/commands.ts";
export type { DeadLetterFilter, DeadLetterId, DeadLetterRow } from "./postgres/dead_letters.ts";
export type { EventFilter, EventLevel, EventRow, StartRow } from "./postgres/events.ts";
export { type MigrateOptions, type MigrateResult, migrate } from "./postgres/migrate.ts";
export type { NodeExecutionRow, RunFilter, RunRow } from "./postgres/runs.ts";
export type { WorkflowRow } from "./postgres/workflows.ts";
export type { NodeStatus, RunStatus } from "./token/lifecycle.ts";
export { type Compiled, compile } from "./workflow/compile/compile.ts";
export type { IR, IREdge, IRNode } from "./workflow/ir/ir.ts";

/**
 * Handlers with their types: `defineHandlers({ async fetch_data({ data }) { … } })`. For a `Worker`, or as the default export of a
 * handler module. Answers what it is given.
 */
export function defineHandlers<const T extends Readonly<Record<string, Handler>>>(handlers: T): T {
  return handlers;
}
