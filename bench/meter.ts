/** What the processes and servers have used so far; the difference of two readings is what a sample used. */
import { cpuMs, parentOf } from "./cpu.ts";
import type { Rig } from "./rig.ts";

export const PROCESSES = ["redis", "postgres", "workers", "supervisor", "driver"] as const;
export type ProcessName = (typeof PROCESSES)[number];

/** Null: not known on this system. */
export type Usage = {
  cpu_ms: Record<ProcessName, number | null>;
  bytes: {
    /** Over the network, by all clients. */
    redis_received: number;
    redis_sent: number;
    /** Growth of the append-only file; null when it was rewritten meanwhile. */
    redis_append_only_file: number | null;
    postgres_write_ahead_log: number;
    /** Tables with their indexes. */
    postgres_tables: number;
  };
  /** What Redis spent inside the commands it was sent, and on how many. Commands that scripts call are counted on their own. */
  redis_commands: Record<string, { calls: number; us: number }>;
};

/** The numbers of one INFO section. */
function numbersOf(info: string): (name: string) => number {
  const fields = new Map(info.split("\r\n").map((line) => line.split(":", 2) as [string, string]));
  return (name) => Number(fields.get(name) ?? Number.NaN);
}

function commandsOf(info: string): Usage["redis_commands"] {
  const found = info.matchAll(/^cmdstat_([^:]+):calls=(\d+),usec=(\d+)/gm);
  return Object.fromEntries([...found].map(([, name, calls, us]) => [name, { calls: +calls!, us: +us! }]));
}

export class Meter {
  readonly #rig: Rig;
  readonly #redisPid: number;
  readonly #postgresPid: number | undefined;

  private constructor(rig: Rig, redisPid: number, postgresPid: number | undefined) {
    this.#rig = rig;
    this.#redisPid = redisPid;
    this.#postgresPid = postgresPid;
  }

  static async of(rig: Rig): Promise<Meter> {
    const server = numbersOf(await rig.redis.info("server"));
    const { rows } = await rig.database.query<{ pid: number }>("select pg_backend_pid() as pid");
    return new Meter(rig, server("process_id"), parentOf(rows[0]?.pid as number));
  }

  /** Process ids of the servers. */
  get servers(): { redis: number; postgres: number | undefined } {
    return { redis: this.#redisPid, postgres: this.#postgresPid };
  }

  /** The processes by name, backends of Postgres among them. */
  async pids(): Promise<{ name: ProcessName; pid: number }[]> {
    const { database, workers, supervisor } = this.#rig;
    const { rows } = await database.query<{ pid: number }>(
      "select pid from pg_stat_activity where backend_type = 'client backend'",
    );
    return [
      { name: "redis", pid: this.#redisPid },
      ...rows.map(({ pid }) => ({ name: "postgres" as const, pid })),
      ...workers.map(({ pid }) => ({ name: "workers" as const, pid })),
      ...(supervisor ? [{ name: "supervisor" as const, pid: supervisor.pid }] : []),
      { name: "driver", pid: process.pid },
    ];
  }

  async read(): Promise<Usage> {
    const { redis, database, workers, supervisor } = this.#rig;
    const stats = numbersOf(await redis.info("stats"));
    const persistence = numbersOf(await redis.info("persistence"));
    const commands = commandsOf(await redis.info("commandstats"));
    const { rows } = await database.query<{ wal: string; tables: string }>(
      `select pg_current_wal_lsn() - '0/0' as wal, sum(pg_total_relation_size(oid)) as tables
        from pg_class where relnamespace = 'hitzero'::regnamespace and relkind = 'r'`,
    );
    const known = (pid: number | undefined) => (pid === undefined ? undefined : cpuMs(pid)) ?? null;
    const { user, system } = process.cpuUsage();
    return {
      cpu_ms: {
        redis: known(this.#redisPid),
        postgres: known(this.#postgresPid),
        workers: workers.map(({ pid }) => known(pid)).reduce(plus, 0),
        supervisor: known(supervisor?.pid),
        driver: (user + system) / 1_000,
      },
      bytes: {
        redis_received: stats("total_net_input_bytes"),
        redis_sent: stats("total_net_output_bytes"),
        redis_append_only_file: persistence("aof_current_size"),
        postgres_write_ahead_log: Number(rows[0]?.wal),
        postgres_tables: Number(rows[0]?.tables),
      },
      redis_commands: commands,
    };
  }
}

function plus(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a + b;
}

/** What was used between two readings. */
export function usedBetween(before: Usage, after: Usage): Usage {
  const minus = (later: number | null, earlier: number | null) =>
    later === null || earlier === null ? null : later - earlier;
  const file = minus(after.bytes.redis_append_only_file, before.bytes.redis_append_only_file);
  return {
    cpu_ms: mapValues(after.cpu_ms, (value, name) => minus(value, before.cpu_ms[name])),
    bytes: {
      ...mapValues(after.bytes, (value, name) => (value as number) - (before.bytes[name] as number)),
      redis_append_only_file: file !== null && file < 0 ? null : file,
    },
    redis_commands: mapValues(after.redis_commands, ({ calls, us }, name) => ({
      calls: calls - (before.redis_commands[name]?.calls ?? 0),
      us: us - (before.redis_commands[name]?.us ?? 0),
    })),
  };
}

function mapValues<K extends string, V, W>(
  record: Record<K, V>,
  map: (value: V, name: K) => W,
): Record<K, W> {
  return Object.fromEntries(
    (Object.entries(record) as [K, V][]).map(([name, value]) => [name, map(value, name)]),
  ) as Record<K, W>;
}
