/** What executions that wait need of the servers; a server that is away is waited for. */
import type { LazyAbort } from "../../base/lazy_abort.ts";
import type { Database } from "../../postgres/database.ts";
import { readLineage } from "../../postgres/runs.ts";
import { findVersion } from "../../postgres/workflows.ts";
import type { Partition } from "../../redis/partition.ts";
import type { Limits } from "../limits.ts";
import type { WaitingServices } from "../nodes/waiting.ts";
import { whileAway } from "../while_away.ts";
import { readStoredBlob } from "./token_inputs.ts";

/** @param over aborted when the execution is; `ends`: when the worker is told to stop, or gives up */
export function servicesOf(
  partition: Partition,
  database: Database,
  limits: Limits,
  over: LazyAbort,
  ends: readonly AbortSignal[],
): WaitingServices {
  const end = () => AbortSignal.any([over.signal, ...ends]);
  const patiently = <T>(call: () => Promise<T>) => whileAway({ signal: end() }, call);
  return {
    limits,
    now: () => partition.connection.now(),
    readFields: (runId, fields) => patiently(() => partition.readFields(runId, fields)),
    readBlob: (runId, name) => readStoredBlob(partition, runId, name, end()),
    findWorkflow: (name, version) => patiently(() => findVersion(database, name, version)),
    lineageOf: (execution) => patiently(() => readLineage(database, execution)),
  };
}
