/** A partition whose journal a test writes by hand, and the parts of a reader that record it: no supervisor, no worker. */
import { createLog } from "../../src/base/log.ts";
import { IRCache } from "../../src/engine/ir_cache.ts";
import { KnownRuns } from "../../src/engine/reader/known_runs.ts";
import { Ledger } from "../../src/engine/reader/ledger.ts";
import { type Pace, startingPace } from "../../src/engine/reader/pace.ts";
import { Recorder } from "../../src/engine/reader/recorder.ts";
import { RunEnds } from "../../src/engine/reader/run_ends.ts";
import { repeatEnds } from "../../src/engine/reader/take_over.ts";
import { acceptRuns } from "../../src/postgres/accept_runs.ts";
import { type PartitionRow, takeLease } from "../../src/postgres/partitions.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import type { Partition } from "../../src/redis/partition.ts";
import { type EngineOptions, startEngine, type TestEngine } from "./engine.ts";

const LEASE_MS = 600_000;

export interface HandJournal {
  engine: TestEngine;
  connection: RedisConnection;
  partition: Partition;
  ledger: Ledger;
  recorder: Recorder;
  runs: KnownRuns;
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

/** `options`: of workers, if any are to write the journal. */
export async function startHandJournal(options: EngineOptions = { workers: 0 }): Promise<HandJournal> {
  const engine = await startEngine(options);
  await engine.supervisor.stop();
  const connection = await RedisConnection.open(engine.settings.redisUrl);
  const partition = engine.partition(connection);
  await partition.refresh();
  const { keys } = partition;
  const log = createLog((process.env.HITZERO_TEST_LOG ?? "silent") as never);
  const pace = startingPace();
  let term = 0;
  const newReader = async () => {
    await engine.database.query("update hitzero.partitions set lease_expires_at = '-infinity'");
    term += 1;
    const row = (await takeLease(engine.database, 0, `by-hand-${term}`, LEASE_MS)) as PartitionRow;
    const { database } = engine;
    const ledger = new Ledger(row, database);
    const runs = new KnownRuns(0, database, new IRCache(database), log);
    const ends = new RunEnds(ledger, partition, database, runs, log);
    const recorder = new Recorder(ledger, partition, database, runs, log, pace);
    return { ledger, partition, database, runs, ends, recorder };
  };
  let reader = await newReader();
  const journal: HandJournal = {
    engine,
    connection,
    partition,
    pace,
    ledger: reader.ledger,
    recorder: reader.recorder,
    runs: reader.runs,
    async accept(document, count) {
      const workflow = await engine.client.register(document);
      const runs = Array.from({ length: count }, () => ({
        runId: crypto.randomUUID(),
        partition: 0,
      }));
      await acceptRuns(engine.database, [{ workflow, runs, input: '{"n":1}', tags: [] }]);
      return runs.map(({ runId }) => runId);
    },
    async append(events, head) {
      const seq = await connection.redis.hincrby(keys.meta, "seq", 1);
      const fields = [...(head ?? ["call", `call-${seq}`, "at", "1000"]), ...events.flat()];
      await connection.redis.xadd(keys.journal, `${seq}-0`, ...fields);
      return seq;
    },
    async drain() {
      const taken: number[] = [];
      for (;;) {
        const { entries, upToDate, after } = await reader.recorder.recordNext();
        await reader.ends.follow(after);
        if (entries > 0) taken.push(entries);
        else if (upToDate) return taken;
      }
    },
    async takeOver() {
      reader = await newReader();
      Object.assign(journal, { ledger: reader.ledger, recorder: reader.recorder, runs: reader.runs });
      await repeatEnds(reader);
    },
    async stop() {
      connection.close();
      await engine.stop();
    },
  };
  return journal;
}
