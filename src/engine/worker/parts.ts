/** The parts of a worker that there are while its connections are open, and what each of them is given. */
import type { Log } from "../../base/log.ts";
import type { Bell } from "../../base/wait.ts";
import { keepConnections } from "../../handlers/http.ts";
import type { HttpConnections } from "../../handlers/http_connections.ts";
import type { Handlers } from "../../handlers/types.ts";
import type { Database } from "../../postgres/database.ts";
import type { RedisConnection } from "../../redis/connection.ts";
import type { Partition } from "../../redis/partition.ts";
import { IRCache } from "../ir_cache.ts";
import { ITEMS_HANDED_MS, type Limits } from "../limits.ts";
import { ItemReader } from "../nodes/map_items.ts";
import { whileAway } from "../while_away.ts";
import { Deadlines } from "./deadlines.ts";
import type { Surroundings } from "./execute.ts";
import { Executions, type ExecutionsOptions } from "./executions.ts";
import type { FencedOut } from "./fenced_out.ts";
import { Intake } from "./intake.ts";
import type { Lane } from "./lane.ts";
import { Leases } from "./leases.ts";
import { Liveness } from "./liveness.ts";
import type { Offers } from "./offers.ts";
import { ReadyStreams } from "./ready_streams.ts";
import { servicesOf } from "./services.ts";
import type { SuspectTurns } from "./suspects.ts";
import { TurnEnds } from "./turn_ends.ts";

export interface PartsOptions {
  workerId: string;
  redisUrl: string;
  queues: readonly string[];
  leaseMs: number;
  concurrency: number;
  blockedGraceMs: number;
  handlers: Handlers;
  limits: Limits;
  log: Log;
  lanes: ReadonlyMap<number, Lane>;
  connection: RedisConnection;
  /** The connection that blocks. */
  blocking: RedisConnection;
  database: Database;
  offers: Offers;
  suspects: SuspectTurns;
  fencedOut: FencedOut;
  /** Rung when there may be room. */
  freed: Bell;
  /** Aborted when the worker is told to stop, and when it gives up. */
  stopping: AbortSignal;
  abandoned: AbortSignal;
  /** A call to a partition failed. */
  onFailed: (partition: Partition, error: unknown) => void;
  giveUp: ExecutionsOptions["giveUp"];
}

export interface Parts {
  liveness: Liveness;
  streams: ReadyStreams;
  executions: Executions;
  leases: Leases;
  intake: Intake;
  connections: HttpConnections;
  /** Ends what counts time and what lives outside; `connections` are closed by themselves. */
  close(): void;
}

export function makeParts(options: PartsOptions): Parts {
  const { lanes, abandoned, freed, offers } = options;
  const partitions = [...lanes.values()].map(({ partition }) => partition);
  const liveness = new Liveness({
    redisUrl: options.redisUrl,
    workerId: options.workerId,
    leaseMs: options.leaseMs,
    concurrency: options.concurrency,
    graceMs: options.blockedGraceMs,
    log: options.log,
  });
  const streams = new ReadyStreams(partitions, options.queues, offers);
  const deadlines = new Deadlines();
  const connections = keepConnections();
  const executions = new Executions(lanes, {
    concurrency: options.concurrency,
    log: options.log,
    suspects: options.suspects,
    items: new ItemReader(options.limits),
    liveness,
    around: surroundings(options, liveness, deadlines, connections),
    abandoned,
    onFreed: () => freed.ring(),
    list: (lane) => whileAway({ signal: abandoned }, () => leases.list(lane)),
    giveUp: options.giveUp,
  });
  const leases = new Leases(executions, { ...options, streams, liveness });
  const list = (lane: Lane) => leases.list(lane);
  const intake = new Intake(lanes, executions, {
    ...options,
    streams,
    irs: new IRCache(options.database),
    list,
  });
  const close = () => {
    deadlines.close();
    leases.close();
    liveness.close();
  };
  return { liveness, streams, executions, leases, intake, connections, close };
}

function surroundings(
  options: PartsOptions,
  liveness: Liveness,
  deadlines: Deadlines,
  connections: HttpConnections,
): Surroundings {
  const { workerId, handlers, limits, log, lanes, connection, database, offers, suspects } = options;
  const { stopping, abandoned } = options;
  const ends = [stopping, abandoned];
  return {
    workerId,
    handlers,
    connections,
    deadlines,
    turns: new TurnEnds(),
    limits,
    log,
    now: () => connection.now(),
    call: (slot, work, ...given) => liveness.call(slot, work, ...given),
    servicesOf: ({ partition }, over) =>
      servicesOf((lanes.get(partition) as Lane).partition, database, limits, over, ends),
    mayHandOver: ({ hops, since, scope, ir }) => {
      const next = !stopping.aborted && !suspects.alone && hops < limits.handOvers;
      const items = next && scope !== "" && performance.now() - since < ITEMS_HANDED_MS;
      return { next, items, unoffered: offers.unofferedOf(ir) };
    },
  };
}
