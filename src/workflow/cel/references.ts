/** Which variables, and which nodes' outputs, does an expression name? */
import { type AstNode, boundBy, childrenOf, stringLiteral } from "./syntax.ts";

export interface References {
  /** Nodes named as `nodes["id"].output`, each once. */
  nodeIds: readonly string[];
  /** Secrets named as `secrets.NAME`, each once. */
  secretNames: readonly string[];
  /** Variables of the expression's place that it names, each once. */
  variables: readonly string[];
}

/** A use of `nodes` or `secrets` from which it cannot be told at compile time which one is meant. */
export interface Misuse {
  variable: "nodes" | "secrets";
  position: number;
}

/** `nameOf` gives the author's spelling of an identifier. */
export function findReferences(
  root: AstNode,
  declared: readonly string[],
  nameOf: (identifier: string) => string,
): { references: References; misused: Misuse[] } {
  const nodeIds = new Set<string>();
  const variables = new Set<string>();
  const misused: Misuse[] = [];
  const secretNames = new Set<string>();
  const namesSecrets = declared.includes("secrets");

  const visit = (node: AstNode, shadowed: ReadonlySet<string>): void => {
    if (node.op === "id") {
      const name = nameOf(node.args as string);
      if (shadowed.has(name) || !declared.includes(name)) return;
      variables.add(name);
      // Bare: every legal use of either is consumed below.
      if (name === "nodes" || name === "secrets") misused.push({ variable: name, position: node.start });
      return;
    }
    const id = shadowed.has("nodes") ? undefined : outputOwner(node);
    if (id !== undefined) {
      variables.add("nodes");
      nodeIds.add(id);
      return;
    }
    const secret = !namesSecrets || shadowed.has("secrets") ? undefined : memberOf("secrets", node);
    if (secret !== undefined) {
      variables.add("secrets");
      secretNames.add(secret);
      return;
    }
    const bound = boundBy(node);
    if (bound === undefined) {
      for (const child of childrenOf(node)) visit(child, shadowed);
      return;
    }
    for (const child of bound.outside) visit(child, shadowed);
    const inner = new Set(shadowed).add(nameOf(bound.name));
    for (const child of bound.inside) visit(child, inner);
  };

  visit(root, new Set());
  return {
    references: { nodeIds: [...nodeIds], secretNames: [...secretNames], variables: [...variables] },
    misused,
  };
}

/** The id in `nodes["id"].output` or `nodes.id.output`. */
function outputOwner(node: AstNode): string | undefined {
  const outer = literalAccess(node);
  if (outer?.key !== "output") return undefined;
  return memberOf("nodes", outer.owner);
}

/** The key in `variable.key` or `variable["key"]`. */
function memberOf(variable: string, node: AstNode): string | undefined {
  const access = literalAccess(node);
  return access !== undefined && access.owner.op === "id" && access.owner.args === variable
    ? access.key
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
