/**
 * What is measured: servers with durable settings in a folder of their own, a supervisor, workers, and a client.
 *
 * Owns: all of these and the folder; `stop` ends them and removes it.
 */
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Redis } from "ioredis";
import { Client } from "../src/engine/client/client.ts";
import { type LocalServers, startLocalServers } from "../src/local/stack.ts";
import { Database } from "../src/postgres/database.ts";
import { migrate } from "../src/postgres/migrate.ts";
import { type EngineProcess, startEngineProcess } from "./engine_process.ts";

const HANDLERS = resolve(import.meta.dirname, "handlers.mjs");
const STOPWATCH = pathToFileURL(resolve(import.meta.dirname, "stopwatch.mjs")).href;
export const NAMESPACE = "bench";
/** Before the id of every run. */
const NO_RUN = "00000000-0000-0000-0000-000000000000";

export interface RigOptions {
  /** Folder in which the throw-away folder is made. */
  parent?: string;
  workers: number;
  concurrency: number;
  /** Folder for CPU profiles of the workers and the supervisor. */
  profiles?: string;
  onNotice: (line: string) => void;
}

export class Rig {
  readonly #options: RigOptions;
  readonly #fail: (error: unknown) => void;
  /** Rejects when a process of the rig dies. Never resolves. */
  readonly failed: Promise<never>;
  readonly folder: string;
  readonly servers: LocalServers;
  readonly client: Client;
  readonly database: Database;
  readonly redis: Redis;
  supervisor: EngineProcess | undefined;
  workers: EngineProcess[] = [];
  /** Runs up to this id are meant to stay open: nobody waits for their ends. */
  staysOpen = NO_RUN;
  #nodeArgs: string[] = [];

  private constructor(folder: string, options: RigOptions, servers: LocalServers, client: Client) {
    let fail: (error: unknown) => void = () => {};
    this.failed = new Promise<never>((_resolve, reject) => {
      fail = reject;
    });
    this.failed.catch(() => {});
    this.#fail = fail;
    this.#options = options;
    this.folder = folder;
    this.servers = servers;
    this.client = client;
    this.database = new Database(servers.databaseUrl);
    this.redis = new Redis(servers.redisUrl);
    this.redis.on("error", () => {});
  }

  /** Starts the servers and the supervisor; workers are started by who measures. */
  static async start(options: RigOptions): Promise<Rig> {
    const folder = await mkdtemp(join(options.parent ?? tmpdir(), "hitzero-bench-"));
    // As root, Postgres runs as another user, who must be able to pass.
    await chmod(folder, 0o711);
    let servers: LocalServers | undefined;
    let rig: Rig | undefined;
    try {
      servers = await startLocalServers({ dir: join(folder, "servers"), onProgress: options.onNotice });
      await migrate(servers.databaseUrl);
      const { redisUrl, databaseUrl } = servers;
      const client = await Client.connect({ redisUrl, databaseUrl, namespace: NAMESPACE });
      rig = new Rig(folder, options, servers, client);
      await rig.startSupervisor();
      return rig;
    } catch (error) {
      if (rig) await rig.stop();
      else await servers?.stop();
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Starts supervisor and workers anew, whose script calls note the CPU time that they take. */
  async timeScripts(): Promise<void> {
    await this.stopWorkers();
    await this.stopSupervisor();
    this.#nodeArgs = ["--import", STOPWATCH];
    await this.startSupervisor();
    await this.startWorkers();
  }

  async startSupervisor(): Promise<void> {
    this.supervisor = await this.#start(["supervisor"]);
  }

  async stopSupervisor(): Promise<void> {
    await this.supervisor?.stop();
    this.supervisor = undefined;
  }

  /** Starts workers, one for each list of queues, besides those that run. */
  async startWorkers(queues: readonly (readonly string[])[] = this.#usualWorkers()): Promise<void> {
    const concurrency = String(this.#options.concurrency);
    const args = ["worker", "--handlers", HANDLERS, "--concurrency", concurrency, "--queues"];
    this.workers.push(...(await Promise.all(queues.map((names) => this.#start([...args, names.join(",")])))));
  }

  async stopWorkers(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.stop()));
    this.workers = [];
  }

  #usualWorkers(): string[][] {
    return Array.from({ length: this.#options.workers }, () => ["default"]);
  }

  async #start(args: readonly string[]): Promise<EngineProcess> {
    const { profiles } = this.#options;
    const nodeArgs = [...this.#nodeArgs];
    if (profiles !== undefined)
      nodeArgs.push("--cpu-prof", "--cpu-prof-dir", resolve(profiles, args[0] as string));
    const env = {
      HITZERO_REDIS_URL: this.servers.redisUrl,
      HITZERO_DATABASE_URL: this.servers.databaseUrl,
      HITZERO_NAMESPACE: NAMESPACE,
    };
    const started = await startEngineProcess(args, env, nodeArgs);
    started.died.catch(this.#fail);
    return started;
  }

  /** Ends everything and leaves nothing behind. */
  async stop(): Promise<void> {
    await this.stopWorkers();
    await this.stopSupervisor();
    await this.client.close();
    await this.database.close();
    this.redis.disconnect();
    await this.servers.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
