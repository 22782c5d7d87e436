/** Clears what is on record (lua/forget.lua). */
import { KeyList } from "../key_list.ts";
import type { PartitionKeys } from "../keys.ts";
import type { Partition } from "../partition.ts";
import { okReply } from "../replies.ts";

/** Longer than any start may be under way. Whoever asks for more after that knows the run's end from the record. */
const TOMBSTONE_MS = 300_000;

/** Clears finished runs and trims the journal behind entry `recorded` (0: does not trim). */
export async function forget(
  partition: Partition,
  recorded: number,
  finished: readonly { runId: string; blobs: readonly string[] }[],
): Promise<void> {
  const { keys } = partition;
  const parts = finished.flatMap(({ runId, blobs }) => [
    { tombstone: keys.tombstone(runId) },
    ...[keys.run(runId), keys.parked(runId), keys.scopes(runId)].map((key) => ({
      key,
    })),
    ...blobs.map((blob) => ({ key: keys.blob(runId, blob) })),
  ]);
  // The journal last: what is left undone is found in it.
  const atOnce = partition.limits.keys;
  let first = 0;
  for (; first + atOnce < parts.length; first += atOnce)
    await forgetSome(partition, keys, parts.slice(first, first + atOnce), 0);
  await forgetSome(partition, keys, parts.slice(first), recorded);
}

async function forgetSome(
  partition: Partition,
  keys: PartitionKeys,
  parts: readonly { tombstone?: string; key?: string }[],
  recorded: number,
): Promise<void> {
  const list = new KeyList([keys.meta, keys.journal]);
  const positions = (of: "tombstone" | "key") =>
    parts.flatMap((one) => (one[of] === undefined ? [] : [list.position(one[of])]));
  const json = {
    ...(await partition.fence(keys)),
    recorded,
    tombstone_ms: TOMBSTONE_MS,
    tombstones: positions("tombstone"),
    unlink: positions("key"),
  };
  await partition.call("forget", list.keys, [JSON.stringify(json)], okReply);
}
