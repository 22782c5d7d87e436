/**
 * Writes what a batch comes to, inside the recording transaction. Large values pass through a bounded number of bytes at a time.
 *
 * Executions of which nothing can be on record are copied, as that costs least. Should something be on record nevertheless, Postgres refuses
 * the copy (SQLSTATE 23505) and the transaction is lost: the caller repeats the batch with all of it moved along legal transitions.
 */
import { HitzeroError } from "../../base/errors.ts";
import { partsBySize } from "../../base/parts.ts";
import { closeCommands } from "../../postgres/commands.ts";
import type { Connection, Queryable } from "../../postgres/database.ts";
import { nodesOnRecord, recordFinals, recordNeverActivated } from "../../postgres/finals.ts";
import { type LastSeq, recordEvents } from "../../postgres/packed_events.ts";
import {
  type CommandBelow,
  commandChildren,
  readPaused,
  readRunStatuses,
  recordBlobs,
  recordChildren,
  recordDeadLetters,
  recordStarts,
  recordStatuses,
} from "../../postgres/record.ts";
import { isLegal, readNodeStatuses, recordExecutions } from "../../postgres/record_executions.ts";
import { isFinalRunStatus, type NodeStatus } from "../../token/lifecycle.ts";
import { PART_BYTES } from "../limits.ts";
import { executionKey } from "./batch_rows.ts";
import { finalsOf } from "./final_output.ts";
import type { NewState, RecordBatch, ZeroHit } from "./record_types.ts";

/** Large values in Redis, and their sizes. */
export interface BlobSource {
  bytesOf(runId: string, name: string): number;
  /** JSON text; null: it is gone. */
  read(runId: string, name: string): Promise<string | null>;
}

export interface Written {
  /** Statuses on record before, of the executions that were compared with it. */
  before: ReadonlyMap<string, NodeStatus>;
  /** Executions whose last word was refused, as theirs on record is another that it cannot follow. */
  illegal: ReadonlySet<string>;
  /** Runs that took their final status. */
  finals: NewState[];
  /** Of the parents of new child runs, those that are paused. */
  pausedParents: ReadonlySet<string>;
}

/** What stands in the place of a large output that was gone before it was recorded. */
const LOST = JSON.stringify({ error: { code: "BLOB_LOST", message: "the output was lost" } });

/** `lastSeqOf`: where it is known what is on record of a run. @throws what Postgres refuses; HitzeroError FINAL_REFUSED */
export async function writeBatch(
  client: Connection,
  batch: RecordBatch,
  blobs: BlobSource,
  lastSeqOf?: LastSeq,
): Promise<Written> {
  const compared = batch.executions;
  const nodesBefore = await readNodeStatuses(client, compared);
  await batch.copied?.copyTo(client);
  await recordExecutions(client, compared);
  await recordEvents(client, batch.events, batch.oddMoments, lastSeqOf);
  await writeBlobs(client, batch.blobs, blobs);
  await recordStarts(client, batch.starts);
  await recordDeadLetters(client, batch.deadLetters);
  await recordStatuses(client, batch.statuses);
  await closeCommands(client, batch.commands, "applied");
  const pausedParents = await writeChildren(client, batch);
  const finals = await writeFinals(client, batch.zeroHits);

  const before = new Map<string, NodeStatus>();
  for (const { run_id, node_id, scope, status } of nodesBefore)
    before.set(executionKey(run_id, node_id, scope), status);
  const illegal = new Set<string>();
  for (const { runId, nodeId, scope, status } of compared) {
    const key = executionKey(runId, nodeId, scope);
    const known = before.get(key);
    if (known !== undefined && !isLegal(known, status)) illegal.add(key);
  }
  return { before, illegal, finals, pausedParents };
}

/** However small they are. */
const BLOBS_AT_ONCE = 500;

async function writeBlobs(client: Queryable, blobs: RecordBatch["blobs"], source: BlobSource): Promise<void> {
  // The same blob may come twice in a batch; of several rows for one key in one statement Postgres takes none.
  const byKey = new Map(blobs.map((blob) => [`${blob.runId}/${blob.name}`, blob]));
  const sizeOf = ({ runId, name }: RecordBatch["blobs"][number]) =>
    Math.max(source.bytesOf(runId, name), PART_BYTES / BLOBS_AT_ONCE);
  for (const part of partsBySize([...byKey.values()], sizeOf, PART_BYTES)) {
    const read = part.map(async (blob) => ({
      ...blob,
      content: (await source.read(blob.runId, blob.name)) ?? LOST,
    }));
    await recordBlobs(client, await Promise.all(read));
  }
}

/** A child that is new begins as its parent is by now: a pause reaches those before it, a cancel it too. Answers which parents are paused. */
async function writeChildren(client: Queryable, batch: RecordBatch): Promise<Set<string>> {
  if (batch.children.length + batch.below.length === 0) return new Set();
  const paused = await readPaused(
    client,
    batch.children.map(({ parentRunId }) => parentRunId),
  );
  const isCancel = ({ kind }: CommandBelow) => kind === "cancel";
  await commandChildren(
    client,
    batch.below.filter((command) => !isCancel(command)),
  );
  await recordChildren(client, batch.children);
  await commandChildren(client, batch.below.filter(isCancel));
  return paused;
}

/** Answers the changes of those that took their final status. */
async function writeFinals(client: Queryable, hits: readonly ZeroHit[]): Promise<NewState[]> {
  if (hits.length === 0) return [];
  const halted = hits.flatMap(({ runId, ir, at, halted: reason }) =>
    reason === undefined ? [] : [{ runId, nodeIds: nodesOnRecord(ir), at, reason }],
  );
  await recordNeverActivated(client, halted);
  const changes: NewState[] = [];
  for await (const finals of finalsOf(client, hits)) {
    const taken = await recordFinals(client, finals);
    const refused = finals.filter(({ runId }) => !taken.has(runId)).map(({ runId }) => runId);
    // One that is over on record already stays as it is; one that is not would never end.
    for (const [runId, status] of await readRunStatuses(client, refused)) {
      if (!isFinalRunStatus(status)) throw finalRefused(runId, status);
    }
    for (const { runId, status, completedAt, error } of finals) {
      if (!taken.has(runId)) continue;
      const timestamp = new Date(completedAt).toISOString();
      changes.push({ instance_id: runId, new_state: status, reason: error?.code ?? null, timestamp });
    }
  }
  return changes;
}

function finalRefused(runId: string, status: string): HitzeroError {
  return new HitzeroError("FINAL_REFUSED", `run ${runId} ended, and is ${status} on record`, { exitCode: 1 });
}
