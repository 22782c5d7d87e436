/** A run over a large map has very many executions: what is read of such a run. */
import { countNodes, listFirst, listNodes, type NodeExecutionRow } from "../../postgres/runs.ts";
import type { NodeStatus } from "../../token/lifecycle.ts";
import type { Connections } from "./connections.ts";

/** What `Client.summarizeNodes` answers. */
export interface NodeSummary {
  rows: NodeExecutionRow[];
  counts: ReadonlyMap<string, Partial<Record<NodeStatus, number>>>;
}

/** See `Client.summarizeNodes`. */
export async function summarizeNodes(
  { record }: Connections,
  runId: string,
  most: number,
): Promise<NodeSummary> {
  const counts = await countNodes(record, runId);
  const total = (id: string) => Object.values(counts.get(id) ?? {}).reduce((sum, count) => sum + count, 0);
  const ids = [...counts.keys()];
  const few = { outputs: false, nodeIds: ids.filter((id) => total(id) <= most) };
  const rows = [
    ...(await listNodes(record, runId, few)),
    ...(await listFirst(
      record,
      runId,
      ids.filter((id) => total(id) > most),
    )),
  ];
  const timeOf = ({ started_at, ended_at }: NodeExecutionRow) => (started_at ?? ended_at)?.getTime() ?? 0;
  return { rows: rows.sort((a, b) => timeOf(a) - timeOf(b)), counts };
}
