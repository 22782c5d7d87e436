/**
 * From journal entries to rows: pure. The recorder reads entries, this says what they mean in the terms of the workflow file,
 * and the recorder's transaction writes it.
 */
import { type JournalEntry, type JournalEvent, runOf } from "../../token/journal.ts";
import { OUTPUT } from "../../token/letters.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { BatchRows } from "./batch_rows.ts";
import { EntryReader } from "./entry_reader.ts";
import type { RecordBatch } from "./record_types.ts";

/** What a run of the partition runs; undefined: the record does not know it. */
export type FindRun = (runId: string) => { readonly ir: IR } | undefined;

/** Does it name large outputs or items, as few events do? */
export function namesBlobs(event: JournalEvent): boolean {
  return event.kind === "finished" ? event.output.startsWith(OUTPUT.blob) : event.kind === "parked";
}

/** Large outputs and items that an event names. */
export function blobsOf(event: JournalEvent): { runId: string; name: string }[] {
  const names =
    event.kind === "finished" && event.output.startsWith(OUTPUT.blob)
      ? [event.output.slice(1)]
      : event.kind === "parked"
        ? (event.detail.items?.blobs ?? [])
        : [];
  return names.map((name) => ({ runId: runOf(event), name }));
}

/** What these entries mean. Events of runs that `findRun` does not know are left out; the caller reports them. */
export function buildRecordBatch(
  entries: readonly JournalEntry[],
  findRun: FindRun,
  rows: BatchRows = new BatchRows(),
): RecordBatch {
  const reader = new EntryReader(rows);
  for (const entry of entries) {
    for (const event of entry.events) {
      const run = findRun(runOf(event));
      if (run === undefined) continue;
      if (event.kind === "finished" && rows.completed(event, entry, run)) {
        if (event.step.zero !== undefined) reader.addRest(event.step, entry, run.ir);
      } else reader.add(event, entry, run.ir);
    }
  }
  return rows.finish();
}
