import { HitzeroError } from "../../base/errors.ts";

/** The journal does not continue the record: Redis lost history. */
export class HistoryLostError extends HitzeroError {
  constructor(partition: number, what: string) {
    super("HISTORY_LOST", `Redis lost history of partition ${partition}: ${what}`, {
      hint: "Was Redis flushed, restored from a copy, or run without append-only file? The record in Postgres is intact.",
      exitCode: 3,
    });
  }
}
