/** The slowest path through a run: no number of workers makes the run faster than this. */
import type { IR } from "../../workflow/ir/ir.ts";

interface PathNode {
  id: string;
  durationMs: number;
}

/**
 * The path with the greatest sum of durations, from an entry to a terminal. Longest path in a DAG by one pass in topological
 * order (the IR's order of nodes).
 */
export function criticalPath(ir: IR, durationMs: ReadonlyMap<string, number>): PathNode[] {
  const total: number[] = [];
  const before: (number | undefined)[] = [];
  for (const node of ir.nodes) {
    let slowest: number | undefined;
    for (const edge of node.in) {
      const from = ir.edges[edge]?.from as number;
      if (slowest === undefined || (total[from] as number) > (total[slowest] as number)) slowest = from;
    }
    before.push(slowest);
    total.push((slowest === undefined ? 0 : (total[slowest] as number)) + (durationMs.get(node.id) ?? 0));
  }
  const path: PathNode[] = [];
  let last: number | undefined = ir.terminals.reduce((best, index) =>
    (total[index] as number) > (total[best] as number) ? index : best,
  );
  while (last !== undefined) {
    const id = ir.nodes[last]?.id as string;
    path.unshift({ id, durationMs: durationMs.get(id) ?? 0 });
    last = before[last];
  }
  return path;
}
