/** A run whose workflow is at hand: what calls about it carry, and its executions in parts of bounded size. */
import type { IR } from "../workflow/ir/ir.ts";
import { KeyList } from "./key_list.ts";
import type { PartitionKeys } from "./keys.ts";
import type { Partition } from "./partition.ts";
import { stepCall } from "./step_call.ts";

/** A run with what it runs. */
export interface KnownRun {
  runId: string;
  digest: string;
  ir: IR;
}

/** Nodes that share their innermost map, with the loops around each of them inside of it; of body -1: those outside of maps. */
function nodesByMap(ir: IR): Map<number, { node: number; queue: string; loops?: number[] }[]> {
  const byMap = new Map<number, { node: number; queue: string; loops?: number[] }[]>();
  ir.nodes.forEach(({ queue, body }, node) => {
    const loops: number[] = [];
    let at = body;
    for (; at >= 0 && ir.bodies[at]?.kind === "loop"; at = ir.bodies[at]?.parent ?? -1) {
      loops.unshift(ir.bodies[at]?.node as number);
    }
    const list = byMap.get(at) ?? [];
    byMap.set(at, list);
    list.push(loops.length > 0 ? { node, queue, loops } : { node, queue });
  });
  return byMap;
}

/** A run's executions in parts of bounded size: nodes, and scopes in which to look at them. */
export async function* partsOf(partition: Partition, { runId, ir }: KnownRun) {
  const { executions, members } = partition.limits;
  const byMap = nodesByMap(ir);
  const inParts = function* (scopes: readonly string[], body: number) {
    const nodes = byMap.get(body) ?? [];
    const width = Math.max(1, Math.floor(executions / nodes.length));
    for (let first = 0; first < scopes.length; first += width) {
      for (let from = 0; from < nodes.length; from += executions) {
        yield {
          scopes: scopes.slice(first, first + width),
          nodes: nodes.slice(from, from + executions),
          last: from + executions >= nodes.length,
        };
      }
    }
  };
  yield* inParts([""], -1);
  if (byMap.size === 1) return;
  const bodyOf = new Map(ir.bodies.map(({ node }, index) => [ir.nodes[node]?.id, index]));
  let cursor = "0";
  do {
    const scan = partition.connection.redis.sscan(partition.keys.scopes(runId), cursor, "COUNT", members);
    const [next, scopes] = await partition.orAway(scan);
    cursor = next;
    const grouped = new Map<number, string[]>();
    for (const scope of scopes) {
      const body = bodyOf.get(/([^/:]+):\d+$/.exec(scope)?.[1]) ?? -1;
      grouped.set(body, [...(grouped.get(body) ?? []), scope]);
    }
    for (const [body, list] of grouped) if (body >= 0) yield* inParts(list, body);
  } while (cursor !== "0");
}

/** The keys of a call about one run, and what every such call carries. */
export async function runCall(
  partition: Partition,
  { runId, digest, ir }: KnownRun,
  keys: PartitionKeys,
  first: string[],
) {
  const list = new KeyList([...first, keys.run(runId), keys.ir(digest)]);
  return {
    list,
    common: async () => ({
      ...(await partition.fence(keys)),
      ...stepCall(list, { keys, limits: partition.limits }, [ir]),
      id: runId,
    }),
  };
}
