import type { Log } from "../../base/log.ts";
import type { Database } from "../../postgres/database.ts";
import { type PartitionRow, renewLease } from "../../postgres/partitions.ts";
import { RedisConnection } from "../../redis/connection.ts";
import { READER_LEASE_MS } from "../limits.ts";

/** How often it is looked at. */
const WATCH_MS = 500;

/** A lease that is held, and what depends on it: whose lease is over writes nothing any more. */
export class ReaderLease {
  readonly #row: PartitionRow;
  readonly #database: Database;
  readonly #redisUrl: string;
  readonly #log: Log;
  readonly #over = new AbortController();

  constructor(row: PartitionRow, database: Database, redisUrl: string, log: Log) {
    this.#row = row;
    this.#database = database;
    this.#redisUrl = redisUrl;
    this.#log = log;
  }

  /** Lends connections to Redis for as long as the lease is renewed; the second is for calls that block. */
  async whileHeld(
    work: (connection: RedisConnection, blocking: RedisConnection) => Promise<void>,
  ): Promise<void> {
    const watch = this.#watch();
    try {
      const connection = await RedisConnection.open(this.#redisUrl, { signal: this.#over.signal });
      await work(connection, await connection.duplicate());
    } finally {
      clearInterval(watch);
      this.letGo();
    }
  }

  /** Ends the connections. */
  letGo(): void {
    this.#over.abort();
  }

  /** Renews it also while the reader is at something that lasts. That it is another's by now the reader finds out by itself. */
  #watch(): NodeJS.Timeout {
    let renewing: Promise<void> | undefined;
    return setInterval(() => {
      const leftMs = this.#row.held_until - performance.now();
      if (leftMs > 0) {
        if (leftMs > READER_LEASE_MS / 2 || renewing) return;
        renewing = renewLease(this.#database, this.#row, READER_LEASE_MS)
          .catch(() => {})
          .finally(() => {
            renewing = undefined;
          });
        return;
      }
      if (!this.#over.signal.aborted) {
        const facts = { partition: this.#row.partition };
        this.#log.warn(facts, "the lease was not renewed in time: its reader lets go");
      }
      this.letGo();
    }, WATCH_MS);
  }
}
