/** What the parts of a client share: its connections to the servers, and what is done when one is away. */
import type { HitzeroError } from "../../base/errors.ts";
import { createLog, type Log } from "../../base/log.ts";
import { Database, type Queryable } from "../../postgres/database.ts";
import { listPartitions, readInstallation } from "../../postgres/partitions.ts";
import { RedisConnection } from "../../redis/connection.ts";
import { Partition } from "../../redis/partition.ts";
import { refuseMissingRights } from "../../redis/rights.ts";
import { LIMITS, type Limits } from "../limits.ts";
import { checkOptions } from "../settings.ts";
import { whileAway } from "../while_away.ts";

export interface ClientOptions {
  redisUrl: string;
  databaseUrl: string;
  /** Default `hitzero`. */
  namespace?: string;
  log?: Log;
  /** Told when Postgres goes away during a call, which waits for it. */
  onAway?: (error: HitzeroError) => void;
  /** Aborted: no call waits any more for a server that is away. */
  signal?: AbortSignal;
}

export interface Connections {
  readonly database: Database;
  /** The same for single statements, each of which may be repeated. */
  readonly record: Queryable;
  readonly redis: RedisConnection;
  readonly partitions: readonly Partition[];
  readonly log: Log;
  /** Repeats a call while Postgres is away. */
  whileAway<T>(call: () => Promise<T>): Promise<T>;
  partition(number: number): Partition | undefined;
  close(): Promise<void>;
}

/** A call waits for Postgres for so long: a restart takes seconds, a failover of a managed one up to two minutes. */
const AWAY_LIMIT_MS = 150_000;

/** @throws HitzeroError BAD_NAMESPACE; another (exit code 3) when a server cannot be used */
export async function connect(options: ClientOptions, limits: Limits = LIMITS): Promise<Connections> {
  checkOptions(options);
  const { namespace = "hitzero" } = options;
  const database = new Database(options.databaseUrl);
  let redis: RedisConnection | undefined;
  try {
    const numbers = await listPartitions(database);
    redis = await RedisConnection.open(options.redisUrl);
    await refuseMissingRights(redis, namespace);
    const installation = await readInstallation(database);
    const connection = redis;
    const partitions = numbers.map(
      (number) => new Partition(connection, namespace, number, installation, limits),
    );
    for (const partition of partitions) await partition.checkOwner();
    return connectionsOf(database, connection, partitions, options);
  } catch (error) {
    redis?.close();
    await database.close();
    throw error;
  }
}

function connectionsOf(
  database: Database,
  redis: RedisConnection,
  partitions: readonly Partition[],
  { log = createLog("silent"), onAway, signal }: ClientOptions,
): Connections {
  const closed = new AbortController();
  signal?.addEventListener("abort", () => closed.abort(), { once: true });
  const waiting = { signal: closed.signal, limitMs: AWAY_LIMIT_MS, ...(onAway ? { onAway } : {}) };
  const untilBack = <T>(call: () => Promise<T>) => whileAway(waiting, call);
  return {
    database,
    record: { query: (sql, values) => untilBack(() => database.query(sql, values)) },
    redis,
    partitions,
    log,
    whileAway: untilBack,
    partition: (number) => partitions.find((partition) => partition.number === number),
    async close() {
      closed.abort();
      redis.close();
      await database.close();
    },
  };
}
