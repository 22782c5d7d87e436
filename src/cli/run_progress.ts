/** What is known of a run's nodes while one watches: made of announced changes, completed from the record. */

import type { StateChange } from "../engine/record_types.ts";
import type { NodeExecutionRow } from "../postgres/runs.ts";
import { NODE_STATUSES, type NodeStatus } from "../token/lifecycle.ts";
import type { IR } from "../workflow/ir.ts";

export interface NodeProgress {
  id: string;
  status: NodeStatus;
  /** Milliseconds since 1970; of the running attempt. */
  startedAt?: number;
  durationMs?: number;
  /** Why it was skipped or failed. */
  reason?: string;
}

const FINAL: ReadonlySet<NodeStatus> = new Set(["COMPLETED", "FAILED", "SKIPPED", "CANCELLED"]);

export class RunProgress {
  /** In the order of the workflow's graph. */
  readonly nodes = new Map<string, NodeProgress>();
  /** Those that are final, in the order in which that was heard. */
  readonly finished: NodeProgress[] = [];

  constructor(ir: IR) {
    for (const { id } of ir.nodes) this.nodes.set(id, { id, status: "PENDING" });
  }

  /** Takes a change; answers the node if it tells something new. */
  apply(change: StateChange): NodeProgress | undefined {
    if (change.node_id === undefined) return undefined;
    return this.#become(change.node_id, {
      status: change.new_state as NodeStatus,
      ...(change.new_state === "RUNNING" ? { startedAt: Date.parse(change.timestamp) } : {}),
      ...(change.duration_ms === undefined ? {} : { durationMs: change.duration_ms }),
      ...(change.reason === null ? {} : { reason: change.reason }),
    });
  }

  /** Takes what the record says; answers the nodes of which that is news, in order of time. */
  complete(rows: readonly NodeExecutionRow[]): NodeProgress[] {
    return rows.flatMap((row) => {
      const reason = row.error ? `${row.error.code}: ${row.error.message}` : row.reason;
      const known = this.nodes.get(row.node_id);
      if (known && row.error && reason) known.reason = reason;
      const news = this.#become(row.node_id, {
        status: row.status,
        ...(row.status === "RUNNING" && row.started_at ? { startedAt: row.started_at.getTime() } : {}),
        ...(row.duration_ms === null ? {} : { durationMs: row.duration_ms }),
        ...(reason === null ? {} : { reason }),
      });
      return news ? [news] : [];
    });
  }

  get counts(): Record<NodeStatus, number> {
    const counts = Object.fromEntries(NODE_STATUSES.map((status) => [status, 0])) as Record<
      NodeStatus,
      number
    >;
    for (const { status } of this.nodes.values()) counts[status] += 1;
    return counts;
  }

  /** Changes may be heard late and twice: nothing leaves a final status, and nothing goes back to PENDING. */
  #become(id: string, next: Omit<NodeProgress, "id">): NodeProgress | undefined {
    const node = this.nodes.get(id);
    if (!node || FINAL.has(node.status) || node.status === next.status) return undefined;
    if (next.status === "PENDING") return undefined;
    Object.assign(node, next);
    if (FINAL.has(node.status)) this.finished.push(node);
    return node;
  }
}
