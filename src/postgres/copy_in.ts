/** `COPY … FROM STDIN` of bytes that are there already, as a query of `pg`. */
import type { Socket } from "node:net";
import type pg from "pg";

/** What `pg` gives a query to speak through, as far as it is needed here. */
interface Wire {
  readonly stream: Socket;
  query(sql: string): void;
  endCopyFrom(): void;
}

/** Message CopyData of the protocol: its type and the length of what follows, itself included. */
const COPY_DATA = 0x64;
const LENGTH_BYTES = 4;

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
    const head = Buffer.allocUnsafe(1 + LENGTH_BYTES);
    head[0] = COPY_DATA;
    head.writeInt32BE(this.#data.length + LENGTH_BYTES, 1);
    // As it is, where `pg` would copy it, and all of it in one write.
    connection.stream.cork();
    connection.stream.write(head);
    connection.stream.write(this.#data);
    connection.endCopyFrom();
    connection.stream.uncork();
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
