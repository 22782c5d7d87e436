/**
 * An engine in rough circumstances: workers and supervisors that are lost, stand still, and are replaced; a Redis (its own) that
 * repeats tokens, ends leases early, and drops connections. What happens next is drawn from a seed; how often is counted.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { createLog } from "../../src/base/log.ts";
import { Client } from "../../src/engine/client/client.ts";
import { LIMITS, type Limits } from "../../src/engine/limits.ts";
import { Supervisor } from "../../src/engine/reader/supervisor.ts";
import { Worker } from "../../src/engine/worker/worker.ts";
import { handlersOf } from "../../src/handlers/load.ts";
import { Database } from "../../src/postgres/database.ts";
import { readInstallation } from "../../src/postgres/partitions.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { SETTLE_QUEUE } from "../../src/redis/keys.ts";
import { Partition } from "../../src/redis/partition.ts";
import { RUN } from "../../src/redis/run_state.ts";
import { TOKEN } from "../../src/token/letters.ts";
import { decodeLease } from "../../src/token/token.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { type PrivateRedis, startPrivateRedis, testNamespace } from "../support/redis.ts";
import { Dice } from "./dice.ts";
import { Faults, Party, type Rates, ROUGH } from "./faults.ts";
import { QUEUES } from "./genes.ts";

/** What each of the workers reads. One that is lost is replaced by one that reads the same. */
const READ = [["default"], ["left"], ["default", "right"]];
const STREAMS = [SETTLE_QUEUE, ...QUEUES];
const CONCURRENCY = 8;
const LEASE_MS = 500;
const UNCLAIMED_MS = 300;
/** A token that was handed out more often is left alone, as a dead letter would follow. */
const DELIVERIES_TO_SPOIL = 2;
const GHOSTS_KEPT = 500;
/** A mishap follows the last one after so long, though no step was made. */
const LONGEST_PEACE_MS = 200;

/** The handlers of the worker of this name. */
export type HandlersOf = (worker: string) => Record<string, unknown>;

export interface RoughOptions {
  rates?: Rates;
  leaseMs?: number;
  limits?: Limits;
}

interface Staff<T> {
  party: Party;
  service: T;
}

/** Something that happens to the engine, about `weight` times in a hundred. */
interface Mishap {
  name: string;
  weight: number;
  act: () => Promise<number>;
}

export class RoughEngine {
  readonly client: Client;
  readonly database: Database;
  readonly faults: Faults;
  /** A connection that is spared. */
  readonly partition: Partition;
  readonly #settings: { redisUrl: string; databaseUrl: string; namespace: string };
  readonly #handlers: HandlersOf;
  readonly #dice: Dice;
  readonly #leaseMs: number;
  readonly #limits: Limits;
  readonly #redis: PrivateRedis;
  readonly #testDatabase: TestDatabase;
  readonly #workers: (Staff<Worker> & { queues: readonly string[] })[] = [];
  readonly #supervisors: Staff<Supervisor>[] = [];
  readonly #leaving: Promise<void>[] = [];
  readonly #ghosts: { ready: string; token: string }[] = [];
  readonly #ceasing = new AbortController();
  #mishaps: Promise<void> | undefined;
  #hired = 0;

  private constructor(
    base: Pick<RoughEngine, "client" | "database" | "faults" | "partition">,
    servers: { redis: PrivateRedis; database: TestDatabase },
    settings: { redisUrl: string; databaseUrl: string; namespace: string },
    handlers: HandlersOf,
    dice: Dice,
    leaseMs: number,
    limits: Limits,
  ) {
    this.client = base.client;
    this.database = base.database;
    this.faults = base.faults;
    this.partition = base.partition;
    this.#redis = servers.redis;
    this.#testDatabase = servers.database;
    this.#settings = settings;
    this.#handlers = handlers;
    this.#dice = dice;
    this.#leaseMs = leaseMs;
    this.#limits = limits;
  }

