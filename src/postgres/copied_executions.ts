/** Executions that are copied, as rows of bytes: those of which nothing can be on record. Times in ms since 1970. */
import { CopyBuffer } from "./copy_binary.ts";
import type { Connection } from "./database.ts";
import type { ExecutionRecord } from "./record_executions.ts";

const COPY = `copy hitzero.node_executions (run_id, node_id, scope, attempt, retry_count, status, reason, worker_id, started_at, ended_at,
  output, output_blob, error, from_nodes) from stdin (format binary)`;
const COLUMNS = 14;
/** The year 2286. */
const LATEST_MS = 1e13;

/** Is this a moment that is copied as it stands? What Postgres might refuse or round goes the other way, where it is Postgres that reads it. */
export const isPlainMoment = (at: number): boolean => Number.isInteger(at) && at >= 0 && at < LATEST_MS;

/** May this one be copied? */
export function canBeCopied(record: ExecutionRecord): boolean {
  const { isFirst, childRunId, workerId, startedAt, endedAt } = record;
  return (
    isFirst === true &&
    childRunId === undefined &&
    (workerId ?? "").isWellFormed() &&
    record.scope.isWellFormed() &&
    [startedAt, endedAt].every((at) => at === null || isPlainMoment(at))
  );
}

/** Of a run: its id, as each of its rows begins. */
export const runBytes = (runId: string): Uint8Array =>
  CopyBuffer.fragment((row) => row.row(COLUMNS).uuid(runId));

/** Of executions that completed in their first attempt: node, scope, attempt, status, reason. */
export const completedBytes = (nodeId: string, scope: string): Uint8Array =>
  CopyBuffer.fragment((row) => row.text(nodeId).text(scope).int4(1).int4(0).text("COMPLETED").null());

/** Of executions that one worker performed. */
export const workerBytes = (workerId: string): Uint8Array => CopyBuffer.fragment((row) => row.text(workerId));

/** Of executions without blob and error that ran on the arrivals of these nodes. */
export const fromBytes = (nodeIds: readonly string[]): Uint8Array =>
  CopyBuffer.fragment((row) => row.null().null().texts(nodeIds));

/** As from a JSON text, whose null is no value of a column. */
const valueIn = (json: string | null) => (json === "null" || json?.trim() === "null" ? null : json);

export class CopiedExecutions {
  readonly #rows = CopyBuffer.take();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** An execution that `canBeCopied`. */
  add(record: ExecutionRecord): void {
    const { output, error } = record;
    this.#count += 1;
    this.#rows
      .row(COLUMNS)
      .uuid(record.runId)
      .text(record.nodeId)
      .text(record.scope)
      .int4(record.attempt)
      .int4(Math.max(record.attempt - 1, 0))
      .text(record.status)
      .text(record.reason)
      .text(record.workerId)
      .timestamp(record.startedAt)
      .timestamp(record.endedAt)
      .jsonb(valueIn(output))
      .text(record.outputBlob)
      .jsonb(error === null ? null : JSON.stringify(error))
      .texts(record.fromNodes);
  }

  /** One that completed in its first attempt, by what it has in common with others. `output`: JSON text. */
  addCompleted(
    run: Uint8Array,
    place: Uint8Array,
    worker: Uint8Array,
    startedAt: number,
    endedAt: number,
    output: string,
    from: Uint8Array,
  ): void {
    this.#count += 1;
    this.#rows
      .ready(run)
      .ready(place)
      .ready(worker)
      .timestamp(startedAt)
      .timestamp(endedAt)
      .jsonb(valueIn(output))
      .ready(from);
  }

  /** Writes them. Nothing can be added afterwards. @throws SQLSTATE 23505 when one is on record already: the transaction is lost then */
  async copyTo(client: Connection): Promise<void> {
    if (this.#count === 0) return;
    await client.copy(COPY, this.#rows.finish());
    this.#rows.release();
  }
}
