/** What is to be done once a batch is on record, by others than the recorder: pure. */
import type { ChildRecord } from "../../postgres/record.ts";
import { type JournalEvent, runOf } from "../../token/journal.ts";
import { blobsOf } from "./record_batch.ts";
import type { RecordBatch } from "./record_types.ts";
import { type ChangesOf, NO_CHANGES } from "./state_changes.ts";
import type { Written } from "./write_batch.ts";

/** A run that is over. */
export interface Finished {
  runId: string;
  /** It may have a time limit, which is to be dropped. */
  timed: boolean;
  /** It was ended, as something of it was refused: what comes of it later is only counted. */
  cutOff: boolean;
  /** Its large outputs that are not on record. */
  blobs: readonly string[];
}

export interface Consequences extends Pick<RecordBatch, "compensating" | "sweeps" | "burials" | "withdrawn"> {
  /** The journal may go up to this entry; 0: it stays. */
  seq: number;
  finished: Finished[];
  /** Child runs to be started. */
  children: (ChildRecord & { paused: boolean })[];
  /** Commands were given to child runs. */
  commanded: boolean;
  /** To be announced. */
  changes: ChangesOf;
}

export const NO_CONSEQUENCES: Readonly<Consequences> = Object.freeze({
  seq: 0,
  finished: [],
  compensating: [],
  sweeps: [],
  burials: [],
  withdrawn: [],
  children: [],
  commanded: false,
  changes: NO_CHANGES,
});

/** What follows from this batch, and from events that were left out of it as their runs were cut off. */
export function consequencesOf(
  seq: number,
  batch: RecordBatch,
  left: ReadonlyMap<string, readonly string[]>,
  pausedParents: Written["pausedParents"],
  changes: ChangesOf,
): Consequences {
  const { compensating, sweeps, burials, withdrawn } = batch;
  const finished = new Map<string, Finished>();
  for (const { runId, ir } of batch.zeroHits)
    finished.set(runId, { runId, timed: ir.timeout_ms > 0, cutOff: false, blobs: [] });
  for (const [runId, blobs] of left) finished.set(runId, cutOff(runId, blobs));
  return {
    seq,
    finished: [...finished.values()],
    compensating,
    sweeps,
    burials,
    withdrawn,
    children: batch.children.map((child) => ({ ...child, paused: pausedParents.has(child.parentRunId) })),
    commanded: batch.below.length > 0 || left.size > 0,
    changes,
  };
}

export function cutOff(runId: string, blobs: readonly string[] = []): Finished {
  return { runId, timed: true, cutOff: true, blobs };
}

/** The runs of events that were left out of the record, with the large outputs that these name. */
export function leftOut(events: readonly JournalEvent[]): Map<string, string[]> {
  const left = new Map<string, string[]>(events.map((event) => [runOf(event), []]));
  for (const { runId, name } of events.flatMap(blobsOf)) left.get(runId)?.push(name);
  return left;
}
