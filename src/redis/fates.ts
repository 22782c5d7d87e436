/** Whether executions that a worker performs are still wanted, by the state of their runs. */

import { EXECUTION } from "../token/letters.ts";
import type { Partition } from "./partition.ts";
import { isStopped, RUN } from "./run_state.ts";

/** An execution that a worker performs, and the fields of its run's state on which it hangs. */
export interface Performing {
  runId: string;
  nonce: string;
  delivery: number;
  own: string;
  maps: readonly string[];
}

/** For each execution: is its run halted, or was it withdrawn? */
export async function fatesOf(
  partition: Partition,
  performing: readonly Performing[],
): Promise<("goes_on" | "halted" | "withdrawn")[]> {
  const { redis } = partition.connection;
  const read = ({ runId, own, maps }: Performing) =>
    redis.hmget(partition.keys.run(runId), RUN.halted, RUN.compensating, own, ...maps);
  const states = await partition.orAway(Promise.all(performing.map(read)));
  return performing.map(({ nonce, delivery }, index) => {
    const [halted, compensating, own, ...maps] = states[index] as (string | null)[];
    const isOwn = own?.startsWith(`${EXECUTION.active}:${nonce}:${delivery}:`) ?? false;
    // While a run compensates, what it performs is what it wants, also when the maps around it are over.
    if (compensating !== null) return isOwn ? "goes_on" : "withdrawn";
    if (halted !== null) return "halted";
    return isOwn && maps.every((map) => map !== null && map !== undefined && !isStopped(map))
      ? "goes_on"
      : "withdrawn";
  });
}
