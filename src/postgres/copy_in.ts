/** `COPY … FROM STDIN` of bytes that are there already, as a query of `pg`. */
import type pg from "pg";

/** What `pg` gives a query to speak through, as far as it is needed here. */
interface Wire {
  query(sql: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

export class CopyIn implements pg.Submittable {
  /** Settles once Postgres has taken or refused all of it. */
  readonly done: Promise<void>;
  readonly #sql: string;
  readonly #data: Buffer;
  #taken!: () => void;
  #refused!: (error: Error) => void;

  constructor(sql: string, data: Buffer) {
    this.#sql = sql;
    this.#data = data;
    this.done = new Promise((resolve, reject) => {
      this.#taken = resolve;
      this.#refused = reject;
    });
  }

  submit(connection: unknown): void {
    (connection as Wire).query(this.#sql);
  }

  handleCopyInResponse(connection: Wire): void {
    connection.sendCopyFromChunk(this.#data);
    connection.endCopyFrom();
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.#taken();
  }

  /** Also when the connection breaks. */
  handleError(error: Error): void {
    this.#refused(error);
  }
}
