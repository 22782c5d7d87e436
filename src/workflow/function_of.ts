/** Which handler a node calls. */
import type { IRNode } from "./ir.ts";

/** The name of the function that a node runs, by its type and config; undefined: it runs none. */
export function functionOf({ type, config }: Pick<IRNode, "type" | "config">): string | undefined {
  const { expression, function_name, transformation } = config as Record<string, string | undefined>;
  if (type === "function" || type === "loop") return function_name;
  return type === "transform" && expression === undefined ? (function_name ?? transformation) : undefined;
}
