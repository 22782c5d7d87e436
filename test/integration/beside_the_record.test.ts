/** What does not wait while a batch is written: timers that are due, and accepted runs that never started. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { acceptRuns } from "../../src/postgres/accept_runs.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { edges, fn } from "../support/flow.ts";
import { until, withinLimit } from "../support/until.ts";

let engine: TestEngine;
let connection: RedisConnection;
const performed: string[] = [];

beforeAll(async () => {
  const note = ({ nodeId }: { nodeId: string }) => performed.push(nodeId);
  engine = await startEngine({ handlers: { note } });
  connection = await RedisConnection.open(engine.settings.redisUrl);
});
afterAll(async () => {
  connection.close();
  await engine.stop();
});

const note = (id: string) => fn(id, "note");

test("timers fire and runs start while a batch is written", async () => {
  const { client, database } = engine;
  const { keys } = engine.partition(connection);
  const register = (name: string, nodes: object[], links: string[] = []) =>
    client.register({ name, nodes, edges: edges(...links) });
  const waits = await register(
    "waits",
    [{ id: "w", type: "wait", config: { duration_ms: 600_000 } }, note("woken")],
    ["w -> woken"],
  );
  const [waiting = ""] = (await client.submit(waits, { input: {} })).runIds;
  await until(
    async () => (await client.listNodes(waiting, { nodeIds: ["w"] }))[0]?.status === "WAITING",
    "it waits, on record",
  );

  const late = await register("late", [note("started")]);
  const runId = crypto.randomUUID();
  const setAge = (age: string) =>
    database.query("update hitzero.open_runs set submitted_at = now() - $2::interval where run_id = $1", [
      runId,
      age,
    ]);
  await acceptRuns(database, [{ workflow: late, runs: [{ runId, partition: 0 }], input: "{}", tags: [] }]);
  await setAge("-1 hour");
  const long = await register("long", [note("first")]);
  const [timer = ""] = await connection.redis.zrange(keys.timers, 0, 0);

  // The next batch lasts until a row comes that another transaction brings.
  await database.query(
    `create table hitzero.batch_may_end ();
     create sequence hitzero.batches;
     create function hitzero.linger() returns trigger language plpgsql as $$ begin
       perform nextval('hitzero.batches');
       while not exists (select from hitzero.batch_may_end) loop perform pg_sleep(0.02); end loop;
       return null;
     end $$;
     create trigger linger after insert on hitzero.events_packed for each statement execute function hitzero.linger()`,
  );
  const batches = async () => {
    const { rows } = await database.query<{ begun: number }>(
      "select case when is_called then last_value else 0 end::int as begun from hitzero.batches",
    );
    return rows[0]?.begun;
  };
  const [recording = ""] = (await client.submit(long, { input: {} })).runIds;
  await until(async () => (await batches()) === 1, "a batch is being written");

  await connection.redis.zadd(keys.timers, "XX", 1, timer);
  await setAge("1 hour");
  await until(() => performed.includes("woken") && performed.includes("started"), "both go on");
  expect(await batches()).toBe(1);
  expect((await client.getRun(recording))?.status).toBe("PENDING");

  await database.query("insert into hitzero.batch_may_end default values");
  for (const id of [waiting, recording, runId])
    expect(await client.wait(id, { signal: withinLimit() })).toMatchObject({ status: "COMPLETED" });
});
