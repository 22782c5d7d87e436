/**
 * What a worker says while Redis refuses its calls for a reason that does not pass by itself: another database, or another release, fills its
 * namespace. Said once, with what to do; and once more when it is over. A partition that is closed until its reader opens it is no such reason.
 */
import type { Log } from "../../base/log.ts";
import { FenceError } from "../../redis/fence_error.ts";

export class FencedOut {
  readonly #log: Log;
  /** Numbers of the partitions that refuse. */
  readonly #partitions = new Set<number>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Is there a partition that refuses? */
  get isOut(): boolean {
    return this.#partitions.size > 0;
  }

  /** A call to this partition failed. Returns whether that is such a reason. */
  heard(partition: number, error: unknown): boolean {
    if (!(error instanceof FenceError) || !error.lasts) return false;
    if (!this.isOut) {
      const { code, message, hint } = error;
      this.#log.error({ partition, code, error: message, hint }, "the worker waits: Redis refuses its calls");
    }
    this.#partitions.add(partition);
    return true;
  }

  /** A call to this partition was taken. */
  taken(partition: number): void {
    if (this.#partitions.delete(partition) && !this.isOut)
      this.#log.info({ partition }, "the worker goes on: Redis takes its calls again");
  }
}
