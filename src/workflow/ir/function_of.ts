/** Which handler a node calls, and a workflow of which queues' workers. */
import type { IR, IRNode } from "./ir.ts";

/** The name of the function that a node runs, by its type and config; undefined: it runs none. */
export function functionOf({ type, config }: Pick<IRNode, "type" | "config">): string | undefined {
  const { expression, function_name, transformation } = config as Record<string, string | undefined>;
  if (type === "function" || type === "loop") return function_name;
  return type === "transform" && expression === undefined ? (function_name ?? transformation) : undefined;
}

/** A function in the queue whose workers are asked for it. */
export interface QueuedFunction {
  queue: string;
  functionName: string;
}

/** What a workflow asks of workers: each function in each queue, once. */
export function functionsOf(ir: Pick<IR, "nodes">): QueuedFunction[] {
  const known = new Map<string, QueuedFunction>();
  for (const node of ir.nodes) {
    const functionName = functionOf(node);
    if (functionName !== undefined)
      known.set(`${node.queue}/${functionName}`, { queue: node.queue, functionName });
  }
  return [...known.values()];
}
