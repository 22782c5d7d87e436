/** A pool of connections to Postgres, whose faults come out as coded errors. */
import type { Socket } from "node:net";
import pg from "pg";
import { HitzeroError } from "../base/errors.ts";
import { POSTGRES, parseServerUrl } from "../base/server_url.ts";
import { postgresFault } from "./connection_errors.ts";
import { LimitedClient, socketOf } from "./limited_client.ts";

export type Row = Record<string, unknown>;

export interface Queryable {
  query<R extends Row = Row>(
    sql: string,
    values?: unknown[],
  ): Promise<{ rows: R[]; rowCount: number | null }>;
}

/** One connection, in a transaction. */
export interface Connection extends Queryable {
  /** `sql`: `copy … from stdin (format binary)`; `data`: all of it. */
  copy(sql: string, data: Buffer): Promise<void>;
}

export interface DatabaseOptions {
  /** Connections at most. Default 4. */
  size?: number;
  /**
   * Settings of each transaction, for example `lock_timeout`. Never of the session: behind a pooler it is somebody else's, too, and pgbouncer
   * refuses a connection that comes with settings.
   */
  settings?: Record<string, string>;
  /** A query without an answer for so long ends its connection, milliseconds. Default 30,000. */
  limitMs?: number;
}

/** A role's default may be another, under which concurrent work conflicts. */
const BEGIN = "begin isolation level read committed";

/** Longer than any query of ours takes on a busy server, or waits for a lock. */
const QUERY_LIMIT_MS = 30_000;
/** For a connection, new or from the pool. */
const CONNECT_LIMIT_MS = 5_000;
/** What is still under way when all is closed, or does not close in order, has this long. */
const FAREWELL_MS = 1_000;
const KEEP_ALIVE_MS = 10_000;

// int8 (counts, journal numbers) and numeric (durations) stay within what a number holds.
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) =>
    oid === pg.types.builtins.INT8 || oid === pg.types.builtins.NUMERIC
      ? (Number as (value: unknown) => number)
      : pg.types.getTypeParser(oid, format as "text"),
} as pg.CustomTypesConfig;

export class Database implements Queryable {
  readonly url: string;
  readonly #pool: pg.Pool;
  readonly #begin: string;
  readonly #limitMs: number;
  readonly #sockets = new Set<Socket>();
  #closed: Promise<void> | undefined;

  constructor(url: string, options: DatabaseOptions = {}) {
    parseServerUrl(url, POSTGRES);
    this.url = url;
    this.#limitMs = options.limitMs ?? QUERY_LIMIT_MS;
    this.#begin = [BEGIN, ...localSettings(options.settings ?? {})].join("; ");
    this.#pool = new pg.Pool({
      connectionString: url,
      max: options.size ?? 4,
      connectionTimeoutMillis: CONNECT_LIMIT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      application_name: "hitzero",
      types,
    });
    // An idle connection that breaks is replaced by the pool; queries on broken ones reject by themselves.
    this.#pool.on("error", () => {});
    this.#pool.on("connect", (client) => {
      const socket = socketOf(client);
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  /** @throws HitzeroError with exit code 3 when the server is away or silent, refuses us, or has no schema */
  async query<R extends Row = Row>(sql: string, values: unknown[] = []) {
    try {
      return await this.#with((client) => client.query<R>(sql, values));
    } catch (error) {
      // A role may have made every statement of its own serializable.
      if (isConflict(error)) return this.transaction((client) => client.query<R>(sql, values));
      throw this.#fault(error);
    }
  }

  /** Runs `work` in one transaction, with these settings besides its usual ones; rolls back when it throws. */
  async transaction<T>(
    work: (client: Connection) => Promise<T>,
    settings: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    try {
      return await this.#with(async (client) => {
        try {
          await client.query([this.#begin, ...localSettings(settings)].join("; "));
          const result = await work(client);
          await client.query("commit");
          return result;
        } catch (error) {
          await client.query("rollback").catch(() => client.drop());
          throw error;
        }
      });
    } catch (error) {
      throw this.#fault(error);
    }
  }

  /** Lets what is under way end, for a moment. May be called again. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      const late = setTimeout(() => {
        for (const socket of this.#sockets) socket.destroy();
      }, FAREWELL_MS);
      // A socket that does not close holds the process up by itself, until then.
      late.unref();
      await this.#pool.end();
    })();
    return this.#closed;
  }

  /**
   * Lends a connection. A query on it that has no answer within the limit ends the connection, so that a late answer is nobody's.
   */
  async #with<T>(work: (client: LimitedClient) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    let broken: Error | undefined;
    // A connection that is cut while it is lent also rejects the query under way, which reports it.
    const note = (error: Error) => {
      broken = error;
    };
    client.on("error", note);
    try {
      return await work(new LimitedClient(client, this.#limitMs));
    } finally {
      client.off("error", note);
      client.release(broken);
    }
  }

  #fault(error: unknown): unknown {
    if (error instanceof HitzeroError) return error;
    const code = (error as { code?: string }).code;
    if (code === "42P01" || code === "3F000") {
      return new HitzeroError("SCHEMA_MISSING", "the database has no hitzero tables, or older ones", {
        hint: "Run `npx hitzero migrate`.",
        exitCode: 3,
        cause: error,
      });
    }
    return isDataFault(error) || isStatementFault(code) ? error : postgresFault(error, this.url);
  }
}

const localSettings = (settings: Readonly<Record<string, string>>) =>
  Object.entries(settings).map(([name, value]) => `set local ${name} = '${value}'`);

/** Did Postgres refuse the data of this statement (so that repeating it is pointless)? */
export function isDataFault(error: unknown): boolean {
  const code = (error as { code?: string }).code ?? "";
  return /^(22|23|54)...$/.test(code);
}

/** Did it meet a row that stands already? */
export function isDuplicate(error: unknown): boolean {
  return (error as { code?: string }).code === DUPLICATE;
}

/** SQLSTATE of what would be there twice. */
export const DUPLICATE = "23505";

/** Did a statement wait for a lock for longer than `lock_timeout` (and change nothing)? */
export function isLockTimeout(error: unknown): boolean {
  const { code, cause } = error as { code?: string; cause?: { code?: string } };
  return code === "55P03" || cause?.code === "55P03";
}

/** Did this statement lose against another transaction (and change nothing)? */
export function isConflict(error: unknown): boolean {
  return /^40(001|P01)$/.test((error as { code?: string }).code ?? "");
}

function isStatementFault(code: string | undefined): boolean {
  return code !== undefined && /^(42|40|0A)...$/.test(code);
}
