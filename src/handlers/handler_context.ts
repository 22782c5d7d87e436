/** What a user's handler receives: made for each call, so what it costs counts. */
import { idempotencyKeyOf } from "./execution.ts";
import type { Execution, HandlerContext } from "./types.ts";

/**
 * What is read when it is asked for. Each is an own property, so that a copy (`{ ...context }`) has it; they are defined with the same functions
 * each time, as an object literal with accessors would make functions, and a shape, of its own for each call.
 */
const READ_LATER = ["data", "input", "signal", "log"] as const;

/** Not enumerable. Found, other than a private field, through a proxy, too, and by what inherits from the context. */
const EXECUTION = Symbol("execution");

class Context {
  declare readonly [EXECUTION]: Execution;
  readonly config: Record<string, unknown>;
  readonly params: Record<string, unknown>;
  readonly vars: Record<string, unknown>;
  readonly attempt: number;
  readonly scope: string;
  readonly runId: string;
  readonly nodeId: string;
  readonly idempotencyKey: string;

  constructor(execution: Execution) {
    const { node, scope, runId } = execution;
    Object.defineProperty(this, EXECUTION, { value: execution });
    this.config = node.config;
    this.params = (node.config.params ?? {}) as Record<string, unknown>;
    this.vars = execution.ir.vars;
    this.attempt = execution.attempt;
    this.scope = scope;
    this.runId = runId;
    this.nodeId = node.id;
    this.idempotencyKey = idempotencyKeyOf(execution);
  }

  static readonly readers = READ_LATER.map((name) => ({
    name,
    descriptor: {
      enumerable: true,
      configurable: true,
      get(this: Context) {
        return this[EXECUTION][name];
      },
    },
  }));
}

export function contextOf(execution: Execution): HandlerContext {
  const context = new Context(execution);
  for (const { name, descriptor } of Context.readers) Object.defineProperty(context, name, descriptor);
  if (execution.scope !== "") Object.assign(context, execution.around);
  return context as unknown as HandlerContext;
}
