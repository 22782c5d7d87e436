/** Which variables, and which nodes' outputs, does an expression name? */
import { type AstNode, boundBy, childrenOf, stringLiteral } from "./cel_syntax.ts";

export interface References {
  /** Nodes named as `nodes["id"].output`, each once. */
  nodeIds: readonly string[];
  /** Variables of the expression's place that it names, each once. */
  variables: readonly string[];
}

/** A use of `nodes` from which no node can be told at compile time. */
interface MisusedNodes {
  position: number;
}

export function findReferences(
  root: AstNode,
  declared: readonly string[],
): { references: References; misused: MisusedNodes[] } {
  const nodeIds = new Set<string>();
  const variables = new Set<string>();
  const misused: MisusedNodes[] = [];

  const visit = (node: AstNode, shadowed: ReadonlySet<string>): void => {
    if (node.op === "id") {
      const name = node.args as string;
      if (shadowed.has(name) || !declared.includes(name)) return;
      variables.add(name);
      // A bare `nodes`: every legal use of it is consumed by `outputOwner` below.
      if (name === "nodes") misused.push({ position: node.start });
      return;
    }
    const id = shadowed.has("nodes") ? undefined : outputOwner(node);
    if (id !== undefined) {
      variables.add("nodes");
      nodeIds.add(id);
      return;
    }
    const bound = boundBy(node);
    if (bound === undefined) {
      for (const child of childrenOf(node)) visit(child, shadowed);
      return;
    }
    for (const child of bound.outside) visit(child, shadowed);
    const inner = new Set(shadowed).add(bound.name);
    for (const child of bound.inside) visit(child, inner);
  };

  visit(root, new Set());
  return { references: { nodeIds: [...nodeIds], variables: [...variables] }, misused };
}

/** The id in `nodes["id"].output` or `nodes.id.output`. */
function outputOwner(node: AstNode): string | undefined {
  const outer = literalAccess(node);
  if (outer?.key !== "output") return undefined;
  const inner = literalAccess(outer.owner);
  return inner !== undefined && inner.owner.op === "id" && inner.owner.args === "nodes"
    ? inner.key
    : undefined;
}

/** `owner.key` or `owner["key"]`. */
function literalAccess(node: AstNode): { owner: AstNode; key: string } | undefined {
  if (node.op === ".") {
    const [owner, key] = node.args as [AstNode, string];
    return { owner, key };
  }
  if (node.op !== "[]") return undefined;
  const [owner, index] = node.args as [AstNode, AstNode];
  const key = stringLiteral(index);
  return key === undefined ? undefined : { owner, key };
}
