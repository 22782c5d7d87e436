/**
 * Reads the entries behind the record, and while a batch of them is written, those behind that batch: they are taken only if the batch came
 * on record as it was, and thrown away otherwise.
 *
 * Owns: what was read ahead, which the journal has as well.
 */
import type { Partition } from "../../redis/partition.ts";
import { decodeRawEntry, type JournalEntry, type RawEntry } from "../../token/journal.ts";
import type { Offset } from "./ledger.ts";
import { readEntries } from "./read_entries.ts";

interface Read {
  entries: RawEntry[];
  upToDate: boolean;
}

export class JournalReader {
  readonly #partition: Partition;
  readonly #decoded = new WeakMap<RawEntry, JournalEntry>();
  #ahead: { behind: Offset; read: Promise<Read | undefined> } | undefined;

  constructor(partition: Partition) {
    this.#partition = partition;
  }

  /** The next entries behind `recorded`, up to `most`. @throws HistoryLostError */
  async next(recorded: Offset, most: number): Promise<Read> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    const fits = ahead?.behind.seq === recorded.seq && ahead.behind.call === recorded.call;
    const read = fits ? await ahead.read : undefined;
    const last = read?.entries.at(-1);
    if (read === undefined || last === undefined) return this.#read(recorded, most);
    if (read.entries.length > most) return { entries: read.entries.slice(0, most), upToDate: false };
    if (read.entries.length === most || !read.upToDate) return read;
    // That was all that there was then.
    const more = await this.#read(last, most - read.entries.length);
    return { entries: [...read.entries, ...more.entries], upToDate: more.upToDate };
  }

  /** Reads and decodes what is behind `last`, which is being written. */
  readAhead(last: Offset, most: number): void {
    const read = async () => {
      const read = await this.#read(last, most);
      for (const entry of read.entries) this.decode(entry);
      return read;
    };
    // What is wrong with it is found again when its turn comes.
    this.#ahead = { behind: last, read: read().catch(() => undefined) };
  }

  /** What was read ahead is not the next. */
  drop(): void {
    this.#ahead = undefined;
  }

  /** @throws when it is not of the form of an entry */
  decode(raw: RawEntry): JournalEntry {
    let entry = this.#decoded.get(raw);
    if (entry === undefined) {
      entry = decodeRawEntry(raw);
      this.#decoded.set(raw, entry);
    }
    return entry;
  }

  #read({ seq, call }: Offset, most: number): Promise<Read> {
    return readEntries(this.#partition, { seq, call }, most);
  }
}
