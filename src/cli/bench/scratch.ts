/**
 * Where `hitzero bench` works on the user's servers: a database and a namespace of its own, and a folder.
 *
 * Owns: all three; `remove` takes them away. Nothing else on the servers is read or written.
 * A benchmark that is killed leaves them behind; the next one removes them.
 */
import { rmSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Database } from "../../postgres/database.ts";
import {
  checkScratchDatabase,
  countCompleted,
  createScratchDatabase,
  dropScratchDatabase,
  listLeftScratch,
  newScratchDatabase,
  type ScratchDatabase,
} from "../../postgres/scratch_database.ts";
import { RedisConnection } from "../../redis/connection.ts";
import { checkScan, clearNamespace } from "../../redis/namespace.ts";
import { refuseMissingRights } from "../../redis/rights.ts";

export interface Servers {
  redisUrl: string;
  databaseUrl: string;
}

/** What the nodes do: nearly nothing. In a file, since workers import it. */
const HANDLERS = `export const step = ({ data }) => ({ count: (data.count ?? 0) + 1, at_us: Number(process.hrtime.bigint() / 1_000n) });\n`;

const HANDLERS_FILE = "handlers.mjs";

const namespaceOf = ({ id }: ScratchDatabase) => `bench-${id}`;

export class Scratch {
  readonly #admin: Database;
  readonly #redis: RedisConnection;
  readonly #database: ScratchDatabase;
  readonly #record: Database;
  readonly folder: string;

  private constructor(admin: Database, redis: RedisConnection, database: ScratchDatabase, folder: string) {
    this.#admin = admin;
    this.#redis = redis;
    this.#database = database;
    this.#record = new Database(database.url, { size: 1 });
    this.folder = folder;
  }

  /**
   * Makes them, after removing what killed benchmarks left.
   * @throws HitzeroError of the connections; PERMISSION_DENIED for a user that may not create databases, or not SCAN
   */
  static async create(
    { redisUrl, databaseUrl }: Servers,
    onNotice: (line: string) => void,
  ): Promise<Scratch> {
    const admin = new Database(databaseUrl, { size: 1 });
    let redis: RedisConnection | undefined;
    try {
      redis = await RedisConnection.open(redisUrl);
      for (const left of await listLeftScratch(admin, databaseUrl)) {
        onNotice(`removing ${left.name}, which a benchmark that was killed left behind`);
        await removeBoth(admin, redis, left);
      }
      const database = newScratchDatabase(databaseUrl);
      // What it may not do shows now, not when something is to be removed.
      await checkScan(redis);
      await refuseMissingRights(redis, namespaceOf(database));
      await createScratchDatabase(admin, database);
      const scratch = new Scratch(admin, redis, database, await makeFolder());
      try {
        await checkScratchDatabase(database);
      } catch (error) {
        await scratch.remove();
        throw error;
      }
      return scratch;
    } catch (error) {
      redis?.close();
      await admin.close();
      throw error;
    }
  }

  get databaseUrl(): string {
    return this.#database.url;
  }

  get databaseName(): string {
    return this.#database.name;
  }

  get namespace(): string {
    return namespaceOf(this.#database);
  }

  get handlers(): string {
    return join(this.folder, HANDLERS_FILE);
  }

  /** Steps that are on record as COMPLETED. */
  stepsOnRecord(): Promise<number> {
    return countCompleted(this.#record);
  }

  /** Once nobody works there any more. */
  async remove(): Promise<void> {
    try {
      await this.#record.close();
      await removeBoth(this.#admin, this.#redis, this.#database);
    } finally {
      this.#redis.close();
      await this.#admin.close();
      rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    }
  }
}

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hitzero-bench-"));
  await writeFile(join(folder, HANDLERS_FILE), HANDLERS);
  return folder;
}

/** The database last: while it is there, the next benchmark knows that there may be keys. */
async function removeBoth(admin: Database, redis: RedisConnection, scratch: ScratchDatabase): Promise<void> {
  await clearNamespace(redis, namespaceOf(scratch));
  await dropScratchDatabase(admin, scratch);
}
