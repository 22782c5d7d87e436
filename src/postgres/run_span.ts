/**
 * The range of some ids. Tables of runs and of their history are partitioned by `run_id`, and Postgres plans for all partitions where it only
 * learns from a join which ids are meant: a statement that also says between which they are is planned for one or two.
 */

/** The first and the last of these, at least one, as `between` wants them. */
export function spanOf(runIds: readonly string[]): [first: string, last: string] {
  let [first = "", last = first] = runIds;
  for (const runId of runIds) {
    if (runId < first) first = runId;
    if (runId > last) last = runId;
  }
  return [first, last];
}
