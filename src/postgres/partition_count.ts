/**
 * The number of partitions P of a database: the rows 0..P-1 of `hitzero.partitions`.
 *
 * P decides in which partition each run lives, so it is chosen once, by whoever migrates first, and never changes.
 */

import { HitzeroError } from "../base/errors.ts";
import type { Queryable } from "./database.ts";

/** More partitions than a Redis Cluster of sensible size can spread. */
const MOST_PARTITIONS = 256;

/**
 * Refuses a number of partitions that is no whole number from 1 to MOST_PARTITIONS.
 *
 * @throws HitzeroError PARTITIONS_INVALID
 */
export function checkPartitionCount(wanted: number | undefined): void {
  if (wanted === undefined || (Number.isInteger(wanted) && wanted >= 1 && wanted <= MOST_PARTITIONS)) return;
  throw new HitzeroError(
    "PARTITIONS_INVALID",
    `the number of partitions is a whole number from 1 to ${MOST_PARTITIONS}`,
    {
      hint: "One partition suits one Redis; take a few per node for a Redis Cluster.",
    },
  );
}

/**
 * Returns P, after choosing it if the database has none yet (`wanted`, or 1).
 *
 * @throws HitzeroError PARTITIONS_FIXED if the database has another P than `wanted`
 */
export async function fixPartitions(client: Queryable, wanted: number | undefined): Promise<number> {
  const chosen = (await countPartitions(client)) || (await choosePartitions(client, wanted ?? 1));
  if (wanted !== undefined && wanted !== chosen) {
    throw new HitzeroError("PARTITIONS_FIXED", `the database has ${chosen} partitions, not ${wanted}`, {
      hint: `The first migrate fixed it: leave --partitions out or give ${chosen}. Another number needs a new database.`,
    });
  }
  return chosen;
}

async function countPartitions(client: Queryable): Promise<number> {
  const { rows } = await client.query<{ count: number }>(
    "select count(*)::int as count from hitzero.partitions",
  );
  return rows[0]?.count ?? 0;
}

/** Inserts the rows unless a racing process did; the table lock lets one choose and the others see its choice. */
async function choosePartitions(client: Queryable, partitions: number): Promise<number> {
  await client.query("begin isolation level read committed");
  try {
    await client.query("lock table hitzero.partitions in share row exclusive mode");
    const present = await countPartitions(client);
    if (present === 0) {
      await client.query(
        "insert into hitzero.partitions (partition) select generate_series(0, $1::int - 1)",
        [partitions],
      );
    }
    await client.query("commit");
    return present || partitions;
  } catch (error) {
    await client.query("rollback").catch(() => {});
    throw error;
  }
}
