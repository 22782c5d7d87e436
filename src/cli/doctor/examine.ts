/** Asks both servers what there is to know. A server that is away costs its own checks only. */
import { HitzeroError } from "../../base/errors.ts";
import type { Settings } from "../../engine/settings.ts";
import { VERSION } from "../../engine/version.ts";
import { describeDatabase } from "../../postgres/connection_errors.ts";
import { Database } from "../../postgres/database.ts";
import {
  readMigrationState,
  readPartitionHealth,
  readPostgresFacts,
  readProcesses,
  readWorkHealth,
} from "../../postgres/health.ts";
import { readInstallation } from "../../postgres/partitions.ts";
import { readPeriodHealth } from "../../postgres/periods.ts";
import { RedisConnection } from "../../redis/connection.ts";
import { redisAddress } from "../../redis/connection_errors.ts";
import { readRedisFacts } from "../../redis/health.ts";
import { Partition } from "../../redis/partition.ts";
import { refuseMissingRights } from "../../redis/rights.ts";
import { workersInReach } from "../../redis/workers.ts";
import { type Check, checksOf } from "./check.ts";
import { periodChecks } from "./periods.ts";
import { nodeChecks, postgresChecks, redisChecks, schemaChecks } from "./servers.ts";
import { examineUnserved } from "./unserved.ts";
import { partitionChecks, processChecks, workChecks } from "./work.ts";

type ServerSettings = Settings & { redisUrl: string; databaseUrl: string };

export interface Examination {
  checks: Check[];
  /** A server cannot be reached or used. */
  away: boolean;
}

/** Looks at everything; changes nothing. */
export async function examine(settings: ServerSettings): Promise<Examination> {
  const examination: Examination = { checks: nodeChecks(process.versions.node), away: false };
  const { checks } = examination;
  const redis = await orAway(examination, "redis", () => RedisConnection.open(settings.redisUrl));
  const database = new Database(settings.databaseUrl, { size: 2 });
  try {
    await orAway(examination, "redis", async () => {
      if (!redis) return;
      checks.push(...redisChecks(await readRedisFacts(redis), redisAddress(settings.redisUrl)));
      await refuseMissingRights(redis, settings.namespace);
    });
    const facts = await orAway(examination, "postgres", () => readPostgresFacts(database));
    if (facts) {
      checks.push(...postgresChecks(facts, describeDatabase(settings.databaseUrl)));
      await orAway(examination, "postgres", () => examineRecord(settings, database, redis, checks));
    }
  } finally {
    redis?.close();
    await database.close();
  }
  return examination;
}

/** What the record says; nothing without a schema of this release. */
async function examineRecord(
  settings: ServerSettings,
  database: Database,
  redis: RedisConnection | undefined,
  checks: Check[],
): Promise<void> {
  const migrations = await readMigrationState(database);
  checks.push(...schemaChecks(migrations));
  if (migrations.missing.length > 0) return;
  checks.push(...periodChecks(await readPeriodHealth(database), settings.periodMs));
  const identity = await redis?.identity();
  const installation = await readInstallation(database);
  const rows = await readPartitionHealth(database);
  const partitions = redis
    ? rows.map((row) => new Partition(redis, settings.namespace, row.partition, installation))
    : [];
  const views = await Promise.all(
    rows.map(async (row, index) => ({
      row,
      meta: await partitions[index]?.readMeta(),
      identity,
      installation,
    })),
  );
  checks.push(...partitionChecks(views));
  const open = partitions.filter((partition, index) => {
    const epoch = views[index]?.meta?.epoch;
    if (epoch) partition.enter(epoch);
    return epoch;
  });
  const inReach = redis && new Set((await Promise.all(open.map(workersInReach))).flat());
  checks.push(...processChecks(await readProcesses(database), VERSION, inReach));
  checks.push(...(await examineUnserved(database, open)));
  checks.push(...workChecks(await readWorkHealth(database)));
}

/** A failure of a server becomes a check of its own. */
async function orAway<T>(
  examination: Examination,
  area: string,
  ask: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof HitzeroError) || error.exitCode !== 3) throw error;
    examination.away = true;
    examination.checks.push(checksOf(area).fail("connection", error.message, error.hint));
    return undefined;
  }
}
