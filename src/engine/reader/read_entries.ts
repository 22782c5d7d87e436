import type { Partition } from "../../redis/partition.ts";
import { type RawEntry, splitJournalEntry } from "../../token/journal.ts";
import { JOURNAL_PART, RECORD_ENTRY_BYTES } from "../limits.ts";
import { HistoryLostError } from "./history_lost.ts";
import type { Offset } from "./ledger.ts";

/**
 * The entries behind the record, a part at a time: up to `most`, and about as many bytes as a batch takes. Reading begins at the last
 * recorded entry, which must be the same.
 * @throws HistoryLostError
 */
export async function readEntries(
  partition: Partition,
  { seq: recorded, call }: Offset,
  most: number,
): Promise<{ entries: RawEntry[]; upToDate: boolean }> {
  const entries: RawEntry[] = [];
  const wanted = most + (recorded > 0 ? 1 : 0);
  let bytes = 0;
  let isEnd = false;
  while (!isEnd && entries.length < wanted && bytes < RECORD_ENTRY_BYTES) {
    const from = entries.at(-1);
    const count = Math.min(JOURNAL_PART, wanted - entries.length);
    const part = await partition.readJournal(from === undefined ? recorded : from.seq + 1, count);
    isEnd = part.length < count;
    for (const [id, fields] of part) {
      entries.push(splitJournalEntry(id, fields));
      for (const field of fields) bytes += field.length;
    }
  }
  if (recorded > 0) {
    const last = entries.shift();
    if (last?.seq !== recorded) throw new HistoryLostError(partition.number, `entry ${recorded} is missing`);
    if (last.call !== call)
      throw new HistoryLostError(partition.number, `entry ${recorded} is another than the one recorded`);
  }
  entries.forEach((entry, index) => {
    const seq = recorded + index + 1;
    if (entry.seq !== seq) throw new HistoryLostError(partition.number, `entry ${seq} is missing`);
  });
  return { entries, upToDate: isEnd };
}
