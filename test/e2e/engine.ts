/** A database of its own with a supervisor and workers as processes. */
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from "../support/database.ts";
import { redisUrl, testNamespace } from "../support/redis.ts";
import { type CliOptions, type CliProcess, type CliResult, runCli, startCli } from "./cli.ts";
import { runHere } from "./here.ts";

export interface CliEngine {
  database: TestDatabase;
  /** Names the servers. */
  env: Record<string, string>;
  processes: CliProcess[];
  run(args: readonly string[], options?: CliOptions): Promise<CliResult>;
  /** The same without a process of its own, and without standard input. */
  here(args: readonly string[], options?: Omit<CliOptions, "input">): Promise<CliResult>;
  start(args: readonly string[], options?: CliOptions): CliProcess;
  stop(): Promise<void>;
}

/** Servers without processes; the database is empty, or migrated already. */
export async function connectCli(kind: "empty" | "migrated"): Promise<CliEngine> {
  const database = await (kind === "empty" ? createEmptyDatabase() : createTestDatabase());
  const env = {
    HITZERO_REDIS_URL: redisUrl(),
    HITZERO_DATABASE_URL: database.url,
    HITZERO_NAMESPACE: testNamespace(),
  };
  const withEnv = (options: CliOptions = {}) => ({ ...options, env: { ...env, ...options.env } });
  const processes: CliProcess[] = [];
  return {
    database,
    env,
    processes,
    run: (args, options) => runCli(args, withEnv(options)),
    here: (args, options) => runHere(args, withEnv(options)),
    start: (args, options) => startCli(args, withEnv(options)),
    stop: async () => {
      for (const process of processes) process.signal("SIGTERM");
      await Promise.all(processes.map(({ ended }) => ended));
      await database.drop();
    },
  };
}

/** Starts a supervisor and workers, and waits until they serve. */
export async function serve(engine: CliEngine, workers: number, handlers: string): Promise<void> {
  const supervisor = engine.start(["supervisor", "--unoffered-timeout-ms", "500"]);
  const started = Array.from({ length: workers }, () => engine.start(["worker", "--handlers", handlers]));
  engine.processes.push(supervisor, ...started);
  await Promise.all([
    supervisor.says("records runs"),
    ...started.map((worker) => worker.says("serves queue")),
  ]);
}