  /** Starts servers and engine. Mishaps begin with `begin`; calls get lost from the start. */
  static async start(
    seed: number,
    handlers: HandlersOf,
    { rates = ROUGH, leaseMs = LEASE_MS, limits = LIMITS }: RoughOptions = {},
  ): Promise<RoughEngine> {
    const dice = new Dice(seed);
    const faults = new Faults(new Dice(seed + 1), rates);
    const redis = await startPrivateRedis();
    const testDatabase = await createTestDatabase();
    const settings = { redisUrl: redis.url, databaseUrl: testDatabase.url, namespace: testNamespace() };
    const spared = await RedisConnection.open(redis.url);
    faults.install();
    const database = new Database(testDatabase.url);
    const client = await faults.inNameOf(new Party("client"), () => Client.connect(settings, limits));
    const partition = new Partition(spared, settings.namespace, 0, await readInstallation(database));
    partition.enter("1");
    const engine = new RoughEngine(
      { client, database, faults, partition },
      { redis, database: testDatabase },
      settings,
      handlers,
      dice,
      leaseMs,
      limits,
    );
    for (let count = 0; count < 2; count += 1) await engine.#hireSupervisor();
    for (const queues of READ) await engine.#hireWorker(queues);
    faults.onReaderPaused = (reader) => {
      reader.freeze(dice.between(200, 800));
      void engine.#unseatReader();
    };
    return engine;
  }

  /** Mishaps from here on, one after the other. */
  begin(): void {
    this.#mishaps = this.#keepMeddling();
  }

  /** Lets the engine heal. */
  async cease(): Promise<void> {
    this.#ceasing.abort();
    await this.#mishaps;
    this.faults.cease();
  }

