/** What tests of losses and take-overs play with: handlers that are counted, or wait until the test lets them go on. */
import type { Database } from "../../src/postgres/database.ts";

export function gatedHandlers() {
  /** Each lets one `gate` go on. */
  const gates: (() => void)[] = [];
  /** Idempotency keys of the calls of `count`. */
  const calls: string[] = [];
  const handlers = {
    noop: ({ nodeId }: { nodeId: string }) => ({ node: nodeId }),
    count: ({ idempotencyKey }: { idempotencyKey: string }) => calls.push(idempotencyKey),
    gate: () => new Promise<string>((resolve) => gates.push(() => resolve("open"))),
  };
  return { gates, calls, handlers };
}

/** Nodes `n0`, `n1`, … in a row, that call these functions. */
export const chainOf = (name: string, functions: readonly string[]) => ({
  name,
  nodes: functions.map((function_name, index) => ({
    id: `n${index}`,
    type: "function",
    config: { function_name },
  })),
  edges: functions.slice(1).map((_name, index) => ({ from: `n${index}`, to: `n${index + 1}` })),
});

export const partitionRow = async (database: Database) =>
  (await database.query("select * from hitzero.partitions where partition = 0")).rows[0] as Record<
    string,
    unknown
  >;
