/** Which changes of state a batch brought, as those who listen hear of them. */
import type { JournalEntry } from "../../token/journal.ts";
import { runOf } from "../../token/journal.ts";
import type { RunStatus } from "../../token/lifecycle.ts";
import { executionKey } from "./batch_rows.ts";
import { buildRecordBatch, type FindRun } from "./record_batch.ts";
import type { NewState, StateChange } from "./record_types.ts";
import type { Written } from "./write_batch.ts";

/** The changes of the runs that somebody hears. They are found out when somebody does: nearly always nobody listens. */
export type ChangesOf = (isHeard: (runId: string) => boolean) => StateChange[];

export const NO_CHANGES: ChangesOf = () => [];

/** Of entries that were written. `statusOf`: what runs were on record before. */
export function changesOf(
  entries: readonly JournalEntry[],
  findRun: FindRun,
  statusOf: (runId: string) => RunStatus | undefined,
  { before, illegal, finals }: Pick<Written, "before" | "illegal" | "finals">,
): ChangesOf {
  return (isHeard) => {
    const heard = entries.map((entry) => ({
      ...entry,
      events: entry.events.filter((event) => isHeard(runOf(event))),
    }));
    const { changes } = buildRecordBatch(heard, findRun);
    const legal = changes.filter((change) => !illegal.has(keyOf(change)));
    const over = finals.filter(({ instance_id }) => isHeard(instance_id));
    const known = new Map<string, StateChange["previous_state"]>(before);
    for (const { instance_id } of [...legal, ...over]) {
      const status = statusOf(instance_id);
      if (status !== undefined) known.set(instance_id, status);
    }
    return truly([...legal, ...over], known);
  };
}

function keyOf({ instance_id, node_id, scope }: NewState): string {
  return node_id === undefined ? instance_id : executionKey(instance_id, node_id, scope ?? "");
}

/** Each change with the state that it was a change from: the one on record, or that of the change before it. */
function truly(
  changes: readonly NewState[],
  onRecord: ReadonlyMap<string, StateChange["previous_state"]>,
): StateChange[] {
  const known = new Map(onRecord);
  return changes.map((change) => {
    const key = keyOf(change);
    const { instance_id, node_id, scope, ...rest } = change;
    const previous_state = known.get(key) ?? "PENDING";
    known.set(key, change.new_state);
    const place = node_id === undefined ? {} : { node_id, ...(scope === undefined ? {} : { scope }) };
    return { instance_id, ...place, previous_state, ...rest };
  });
}
