/** What is known of a run's executions while one watches: made of announced changes, completed from the record. */

import type { StateChange } from "../../engine/reader/record_types.ts";
import type { NodeExecutionRow } from "../../postgres/runs.ts";
import type { NodeStatus } from "../../token/lifecycle.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { countStatuses, reasonOf, type StatusCounts, statusOfAll } from "./scopes.ts";

/** One execution. */
export interface Progress {
  id: string;
  scope: string;
  status: NodeStatus;
  /** Milliseconds since 1970; of the running attempt. */
  startedAt?: number;
  durationMs?: number;
  /** Why it was skipped or failed, or what it waits for. */
  reason?: string;
}

const FINAL: ReadonlySet<NodeStatus> = new Set(["COMPLETED", "FAILED", "SKIPPED", "CANCELLED"]);

/** A node with its executions: one, or inside a body as many as there are iterations or items. */
export class NodeProgress {
  readonly id: string;
  /** Whether it runs hangs on a loop, a map or the run's failure: it does not count before it begins. */
  readonly isOptional: boolean;
  readonly counts: StatusCounts = countStatuses([]);
  readonly #scopes = new Map<string, Progress>();
  /** The execution of which the last change was heard. */
  latest: Progress | undefined;

  constructor(id: string, isOptional: boolean) {
    this.id = id;
    this.isOptional = isOptional;
  }

  get executions(): number {
    return this.#scopes.size;
  }

  get status(): NodeStatus {
    return statusOfAll(this.counts);
  }

  get isDone(): boolean {
    return FINAL.has(this.status);
  }

  find(scope: string): Progress | undefined {
    return this.#scopes.get(scope);
  }

  set(next: Progress): void {
    const known = this.#scopes.get(next.scope);
    if (known) this.counts[known.status] -= 1;
    this.counts[next.status] += 1;
    this.#scopes.set(next.scope, next);
    this.latest = next;
  }
}

/** Executions kept for "what ended last". */
const LAST_KEPT = 50;

export class RunProgress {
  /** In the order of the workflow's graph. */
  readonly #nodes = new Map<string, NodeProgress>();
  /** Executions that run now. */
  readonly running = new Set<Progress>();
  /** Those that ended last, in the order in which that was heard. */
  readonly finished: Progress[] = [];

  constructor(ir: IR) {
    for (const { id, body, compensates } of ir.nodes) {
      this.#nodes.set(id, new NodeProgress(id, body !== -1 || compensates !== undefined));
    }
  }

  /** Takes a change; answers the execution if it tells something new. */
  apply(change: StateChange): Progress | undefined {
    if (change.node_id === undefined) return undefined;
    const status = change.new_state as NodeStatus;
    const reason = reasonOf({ status, reason: change.reason, error: null });
    return this.#become({
      id: change.node_id,
      scope: change.scope ?? "",
      status,
      ...(status === "RUNNING" ? { startedAt: Date.parse(change.timestamp) } : {}),
      ...(change.duration_ms === undefined ? {} : { durationMs: change.duration_ms }),
      ...(reason === null ? {} : { reason }),
    });
  }

  /** Takes what the record says; answers the executions of which that is news, in order of time. */
  complete(rows: readonly NodeExecutionRow[]): Progress[] {
    return rows.flatMap((row) => {
      const reason = reasonOf(row);
      const known = this.#nodes.get(row.node_id)?.find(row.scope);
      if (known && row.error && reason) known.reason = reason;
      const news = this.#become({
        id: row.node_id,
        scope: row.scope,
        status: row.status,
        ...(row.status === "RUNNING" && row.started_at ? { startedAt: row.started_at.getTime() } : {}),
        ...(row.duration_ms === null ? {} : { durationMs: row.duration_ms }),
        ...(reason === null ? {} : { reason }),
      });
      return news ? [news] : [];
    });
  }

  /** Those that have begun, and those that are sure to come. */
  get nodes(): NodeProgress[] {
    return [...this.#nodes.values()].filter(({ executions, isOptional }) => executions > 0 || !isOptional);
  }

  node(id: string): NodeProgress | undefined {
    return this.#nodes.get(id);
  }

  /** Changes may be heard late and twice: nothing leaves a final status, and nothing goes back to PENDING. */
  #become(next: Progress): Progress | undefined {
    const node = this.#nodes.get(next.id);
    const known = node?.find(next.scope);
    if (!node || next.status === "PENDING") return undefined;
    if (known && (FINAL.has(known.status) || known.status === next.status)) return undefined;
    if (known) this.running.delete(known);
    node.set(next);
    if (next.status === "RUNNING") this.running.add(next);
    if (FINAL.has(next.status)) this.finished.push(next);
    if (this.finished.length > 2 * LAST_KEPT) this.finished.splice(0, LAST_KEPT);
    return next;
  }
}
