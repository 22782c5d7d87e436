/** A whole engine in this process: a database of its own, a namespace of its own, supervisor and workers. */
import { createLog } from "../../src/base/log.ts";
import { Client } from "../../src/engine/client/client.ts";
import type { Limits } from "../../src/engine/limits.ts";
import { Supervisor } from "../../src/engine/reader/supervisor.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { handlersOf } from "../../src/handlers/load.ts";
import { Database } from "../../src/postgres/database.ts";
import { readInstallation } from "../../src/postgres/partitions.ts";
import type { RedisConnection } from "../../src/redis/connection.ts";
import { Partition } from "../../src/redis/partition.ts";
import { createTestDatabase } from "./database.ts";
import { redisUrl, testNamespace } from "./redis.ts";

export interface TestEngine {
  client: Client;
  database: Database;
  supervisor: Supervisor;
  workers: Worker[];
  settings: { redisUrl: string; databaseUrl: string; namespace: string };
  /** Its only partition, by another connection, in its first epoch. */
  partition(connection: RedisConnection): Partition;
  stop(): Promise<void>;
}

export interface EngineOptions {
  handlers?: Record<string, unknown>;
  workers?: number;
  /** What each worker reads, one after the other. Default: each reads the default queue. */
  queues?: readonly (readonly string[])[];
  concurrency?: number;
  leaseMs?: number;
  unclaimedMs?: number;
  stuckMs?: number;
  limits?: Limits;
  unofferedTimeoutMs?: number;
  /** What each session in Postgres begins with. */
  databaseSettings?: Record<string, string>;
  /** Default: the shared Redis of the test run. */
  redisUrl?: string;
}

export async function startEngine(options: EngineOptions = {}): Promise<TestEngine> {
  const testDatabase = await createTestDatabase(options.databaseSettings);
  const settings = {
    redisUrl: options.redisUrl ?? redisUrl(),
    databaseUrl: testDatabase.url,
    namespace: testNamespace(),
  };
  const database = new Database(settings.databaseUrl);
  const supervisor = new Supervisor(
    {
      ...settings,
      unclaimedMs: options.unclaimedMs ?? 10_000,
      stuckMs: options.stuckMs ?? 300_000,
      unofferedTimeoutMs: options.unofferedTimeoutMs ?? 900_000,
      log: createLog((process.env.HITZERO_TEST_LOG ?? "silent") as never),
    },
    options.limits,
  );
  await supervisor.start();
  const handlers = handlersOf(options.handlers ?? {});
  const workers = Array.from(
    { length: options.workers ?? options.queues?.length ?? 1 },
    (_, index) =>
      new Worker(
        {
          ...settings,
          handlers,
          queues: options.queues?.[index] ?? ["default"],
          concurrency: options.concurrency ?? 16,
          leaseMs: options.leaseMs ?? 10_000,
          log: createLog((process.env.HITZERO_TEST_LOG ?? "silent") as never),
        },
        options.limits,
      ),
  );
  for (const worker of workers) await worker.start();
  const client = await Client.connect(settings, options.limits);
  const installation = await readInstallation(database);
  return {
    client,
    database,
    supervisor,
    workers,
    settings,
    partition(connection) {
      const partition = new Partition(connection, settings.namespace, 0, installation);
      partition.enter("1");
      return partition;
    },
    async stop() {
      await client.close();
      await Promise.all(workers.map((worker) => worker.stop()));
      await supervisor.stop();
      await database.close();
      await testDatabase.drop();
    },
  };
}
