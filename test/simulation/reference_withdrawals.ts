/** Withdrawal: what executions take back of others, in the order in which it was set off. */
import type { SimulatedNode } from "./model.ts";
import type { Execution, Executions } from "./reference_executions.ts";
import { type Reason, type Routes, routesOfSkipped } from "./reference_routing.ts";
import { type Frame, isWithin, type Scopes } from "./reference_scopes.ts";
import type { Structure } from "./structure.ts";

interface Withdrawal {
  by: string;
  frame: Frame;
  ids: string[];
}

export class Withdrawals {
  readonly #structure: Structure;
  readonly #scopes: Scopes;
  readonly #executions: Executions;
  readonly #due: Withdrawal[] = [];

  constructor(structure: Structure, scopes: Scopes, executions: Executions) {
    this.#structure = structure;
    this.#scopes = scopes;
    this.#executions = executions;
  }

  /** An execution withdraws what its node `cancels`, once: before the joins do that it made fire. */
  setOff(execution: Execution): void {
    const { node, frame, woken } = execution;
    if (node.cancels === undefined || woken === true) return;
    execution.woken = true;
    this.#due.unshift({ by: node.id, frame, ids: this.#structure.expand(node.cancels, node.id) });
  }

  /** A join that fires withdraws the rest of what leads to it. */
  setOffByJoin({ id }: SimulatedNode, frame: Frame): void {
    this.#due.push({ by: id, frame, ids: this.#structure.regionOf(id) });
  }

  /** `send`: takes what the edges of a withdrawn execution carry. */
  perform(send: (from: Frame, routes: Routes) => void): void {
    for (let next = this.#due.shift(); next !== undefined; next = this.#due.shift()) {
      const { by, frame, ids } = next;
      for (const id of ids)
        for (const execution of this.#executions.activeIn(frame).filter(({ node }) => node.id === id)) {
          this.recallItems(execution, by);
          const reason = this.#recall(execution, by);
          send(execution.frame, routesOfSkipped(this.#structure.outgoing(id), reason));
        }
    }
  }

  /** What is under way in a map's items ends with it; nothing is sent inside them. */
  recallItems({ items }: Execution, by: string): void {
    for (const item of items?.begun ?? []) {
      for (const execution of this.#executions.activeIn(item)) this.#recall(execution, by);
      for (const frame of this.#scopes.all) if (isWithin(frame, item)) frame.onceIdle = undefined;
    }
  }

  /** Was it activated before all active ones that it withdraws? */
  cameFirst({ key, node, frame }: Execution): boolean {
    const ids = this.#structure.expand(node.cancels ?? [], node.id);
    const active = this.#executions.activeIn(frame);
    return active.find((other) => other.key === key || ids.includes(other.node.id))?.key === key;
  }

  #recall(execution: Execution, by: string): Reason {
    const reason: Reason = { kind: "withdrawn", node: by };
    const attempts = execution.node.retry?.max_attempts ?? 1;
    this.#executions.end(execution, { status: "CANCELLED", reason, attempts });
    return reason;
  }
}
