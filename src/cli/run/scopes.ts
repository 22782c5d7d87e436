/** Executions in scopes: how they are called, and how many of one node are told in few words. */
import type { NodeExecutionRow } from "../../postgres/runs.ts";
import { NODE_STATUSES, type NodeStatus } from "../../token/lifecycle.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { counts } from "../shell/format.ts";

/** `work`, or `work @ again:2` inside a body. */
export function placeOf(nodeId: string, scope: string): string {
  return scope === "" ? nodeId : `${nodeId} @ ${scope}`;
}

/** All iterations and items alike: `each:*` of `each:17`. */
export function patternOf(scope: string): string {
  return scope.replaceAll(/:\d+/g, ":*");
}

export type StatusCounts = Record<NodeStatus, number>;

export function countStatuses(executions: Iterable<{ status: NodeStatus }>): StatusCounts {
  const byStatus = Object.fromEntries(NODE_STATUSES.map((status) => [status, 0])) as StatusCounts;
  for (const { status } of executions) byStatus[status] += 1;
  return byStatus;
}

/** What is under way counts most, then what went wrong. */
const BY_WEIGHT: readonly NodeStatus[] = [
  ...(["RUNNING", "RETRYING", "WAITING", "FAILED", "CANCELLED", "COMPLETED", "SKIPPED"] as const),
];

/** The one status of a node with several executions. */
export function statusOfAll(byStatus: StatusCounts): NodeStatus {
  return BY_WEIGHT.find((status) => byStatus[status] > 0) ?? "PENDING";
}

/** `until 2026-…`, `for signal approve`: what the record says of a WAITING execution. */
function waitingText(reason: string): string {
  return /^\d{4}-/.test(reason) ? `until ${reason}` : `for ${reason}`;
}

/** In one line only the deepest cause has room: it is what went wrong. */
function rootOf({ causes = [] }: NonNullable<NodeExecutionRow["error"]>): string {
  const [first, ...rest] = causes;
  if (first === undefined) return "";
  const root = rest.reduce((deepest, cause) => (cause.depth > deepest.depth ? cause : deepest), first);
  return ` (${root.message.split("\n")[0]})`;
}

type Explained = Pick<NodeExecutionRow, "status" | "reason" | "error"> & { child_run_id?: string | null };

/** Why an execution stands as it does: its error, what it waits for, why it was skipped, the run that it made. */
export function reasonOf({ status, reason, error, child_run_id: child }: Explained): string | null {
  const own = error
    ? `${error.code}: ${error.message.split("\n")[0]}${rootOf(error)}`
    : status === "WAITING" && reason !== null
      ? waitingText(reason)
      : reason;
  if (!child || own?.includes(child)) return own;
  return own === null ? `run ${child}` : `${own} (run ${child})`;
}

/** Executions of one node in scopes of one pattern. */
export interface ScopeGroup<Row> {
  nodeId: string;
  /** As `each:*`; with a single row its scope. */
  scope: string;
  status: NodeStatus;
  /** In order of time; of many perhaps only the first, and the first that failed. */
  rows: Row[];
  /** How many there are in each status. */
  byStatus: StatusCounts;
  total: number;
  /** `243 COMPLETED, 7 FAILED; the first: each:3 HANDLER_ERROR: …`. */
  text: string;
}

/** More executions of a node than this are told as one. */
export const MOST_TOLD = 10;

/** How many executions of each node there are, when `rows` are not all of them. */
export type KnownCounts = ReadonlyMap<string, Partial<StatusCounts>>;

/** Puts many executions of a node together, where its first stood; few stay each by itself. */
export function groupScopes<Row extends Explained & { node_id: string; scope: string }>(
  rows: readonly Row[],
  most = MOST_TOLD,
  known: KnownCounts = new Map(),
): ScopeGroup<Row>[] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = placeOf(row.node_id, patternOf(row.scope));
    const group = groups.get(key);
    if (group) group.push(row);
    else groups.set(key, [row]);
  }
  const told = new Set<Row[]>();
  return rows.flatMap((row) => {
    const group = groups.get(placeOf(row.node_id, patternOf(row.scope))) as Row[];
    const byStatus = { ...countStatuses(known.has(row.node_id) ? [] : group), ...known.get(row.node_id) };
    if (totalOf(byStatus) <= most) return [groupOf([row], row.scope)];
    if (told.has(group)) return [];
    told.add(group);
    return [groupOf(group, patternOf(row.scope), byStatus)];
  });
}

function groupOf<Row extends Explained & { node_id: string; scope: string }>(
  rows: Row[],
  scope: string,
  byStatus = countStatuses(rows),
): ScopeGroup<Row> {
  const total = totalOf(byStatus);
  const group = {
    nodeId: (rows[0] as Row).node_id,
    scope,
    status: statusOfAll(byStatus),
    rows,
    byStatus,
    total,
  };
  if (total === 1) return { ...group, text: reasonOf(rows[0] as Row) ?? "" };
  const failed = rows.find((row) => row.status === "FAILED");
  const first = failed ? `; the first: ${failed.scope} ${reasonOf(failed) ?? ""}` : "";
  return { ...group, text: `${counts(byStatus)}${first}` };
}

const totalOf = (byStatus: StatusCounts) => Object.values(byStatus).reduce((sum, count) => sum + count, 0);

/** Nodes that may run yet and have not begun; those of a final run's bodies never will, and compensation may not be needed. */
export function pendingNodes(ir: IR, seen: ReadonlySet<string>, isFinal: boolean): string[] {
  return ir.nodes
    .filter(({ id, body, compensates }) => {
      return !seen.has(id) && compensates === undefined && !(isFinal && body !== -1);
    })
    .map(({ id }) => id);
}
