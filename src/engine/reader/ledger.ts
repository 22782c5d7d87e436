/**
 * The record of a partition as its reader writes it: one transaction at a time, each of which ends with the compare-and-set of term,
 * epoch and offset. Whoever writes decides in its turn, so that nothing of what it decides by changes until it is committed.
 *
 * Owns: how far the journal is on record, as far as this reader brought it. A transaction that fails leaves it as it was.
 */
import type { Connection, Database } from "../../postgres/database.ts";
import { moveOffset, type PartitionRow } from "../../postgres/partitions.ts";
import { READER_LEASE_MS } from "../limits.ts";

/** The last entry that is on record. */
export interface Offset {
  seq: number;
  call: string;
}

/** Writes in one transaction; with it the record reaches `to`, or stays where it is. @throws LeaseLostError */
export type Commit = <T>(work: (client: Connection) => Promise<T>, to?: Offset) => Promise<T>;

export class Ledger {
  /** The lease under which is written. */
  readonly row: PartitionRow;
  readonly #database: Database;
  #before: Promise<unknown> = Promise.resolve();

  constructor(row: PartitionRow, database: Database) {
    this.row = row;
    this.#database = database;
  }

  /** Waits for those that came before. `work` must not ask for a turn of its own. */
  inTurn<T>(work: (commit: Commit) => Promise<T>): Promise<T> {
    const turn = this.#before.then(() => work(this.#commit));
    this.#before = turn.catch(() => {});
    return turn;
  }

  readonly #commit: Commit = async (work, to) => {
    const { row } = this;
    const reached = to ?? { seq: row.recorded_seq, call: row.recorded_call };
    const result = await this.#database.transaction(async (client) => {
      const result = await work(client);
      await moveOffset(client, row, reached, READER_LEASE_MS);
      return result;
    });
    row.recorded_seq = reached.seq;
    row.recorded_call = reached.call;
    return result;
  };
}
