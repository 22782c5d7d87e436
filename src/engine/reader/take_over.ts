/** What an earlier reader of the partition may have left undone, between a commit and what follows from it. */
import { listBurials, listCommanded } from "../../postgres/commands.ts";
import type { Database } from "../../postgres/database.ts";
import { listEndedRuns } from "../../postgres/refusals.ts";
import type { Partition } from "../../redis/partition.ts";
import { decodeRawEntry, type RawEntry, splitJournalEntry } from "../../token/journal.ts";
import { JOURNAL_PART } from "../limits.ts";
import { isOwnFault } from "../own_fault.ts";
import { type Consequences, consequencesOf, cutOff, leftOut, NO_CONSEQUENCES } from "./consequences.ts";
import type { KnownRuns } from "./known_runs.ts";
import type { Ledger } from "./ledger.ts";
import { buildRecordBatch } from "./record_batch.ts";
import type { RunEnds } from "./run_ends.ts";
import { NO_CHANGES } from "./state_changes.ts";

export interface Estate {
  ledger: Ledger;
  partition: Partition;
  database: Database;
  runs: KnownRuns;
  ends: RunEnds;
}

/** Repeats what follows a commit: for entries that are recorded and still there, and for runs that were ended. */
export async function repeatEnds(estate: Estate): Promise<void> {
  const { row } = estate.ledger;
  const ended = await listEndedRuns(estate.database, row.partition);
  if (ended.length > 0) {
    await estate.ends.follow({ ...NO_CONSEQUENCES, finished: ended.map((runId) => cutOff(runId)) });
  }
  let from = 0;
  while (from < row.recorded_seq) {
    const raw = await estate.partition.readJournal(from, JOURNAL_PART);
    const entries = raw
      .map(([id, fields]) => splitJournalEntry(id, fields))
      .filter((entry) => entry.seq <= row.recorded_seq);
    const last = entries.at(-1);
    if (!last) return;
    if (!(await repeatOf(estate, entries, last.seq))) {
      const alone = entries.flatMap((entry) => entry.events.map((event) => ({ ...entry, events: [event] })));
      // One that still fails was set aside.
      for (const entry of alone) await repeatOf(estate, [entry], 0);
    }
    if (last.seq === from) return;
    from = last.seq;
  }
}

/** Answers whether these entries can be read. */
async function repeatOf({ runs, ends }: Estate, raw: readonly RawEntry[], seq: number): Promise<boolean> {
  try {
    const { entries, runs: known, left } = await runs.sort(raw.map(decodeRawEntry));
    const batch = buildRecordBatch(entries, (runId) => known.get(runId));
    await ends.follow(consequencesOf(seq, batch, leftOut(left), new Set(), NO_CHANGES));
    return true;
  } catch (error) {
    if (!isOwnFault(error)) throw error;
    return false;
  }
}

/** What is known of runs that were commanded and of maps that are gone: all that ever were, as long as their runs are open. */
export async function openSweeps({
  partition,
  database,
  runs,
  ends,
}: Estate): Promise<Pick<Consequences, "sweeps" | "burials">> {
  const commanded = await listCommanded(database, partition.number);
  const burials: Consequences["burials"] = [];
  for (const { run_id: runId, node_id, scope } of await listBurials(database, partition.number)) {
    await ends.carryOn(runId, "bury", async () => {
      const known = await runs.irOf(runId);
      const node = known?.ir.nodes.findIndex(({ id }) => id === node_id) ?? -1;
      burials.push({ runId, burial: [node, scope] });
    });
  }
  return { sweeps: commanded.map(({ run_id: runId, halted }) => ({ runId, halted })), burials };
}
