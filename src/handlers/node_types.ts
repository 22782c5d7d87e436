/** What each node type does. Routing is not theirs: a `conditional` only passes its data on. */
import { assert } from "../base/assert.ts";
import { HitzeroError } from "../base/errors.ts";
import { fieldsThere } from "../workflow/cel/guard.ts";
import { functionOf } from "../workflow/ir/function_of.ts";
import type { NodeType } from "../workflow/ir/ir.ts";
import { programsOf } from "../workflow/ir/programs.ts";
import { aggregate } from "./aggregate.ts";
import { budgetOf, variablesOf } from "./execution.ts";
import { contextOf } from "./handler_context.ts";
import { callHttp } from "./http.ts";
import type { HttpConnections } from "./http_connections.ts";
import type { Execution, Handlers, NodeExecutor } from "./types.ts";

function callHandler(execution: Execution, handlers: Handlers): unknown {
  const name = functionOf(execution.node);
  assert(name !== undefined, "only nodes that name a function call one");
  const handler = handlers.get(name);
  if (!handler) {
    throw new HitzeroError("HANDLER_NOT_FOUND", `this worker has no handler ${name}`, {
      hint: `Export ${name} from the module given to --handlers, or give the node a queue whose workers have it.`,
    });
  }
  return handler(contextOf(execution));
}

/** A transform node without an expression runs the function that it names. */
function transform(execution: Execution, handlers: Handlers): unknown {
  const program = programsOf(execution.ir).transform(execution.nodeIndex);
  return program === undefined
    ? callHandler(execution, handlers)
    : program.evaluate(variablesOf(execution), budgetOf(execution));
}

function filter(execution: Execution): unknown {
  const { data } = execution;
  if (!Array.isArray(data)) {
    const fields =
      typeof data === "object" && data !== null ? ` but an object: ${fieldsThere(Object.keys(data))}` : "";
    throw new HitzeroError("FILTER_NOT_A_LIST", `the data of a filter node is not a list${fields}`, {
      hint: "Let its predecessor return a list, or take the list out with `input`; behind branches of which one is taken, lead them to an aggregate with strategy coalesce.",
    });
  }
  const program = programsOf(execution.ir).filter(execution.nodeIndex);
  assert(program, "a filter node has an expression");
  const known = variablesOf(execution);
  return data.filter((item, index) => {
    const verdict = program.evaluate({ ...known, data, item, value: item, index }, budgetOf(execution));
    if (typeof verdict === "boolean") return verdict;
    throw new HitzeroError("EXPRESSION_FAILED", `filter_expression is not true or false for item ${index}`, {
      hint: "Write a comparison, such as item.score >= 80.",
    });
  });
}

const pass: NodeExecutor = (execution) => execution.data;

/** A loop node passes its data on, unless it has work of its own. */
const loop: NodeExecutor = (execution, handlers) =>
  functionOf(execution.node) === undefined ? execution.data : callHandler(execution, handlers);

/** Those that wait are the engine's. */
const EXECUTORS: Partial<Record<NodeType, NodeExecutor>> = {
  function: callHandler,
  transform,
  filter,
  aggregate,
  conditional: pass,
  parallel: pass,
  loop,
  http: (execution, _handlers, connections) => callHttp(execution, connections ? { connections } : {}),
};

/**
 * Performs one execution; the result is the node's output, or a promise of it. Throws what the handler throws.
 * @param connections what `http` nodes go over; absent, each has its own
 */
export function callNode(execution: Execution, handlers: Handlers, connections?: HttpConnections): unknown {
  const executor = EXECUTORS[execution.node.type];
  if (!executor)
    throw new HitzeroError("NOT_SUPPORTED_YET", `node type ${execution.node.type} is not supported yet`);
  return executor(execution, handlers, connections);
}
