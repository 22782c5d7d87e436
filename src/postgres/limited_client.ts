/** A connection whose queries have an end: one that has no answer within the limit ends the connection, so that a late answer is nobody's. */
import type { Socket } from "node:net";
import type pg from "pg";
import { Patience } from "../base/patience.ts";
import { CopyIn } from "./copy_in.ts";
import type { Connection, Row } from "./database.ts";

/** The socket itself: a silent one is not to be ended in order. */
export const socketOf = (client: pg.ClientBase): Socket =>
  (client as unknown as { connection: { stream: Socket } }).connection.stream;

export class LimitedClient implements Connection {
  readonly #client: pg.ClientBase;
  readonly #patience: Patience;
  /** Queries under way. */
  #asked = 0;

  /** `limitMs`: for each query, and for what is under way at once from the last answer on. */
  constructor(client: pg.ClientBase, limitMs: number) {
    this.#client = client;
    this.#patience = new Patience(limitMs, () => this.drop());
  }

  query<R extends Row = Row>(sql: string, values?: unknown[]) {
    return this.#limited(() => this.#client.query<R>(sql, values));
  }

  copy(sql: string, data: Buffer): Promise<void> {
    return this.#limited(() => this.#client.query(new CopyIn(sql, data)).done);
  }

  async #limited<T>(ask: () => Promise<T>): Promise<T> {
    this.#asked += 1;
    this.#patience.begin();
    try {
      return await ask();
    } finally {
      this.#asked -= 1;
      if (this.#asked === 0) this.#patience.end();
      else this.#patience.begin();
    }
  }

  /** Ends the connection at once: what is under way is rejected. */
  drop(): void {
    socketOf(this.#client).destroy();
  }
}