  async stop(): Promise<void> {
    await this.cease();
    this.faults.uninstall();
    await this.client.close();
    await Promise.all(this.#leaving);
    await Promise.all(this.#workers.map(({ service }) => service.stop()));
    await Promise.all(this.#supervisors.map(({ service }) => service.stop()));
    this.partition.connection.close();
    await this.database.close();
    await this.#testDatabase.drop();
    await this.#redis.stop();
  }

  async #keepMeddling(): Promise<void> {
    const mishaps: Mishap[] = [
      { name: "token duplicated", weight: 30, act: () => this.#duplicateTokens() },
      { name: "ghost token", weight: 10, act: () => this.#raiseGhosts() },
      { name: "lease expired early", weight: 25, act: () => this.#expireLeases() },
      { name: "worker abandoned", weight: 6, act: () => this.#abandonWorker() },
      { name: "worker stopped", weight: 3, act: () => this.#stopWorker() },
      { name: "worker stood still", weight: 10, act: () => this.#freezeWorker() },
      { name: "supervisor replaced", weight: 3, act: () => this.#replaceSupervisor() },
      { name: "reader unseated", weight: 3, act: () => this.#unseatReader() },
      { name: "connection cut", weight: 8, act: () => this.#cutConnection() },
    ];
    while (!this.#ceasing.signal.aborted) {
      const mishap = this.#dice.pick(mishaps, ({ weight }) => weight) as Mishap;
      this.faults.count(mishap.name, await mishap.act());
      await this.#untilStepped(this.#dice.between(1, 9));
    }
  }

  /** Mishaps keep pace with the work, so that a slow machine, or an engine that does little at once, does not get more than it can mend. */
  async #untilStepped(times: number): Promise<void> {
    const enough = this.faults.steps + times;
    const limit = Date.now() + LONGEST_PEACE_MS;
    do await sleep(5);
    while (this.faults.steps < enough && Date.now() < limit && !this.#ceasing.signal.aborted);
  }

  async #hireWorker(queues: readonly string[]): Promise<void> {
    this.#hired += 1;
    const party = new Party(`worker ${this.#hired}`);
    const options = {
      ...this.#settings,
      handlers: handlersOf(this.#handlers(party.name)),
      queues,
      concurrency: CONCURRENCY,
      leaseMs: this.#leaseMs,
      log: log(),
    };
    const hire = () => this.#untilStarted(() => new Worker(options, this.#limits));
    const service = await this.faults.inNameOf(party, hire);
    this.#workers.push({ party, service, queues });
  }

  async #hireSupervisor(): Promise<void> {
    this.#hired += 1;
    const party = new Party(`supervisor ${this.#hired}`);
    const options = { ...this.#settings, unclaimedMs: UNCLAIMED_MS, log: log() };
    const hire = () => this.#untilStarted(() => new Supervisor(options, this.#limits));
    const service = await this.faults.inNameOf(party, hire);
    this.#supervisors.push({ party, service });
  }

  /** A connection may be cut while a service starts, which it is not made to outlive: whoever started it tries again. */
  async #untilStarted<Service extends { start(): Promise<void> }>(make: () => Service): Promise<Service> {
    for (let tries = 1; ; tries += 1) {
      try {
        const service = make();
        await service.start();
        return service;
      } catch (error) {
        if (tries === 5) throw error;
        await sleep(20);
      }
    }
  }

  async #duplicateTokens(): Promise<number> {
    const { redis } = this.partition.connection;
    const ready = this.partition.keys.ready(this.#dice.pick(STREAMS) as string);
    const entries = await redis.xrevrange(ready, "+", "-", "COUNT", 20);
    const tokens = entries.flatMap(([, fields]) => fields[1] ?? []);
    for (const token of tokens) this.#ghosts[this.#dice.between(0, GHOSTS_KEPT - 1)] = { ready, token };
    const again = tokens.filter(() => this.#dice.chance(0.3));
    for (const token of again) await redis.xadd(ready, "*", "t", token);
    return again.length;
  }

  /** Tokens that were consumed long ago, of runs that may be over. */
  async #raiseGhosts(): Promise<number> {
    const ghosts = Object.values(this.#ghosts).filter(() => this.#dice.chance(0.02));
    const { redis } = this.partition.connection;
    for (const { ready, token } of ghosts) await redis.xadd(ready, "*", "t", token);
    return ghosts.length;
  }

  async #expireLeases(): Promise<number> {
    const { redis } = this.partition.connection;
    const { leases } = this.partition.keys;
    let expired = 0;
    for (const lease of await redis.zrange(leases, 0, -1)) {
      const leased = decodeLease(lease);
      if (leased === undefined || leased.delivery > DELIVERIES_TO_SPOIL) continue;
      if (!this.#dice.chance(0.3)) continue;
      const { queue, runId, generation, node, scope, attempt, delivery, nonce } = leased;
      const [digest] = await this.partition.readFields(runId, [RUN.digest]);
      const execution = [node, scope, attempt, delivery, nonce];
      this.#ghosts[this.#dice.between(0, GHOSTS_KEPT - 1)] = {
        ready: this.partition.keys.ready(queue),
        token: [TOKEN.execution, runId, generation, digest, ...execution].join("|"),
      };
      expired += Number(await redis.zadd(leases, "XX", "CH", 1, lease));
    }
    return expired;
  }

  async #abandonWorker(): Promise<number> {
    const { service, queues } = this.#dismiss(this.#workers);
    await service.abandon();
    await this.#hireWorker(queues);
    return 1;
  }

  async #stopWorker(): Promise<number> {
    const { service, queues } = this.#dismiss(this.#workers);
    this.#leaving.push(service.stop());
    await this.#hireWorker(queues);
    return 1;
  }

  /** It neither answers nor renews its leases, and goes on later as if nothing had happened. */
  async #freezeWorker(): Promise<number> {
    this.#dice.pick(this.#workers)?.party.freeze(this.#dice.between(100, 3 * this.#leaseMs));
    return 1;
  }

  async #replaceSupervisor(): Promise<number> {
    const { service } = this.#dismiss(this.#supervisors);
    this.#leaving.push(service.stop());
    await this.#hireSupervisor();
    return 1;
  }

  /** What the clock does to a reader that stands still: its lease is over, and another may take it. */
  async #unseatReader(): Promise<number> {
    const { rowCount } = await this.database.query(
      "update hitzero.partitions set lease_expires_at = '-infinity' where reader_id is not null",
    );
    return rowCount ?? 0;
  }

  async #cutConnection(): Promise<number> {
    const { redis } = this.partition.connection;
    const own = await redis.client("ID");
    const list = String(await redis.client("LIST"));
    const others = [...list.matchAll(/^id=(\d+) /gm)].map(([, id]) => Number(id)).filter((id) => id !== own);
    const chosen = this.#dice.pick(others);
    return chosen === undefined ? 0 : Number(await redis.client("KILL", "ID", String(chosen)));
  }

  #dismiss<T extends Staff<unknown>>(staff: T[]): T {
    const [dismissed] = staff.splice(this.#dice.between(0, staff.length - 1), 1);
    return dismissed as T;
  }
}

function log() {
  return createLog((process.env.HITZERO_TEST_LOG ?? "silent") as never);
}
