/** A partition whose journal a test writes by hand, and a recorder that reads it: no supervisor, no worker. */
import { createLog } from "../../src/base/log.ts";
import { IRCache } from "../../src/engine/ir_cache.ts";
import { type Pace, Recorder, startingPace } from "../../src/engine/reader/recorder.ts";
import { type PartitionRow, takeLease } from "../../src/postgres/partitions.ts";
import { acceptRuns } from "../../src/postgres/runs.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import type { Partition } from "../../src/redis/partition.ts";
import { startEngine, type TestEngine } from "./engine.ts";

const LEASE_MS = 600_000;

export interface HandJournal {
  engine: TestEngine;
  connection: RedisConnection;
  partition: Partition;
  recorder: Recorder;
  /** How much the recorders take at a time. */
  pace: Pace;
  /** Accepts runs of a workflow, without starting them. */
  accept(document: object, count: number): Promise<string[]>;
  /** Appends an entry; `head` replaces the fields before its events. */
  append(events: readonly (readonly string[])[], head?: readonly string[]): Promise<number>;
  /** Records until nothing is left; answers how many entries each transaction took. */
  drain(): Promise<number[]>;
  /** Another reader takes over. */
  takeOver(): Promise<void>;
  stop(): Promise<void>;
}

export async function startHandJournal(): Promise<HandJournal> {
  const engine = await startEngine({ workers: 0 });
  await engine.supervisor.stop();
  const connection = await RedisConnection.open(engine.settings.redisUrl);
  const partition = engine.partition(connection);
  await partition.refresh();
  const { keys } = partition;
  const log = createLog((process.env.HITZERO_TEST_LOG ?? "silent") as never);
  const pace = startingPace();
  let term = 0;
  const newRecorder = async () => {
    await engine.database.query("update hitzero.partitions set lease_expires_at = '-infinity'");
    term += 1;
    const row = (await takeLease(engine.database, 0, `by-hand-${term}`, LEASE_MS)) as PartitionRow;
    return new Recorder(row, partition, engine.database, new IRCache(engine.database), log, pace);
  };
  const journal: HandJournal = {
    engine,
    connection,
    partition,
    pace,
    recorder: await newRecorder(),
    async accept(document, count) {
      const workflow = await engine.client.register(document);
      const runs = Array.from({ length: count }, () => ({
        runId: crypto.randomUUID(),
        partition: 0,
        input: '{"n":1}',
      }));
      await acceptRuns(engine.database, { workflow, runs, tags: [] });
      return runs.map(({ runId }) => runId);
    },
    async append(events, head) {
      const seq = await connection.redis.hincrby(keys.meta, "seq", 1);
      const fields = [...(head ?? ["call", `call-${seq}`, "at", "1000"]), ...events.flat()];
      await connection.redis.xadd(keys.journal(partition.epoch), `${seq}-0`, ...fields);
      return seq;
    },
    async drain() {
      const taken: number[] = [];
      for (;;) {
        const { recorded, upToDate } = await journal.recorder.recordNext();
        if (recorded > 0) taken.push(recorded);
        else if (upToDate) return taken;
      }
    },
    async takeOver() {
      journal.recorder = await newRecorder();
      await journal.recorder.repeatCleanUp();
    },
    async stop() {
      connection.close();
      await engine.stop();
    },
  };
  return journal;
}
