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
import { recordEvents } from "../../postgres/packed_events.ts";
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
import {
  canBeCopied,
  copyExecutions,
  isLegal,
  readNodeStatuses,
  recordExecutions,
} from "../../postgres/record_executions.ts";
import { isFinalRunStatus } from "../../token/lifecycle.ts";
import { PART_BYTES } from "../limits.ts";
import { executionKey } from "./batch_rows.ts";
import { finalsOf } from "./final_output.ts";
import type { NewState, RecordBatch, StateChange, ZeroHit } from "./record_types.ts";

/** Large values in Redis, and their sizes. */
export interface BlobSource {
  bytesOf(runId: string, name: string): number;
  /** JSON text; null: it is gone. */
  read(runId: string, name: string): Promise<string | null>;
}

export interface Written {
  /** What changed on record, to be announced. */
  changes: StateChange[];
  /** Of the parents of new child runs, those that are paused. */
  pausedParents: ReadonlySet<string>;
  /** Executions whose last word was refused, as theirs on record is another that it cannot follow. */
  illegal: number;
}

/** What stands in the place of a large output that was gone before it was recorded. */
const LOST = JSON.stringify({ error: { code: "BLOB_LOST", message: "the output was lost" } });

/** How executions are written: those that may be are copied, or each is compared with what is on record. */
export type Way = "copy" | "compare";

/** @throws what Postgres refuses; HitzeroError FINAL_REFUSED */
export async function writeBatch(
  client: Connection,
  batch: RecordBatch,
  blobs: BlobSource,
  way: Way,
): Promise<Written> {
  const isCopied = way === "copy" ? canBeCopied : () => false;
  const copied = batch.executions.filter(isCopied);
  const compared = batch.executions.filter((record) => !isCopied(record));
  const changedRuns = batch.changes.flatMap((change) =>
    change.node_id === undefined ? [change.instance_id] : [],
  );
  const runIds = [...new Set([...changedRuns, ...batch.zeroHits.map(({ runId }) => runId)])];
  const runsBefore = await readRunStatuses(client, runIds);
  const nodesBefore = await readNodeStatuses(client, compared);
  await copyExecutions(client, copied);
  await recordExecutions(client, compared);
  await recordEvents(client, batch.events);
  await writeBlobs(client, batch.blobs, blobs);
  await recordStarts(client, batch.starts);
  await recordDeadLetters(client, batch.deadLetters);
  await recordStatuses(client, batch.statuses);
  await closeCommands(client, batch.commands, "applied");
  const pausedParents = await writeChildren(client, batch);
  const finals = await writeFinals(client, batch.zeroHits);

  const known = new Map<string, StateChange["previous_state"]>(runsBefore);
  for (const { run_id, node_id, scope, status } of nodesBefore) {
    known.set(executionKey(run_id, node_id, scope), status);
  }
  const illegal = new Set(
    compared.flatMap(({ runId, nodeId, scope, status }) => {
      const key = executionKey(runId, nodeId, scope);
      const before = known.get(key) as (typeof nodesBefore)[number]["status"] | undefined;
      return before === undefined || isLegal(before, status) ? [] : [key];
    }),
  );
  const legal = batch.changes.filter((change) => !illegal.has(keyOf(change)));
  return { changes: truly([...legal, ...finals], known), pausedParents, illegal: illegal.size };
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
