/** What a worker offers: it performs only nodes whose functions its handler module has; the others' tokens it leaves to other workers. */
import { functionOf } from "../../workflow/ir/function_of.ts";
import type { IR, IRNode } from "../../workflow/ir/ir.ts";

const NONE: ReadonlySet<number> = new Set();

export class Offers {
  readonly #handlers: { has(name: string): boolean };
  readonly #unoffered = new WeakMap<IR, ReadonlySet<number>>();

  constructor(handlers: { has(name: string): boolean }) {
    this.#handlers = handlers;
  }

  has(functionName: string): boolean {
    return this.#handlers.has(functionName);
  }

  /** Nodes of a workflow whose functions are not offered. */
  unofferedOf(ir: IR): ReadonlySet<number> {
    let found = this.#unoffered.get(ir);
    if (!found) {
      const nodes = ir.nodes.flatMap((_node, index) =>
        this.unoffered(ir, index) === undefined ? [] : [index],
      );
      found = nodes.length > 0 ? new Set(nodes) : NONE;
      this.#unoffered.set(ir, found);
    }
    return found;
  }

  /** The function that a node asks for and that is not offered. */
  unoffered(ir: IR, node: number): string | undefined {
    const name = functionOf(ir.nodes[node] as IRNode);
    return name === undefined || this.has(name) ? undefined : name;
  }
}
