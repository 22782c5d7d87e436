/**
 * The recorder's last resort. An entry that cannot be written, while Postgres is well, is written event by event; an event at fault is set
 * aside, alone, in `hitzero.refused_entries`. Its run ends as FAILED: what comes of it later is only counted, as it would leave a gap.
 * So does a run that the scripts refuse to carry on.
 *
 * Owns nothing: all of it is part of a transaction of the recorder, which compares term, epoch and offset.
 */
import { presentable } from "../../base/text.ts";
import type { Connection } from "../../postgres/database.ts";
import { nodesOnRecord, recordNeverActivated, recordStatistics } from "../../postgres/finals.ts";
import type { PartitionRow } from "../../postgres/partitions.ts";
import { endRefusedRun, type Refusal, setAside } from "../../postgres/refusals.ts";
import {
  decodeJournalEvent,
  type JournalEvent,
  type RawEntry,
  type RawEvent,
  runOf,
} from "../../token/journal.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { faultText } from "../own_fault.ts";
import type { StateChange } from "./record_types.ts";

/** What became of an entry that was written event by event. */
export interface Apart {
  recorded: JournalEvent[];
  refusals: Refusal[];
  /** The events that were refused, as far as they could be read. */
  refused: JournalEvent[];
  /** Later events of runs that ended so, in this entry or before: only counted. */
  later: JournalEvent[];
}

/** Tells what a run runs. */
interface Runs {
  irOf(runId: string): Promise<{ ir: IR } | undefined>;
}

/**
 * Writes what can be written of an entry; `write` answers false for an event of a run of which something was set aside before.
 * @throws what is not the fault of an event, as `isAtFault` tells
 */
export async function writeApart(
  client: Connection,
  entry: RawEntry,
  runs: Runs,
  write: (event: JournalEvent) => Promise<boolean>,
  isAtFault: (error: unknown) => boolean,
): Promise<Apart> {
  const apart: Apart = { recorded: [], refusals: [], refused: [], later: [] };
  const ended = new Set<string | null>();
  for (const raw of entry.events) {
    let event: JournalEvent | undefined;
    await client.query("savepoint event");
    try {
      event = decodeJournalEvent(raw);
      const isWritten = !ended.has(runOf(event)) && (await write(event));
      apart[isWritten ? "recorded" : "later"].push(event);
    } catch (error) {
      if (!isAtFault(error)) throw error;
      await client.query("rollback to savepoint event");
      const refusal = await refusalOf(entry, raw, event, error, runs);
      apart.refusals.push(refusal);
      ended.add(refusal.runId);
      if (event) apart.refused.push(event);
    }
    await client.query("release savepoint event");
  }
  return apart;
}

const UUID = /[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}/;

async function refusalOf(
  { seq }: RawEntry,
  raw: RawEvent,
  event: JournalEvent | undefined,
  error: unknown,
  runs: Runs,
): Promise<Refusal> {
  // Of an event that cannot be read the first id in it is that of its run.
  const runId = UUID.exec(event ? runOf(event) : (raw[1] ?? ""))?.[0] ?? null;
  const place = event?.kind === "running" ? event.running : event?.step;
  const known = runId === null ? undefined : await runs.irOf(runId).catch(() => undefined);
  const node = place !== undefined && "node" in place ? known?.ir.nodes[place.node as number] : undefined;
  return {
    seq,
    runId,
    nodeId: node?.id ?? null,
    scope:
      node !== undefined && place !== undefined && "scope" in place ? presentable(place.scope ?? "") : null,
    code: "RECORD_REFUSED",
    reason: presentable(faultText(error)),
    // JSON shows what Postgres cannot hold by escapes.
    raw: JSON.stringify(raw),
  };
}

/** Sets these aside and ends their runs. Answers what changed on record. */
export async function endRefused(
  client: Connection,
  row: PartitionRow,
  refusals: readonly Refusal[],
  runs: Runs,
): Promise<StateChange[]> {
  await setAside(client, row, refusals);
  const changes: StateChange[] = [];
  for (const refusal of refusals) {
    const ended = await endRefusedRun(client, row.partition, refusal);
    if (!ended) continue;
    const known = await runs.irOf(ended.run_id).catch(() => undefined);
    const [at, reason] = [Date.now(), "run_halted"];
    if (known) {
      const nodeIds = nodesOnRecord(known.ir);
      await recordNeverActivated(client, [{ runId: ended.run_id, nodeIds, at, reason }]);
    }
    await recordStatistics(client, [ended.run_id]);
    changes.push({
      instance_id: ended.run_id,
      previous_state: ended.status,
      new_state: "FAILED",
      reason: refusal.code,
      timestamp: new Date(at).toISOString(),
    });
  }
  return changes;
}
