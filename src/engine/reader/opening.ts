/** Opening a partition: what Redis holds is compared with the record first. */

import type { Log } from "../../base/log.ts";
import { storable } from "../../base/text.ts";
import type { Database } from "../../postgres/database.ts";
import { beginEpoch, countStartedRuns, noteOpening, type PartitionRow } from "../../postgres/partitions.ts";
import { FenceError } from "../../redis/fence_error.ts";
import { LAYOUT } from "../../redis/keys.ts";
import type { Meta, Partition } from "../../redis/partition.ts";
import { openFence } from "../../redis/scripts/open.ts";
import { grantLeases } from "../../redis/workers.ts";
import { HistoryLostError } from "./history_lost.ts";

/**
 * Compares what Redis holds with the record and opens the partition for the server that answers.
 * @throws HistoryLostError when the two do not fit and started runs would be affected
 */
export async function openPartition(
  database: Database,
  row: PartitionRow,
  partition: Partition,
  log: Log,
): Promise<PartitionRow> {
  const meta = await checkedMeta(database, row, partition);
  const timeline = await partition.connection.identity();
  if (meta.epoch !== null && Number(meta.epoch) === row.epoch) {
    partition.enter(meta.epoch);
    const loss = await findLoss(row, partition, meta.seq);
    if (loss === undefined) {
      if (meta.timeline !== timeline) {
        await grantLeases(partition);
        const word = await openFence(partition, {
          epoch: meta.epoch,
          create: false,
          expected: meta.timeline ?? "",
        });
        if (word !== "opened") throw new FenceError(row.partition, "timeline");
        log.info(
          { partition: row.partition },
          "Redis restarted with its history; the partition is open again",
        );
      }
      await noteOpening(database, row, { timeline });
      return row;
    }
    await refuseLoss(database, row, loss);
  } else if (row.epoch > 0) await refuseLoss(database, row, "it does not hold the partition's current epoch");
  const next = await beginEpoch(database, row, Number(meta.epoch ?? 0));
  const word = await openFence(partition, { epoch: String(next.epoch), create: true });
  if (word !== "opened") throw new FenceError(row.partition, "epoch");
  await noteOpening(database, next, { timeline });
  return next;
}

/**
 * What Redis says of the partition.
 * @throws ForeignRedisError when another database fills the namespace, FenceError when another release does
 */
export async function checkedMeta(
  database: Database,
  row: PartitionRow,
  partition: Partition,
): Promise<Meta> {
  try {
    const meta = await partition.checkOwner();
    if (meta.layout !== null && meta.layout !== LAYOUT) throw new FenceError(row.partition, "layout");
    return meta;
  } catch (error) {
    if (error instanceof FenceError) {
      await noteOpening(database, row, { closedReason: `${error.code}: ${error.message}` });
    }
    throw error;
  }
}

/** Nothing is lost when the last recorded entry is there and is the same. */
async function findLoss(row: PartitionRow, partition: Partition, seq: number): Promise<string | undefined> {
  if (seq < row.recorded_seq) return `its journal ends at ${seq}, the record at ${row.recorded_seq}`;
  if (row.recorded_seq === 0) return undefined;
  const [last] = await partition.readJournal(row.recorded_seq, 1);
  if (last?.[0] !== `${row.recorded_seq}-0`) return `entry ${row.recorded_seq} is missing`;
  if (storable(last[1][1] ?? "") !== row.recorded_call)
    return `entry ${row.recorded_seq} is another than the one recorded`;
  return undefined;
}

/** With started runs on record a fresh epoch would lose them: the partition stays closed. */
async function refuseLoss(database: Database, row: PartitionRow, what: string): Promise<void> {
  if ((await countStartedRuns(database, row.partition)) === 0) return;
  await noteOpening(database, row, { closedReason: `HISTORY_LOST: ${what}` });
  throw new HistoryLostError(row.partition, what);
}
