/**
 * The syntax tree of the CEL library, as far as hitzero reads and changes it. `op`, `args` and positions are the library's
 * public form; `meta`, `handle` and `setMeta` are internals of the pinned version, and the tests of `cel.ts` fail if they change.
 */
export interface AstNode {
  readonly op: string;
  readonly args: unknown;
  readonly start: number;
  readonly end: number;
  readonly meta: {
    /** What a macro expanded to, evaluated in the node's place. */
    alternate?: AstNode;
    macro?: Macro;
    evaluate: Evaluate;
  };
  setMeta(key: string, value: unknown): AstNode;
  /** Set by the type check: computes the node's value from its operands' values. */
  handle?: Handle;
  /** Computes the node's value; by default what `meta` says. */
  evaluate: Evaluate;
}

type Evaluate = (evaluator: Evaluator, node: AstNode, context: unknown) => unknown;

export type Handle = (...operands: unknown[]) => unknown;

interface Macro {
  args: AstNode[];
  typeCheck(checker: Checker, macro: Macro, context: unknown): unknown;
  evaluate(evaluator: Evaluator, macro: Macro, context: unknown): unknown;
}

export interface Checker {
  check(node: AstNode, context: unknown): unknown;
  getType(name: string): unknown;
  createError(code: string, message: string, node: AstNode): Error;
}

export interface Evaluator {
  run(node: AstNode, context: unknown): unknown;
}

/** `receiver.method(parameters)` or, without a receiver, `method(parameters)`. */
export interface Call {
  method: string;
  receiver?: AstNode;
  parameters: AstNode[];
}

const LOOP_MACROS: ReadonlySet<string> = new Set(["all", "exists", "exists_one", "map", "filter"]);

export function callOf(node: AstNode): Call | undefined {
  if (node.op === "call") {
    const [method, parameters] = node.args as [string, AstNode[]];
    return { method, parameters };
  }
  if (node.op !== "rcall") return undefined;
  const [method, receiver, parameters] = node.args as [string, AstNode, AstNode[]];
  return { method, receiver, parameters };
}

/** Gives a call another name, before the type check looks it up. */
export function renameCall(node: AstNode, method: string): void {
  (node.args as unknown[])[0] = method;
}

/** The nodes directly below, as written (macros not expanded). */
export function childrenOf(node: AstNode): AstNode[] {
  switch (node.op) {
    case "value":
    case "id":
      return [];
    case ".":
      return [(node.args as [AstNode, string])[0]];
    case "!_":
    case "-_":
      return [node.args as AstNode];
    case "map":
      return (node.args as [AstNode, AstNode][]).flat();
    case "call":
    case "rcall": {
      const { receiver, parameters } = callOf(node) as Call;
      return receiver === undefined ? parameters : [receiver, ...parameters];
    }
    default:
      return node.args as AstNode[];
  }
}

/** The variable that a macro (`list.map(x, …)`, `cel.bind(x, …)`) declares, and the nodes that see it. */
export function boundBy(node: AstNode): { name: string; inside: AstNode[]; outside: AstNode[] } | undefined {
  const call = callOf(node);
  const variable = call?.parameters[0];
  if (call?.receiver === undefined || variable === undefined || variable.op !== "id") return undefined;
  const name = variable.args as string;
  const rest = call.parameters.slice(1);
  if (LOOP_MACROS.has(call.method) && node.meta.alternate !== undefined) {
    return { name, inside: rest, outside: [call.receiver] };
  }
  if (call.method === "bind" && node.meta.macro !== undefined) {
    return { name, inside: rest.slice(1), outside: rest.slice(0, 1) };
  }
  return undefined;
}

/** The value of a string literal; undefined for any other node. */
export function stringLiteral(node: AstNode): string | undefined {
  return node.op === "value" && typeof node.args === "string" ? node.args : undefined;
}

export function countNodes(node: AstNode): number {
  return childrenOf(node).reduce((sum, child) => sum + countNodes(child), 1);
}
