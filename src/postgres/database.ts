/** A pool of connections to Postgres, whose faults come out as coded errors. */
import pg from "pg";
import { HitzeroError } from "../base/errors.ts";
import { POSTGRES, parseServerUrl } from "../base/server_url.ts";
import { postgresFault } from "./connection_errors.ts";

export type Row = Record<string, unknown>;

export interface Queryable {
  query<R extends Row = Row>(
    sql: string,
    values?: unknown[],
  ): Promise<{ rows: R[]; rowCount: number | null }>;
}

export interface DatabaseOptions {
  /** Connections at most. Default 4. */
  size?: number;
  /**
   * Settings of each transaction, for example `lock_timeout`. Never of the session: behind a pooler it is somebody else's, too, and pgbouncer
   * refuses a connection that comes with settings.
   */
  settings?: Record<string, string>;
}

// int8 (counts, journal numbers) stays within 2^53.
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) =>
    oid === 20 ? (Number as (value: unknown) => number) : pg.types.getTypeParser(oid, format as "text"),
} as pg.CustomTypesConfig;

export class Database implements Queryable {
  readonly url: string;
  readonly #pool: pg.Pool;
  readonly #begin: string;

  constructor(url: string, options: DatabaseOptions = {}) {
    parseServerUrl(url, POSTGRES);
    this.url = url;
    const settings = Object.entries(options.settings ?? {});
    this.#begin = ["begin", ...settings.map(([name, value]) => `set local ${name} = '${value}'`)].join("; ");
    this.#pool = new pg.Pool({
      connectionString: url,
      max: options.size ?? 4,
      connectionTimeoutMillis: 5_000,
      application_name: "hitzero",
      types,
    });
    // An idle connection that breaks is replaced by the pool; queries on broken ones reject by themselves.
    this.#pool.on("error", () => {});
  }

  /** @throws HitzeroError with exit code 3 when the server is away, refuses us, or has no schema */
  async query<R extends Row = Row>(sql: string, values: unknown[] = []) {
    try {
      return await this.#pool.query<R>(sql, values);
    } catch (error) {
      throw this.#fault(error);
    }
  }

  /** Runs `work` in one transaction; rolls back when it throws. */
  async transaction<T>(work: (client: Queryable) => Promise<T>): Promise<T> {
    let client: pg.PoolClient;
    try {
      client = await this.#pool.connect();
    } catch (error) {
      throw this.#fault(error);
    }
    // A connection that is cut while it is checked out also rejects the query under way, which reports it.
    const ignore = () => {};
    client.on("error", ignore);
    let broken: Error | undefined;
    try {
      await client.query(this.#begin);
      const result = await work(client as Queryable);
      await client.query("commit");
      return result;
    } catch (error) {
      await client.query("rollback").catch((failure: Error) => {
        broken = failure;
      });
      throw this.#fault(error);
    } finally {
      client.off("error", ignore);
      client.release(broken);
    }
  }

  async close(): Promise<void> {
    await this.#pool.end();
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

/** Did Postgres refuse the data of this statement (so that repeating it is pointless)? */
export function isDataFault(error: unknown): boolean {
  const code = (error as { code?: string }).code ?? "";
  return /^(22|23|54)...$/.test(code);
}

function isStatementFault(code: string | undefined): boolean {
  return code !== undefined && /^(42|40|0A)...$/.test(code);
}
