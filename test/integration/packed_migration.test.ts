/** The migration that packs events keeps every one of them, and waits until no run is open. */
import { cp, mkdtemp, readdir } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { migrate } from "../../src/postgres/migrate.ts";
import { PACKAGE_MIGRATIONS } from "../../src/postgres/migration_files.ts";
import { createEmptyDatabase, type TestDatabase } from "../support/database.ts";

let database: TestDatabase;
let client: pg.Client;
beforeEach(async () => {
  database = await createEmptyDatabase();
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
  const folder = await mkdtemp(join(inject("runFolder"), "migrations-"));
  const before = (await readdir(PACKAGE_MIGRATIONS)).filter((name) => name < "007");
  for (const name of before) await cp(join(PACKAGE_MIGRATIONS, name), join(folder, name));
  await migrate(database.url, { folder });
});
afterEach(async () => {
  await client.end();
  await database.drop();
});

const lines = async (sql: string) =>
  (await client.query<{ line: string }>({ text: sql })).rows.map(({ line }) => line);
const SHOWN = "select e::text as line from hitzero.event_log e order by run_id, seq";

/** 20 runs with all there can be: gaps, long messages, moments within a millisecond, no node, no data. */
const EVENTS = `insert into hitzero.event_log (run_id, seq, level, event_type, node_id, scope, at, message, data)
  select ('00000000-0000-7000-8000-' || lpad(run::text, 12, '0'))::uuid, seq + case when run = 3 and seq > 40 then 7 else 0 end,
    (array['DEBUG', 'INFO', 'WARN', 'ERROR'])[1 + seq % 4], case seq % 3 when 0 then 'run_cancelling' else 'node_completed' end,
    case when seq % 3 > 0 then 'n' || seq end, case when seq % 3 > 0 then '' end,
    '2026-11-27 12:00:00.123456+00'::timestamptz + seq * interval '1.000001 seconds',
    case when seq % 50 = 0 then repeat('é"\\ ', 15000) else 'event ' || seq end,
    case seq % 5 when 0 then null when 1 then '{"command": 1}' when 2 then '{"halted": "fail_fast", "big": 12345678901234567890.5}'
      when 3 then '{"buries": true}' else '{"journal": 3}' end::jsonb
  from generate_series(1, 20) run, generate_series(1, case run when 1 then 2500 else 120 end) seq`;

test("keeps every event as it was, in rows of 64 KB", async () => {
  await client.query(EVENTS);
  const before = await lines(SHOWN);
  expect(before).toHaveLength(2_500 + 19 * 120);
  expect((await migrate(database.url)).applied).toContain("007_packed_events");
  expect(await lines(SHOWN)).toEqual(before);
  const { rows } = await client.query(
    `select bool_and(octet_length(events) <= 64 * 1024 or first_seq = last_seq) as bounded,
       max(last_seq - first_seq) < 1000 as few, count(*)::int as rows, bool_and(kinds @> '{node_completed}' or first_seq = last_seq) as kinds
     from hitzero.events_packed`,
  );
  expect(rows).toEqual([{ bounded: true, few: true, rows: expect.any(Number), kinds: true }]);
  expect((rows[0] as { rows: number }).rows).toBeLessThan(400);
  const noted = await client.query(
    `select bool_and((kinds @> array[mark]) = exists (select 1 from hitzero.event_log e where e.run_id = p.run_id
       and e.seq between first_seq and last_seq and e.data ? mark)) as same
     from hitzero.events_packed p, unnest('{command,halted,buries}'::text[]) mark`,
  );
  expect(noted.rows).toEqual([{ same: true }]);
});

test("is refused while a run is open, and changes nothing then", async () => {
  await client.query(EVENTS);
  await client.query(`insert into hitzero.runs (run_id, partition, workflow_name, workflow_version, ir_digest, status)
    values (gen_random_uuid(), 0, 'w', 1, 'd', 'PAUSED'), (gen_random_uuid(), 0, 'w', 1, 'd', 'COMPLETED')`);
  const before = await lines(SHOWN);
  await expect(migrate(database.url)).rejects.toMatchObject({
    code: "RUNS_OPEN",
    exitCode: 3,
    message: expect.stringContaining("1 of them is not over"),
    hint: expect.stringContaining("cancel them"),
  });
  expect(await lines(SHOWN)).toEqual(before);
  expect(await lines("select name as line from hitzero.migrations where id = 7")).toEqual([]);
  await client.query("update hitzero.runs set status = 'CANCELLED' where status = 'PAUSED'");
  expect((await migrate(database.url)).applied).toContain("007_packed_events");
  expect(await lines(SHOWN)).toEqual(before);
});

test("lets read and write who could", async () => {
  const role = `reader_${crypto.randomUUID().slice(0, 8)}`;
  await client.query(`create role ${role}`);
  try {
    await client.query(
      `grant usage on schema hitzero to ${role}; grant select, insert on hitzero.event_log to ${role}`,
    );
    await client.query(EVENTS);
    await migrate(database.url);
    await client.query(`set role ${role}`);
    expect((await client.query("select count(*)::int as count from hitzero.event_log")).rows).toEqual([
      { count: 2_500 + 19 * 120 },
    ]);
    await client.query(`insert into hitzero.events_packed (run_id, first_seq, last_seq, last_at, kinds, events)
      select gen_random_uuid(), 1, 1, now(), kinds, events from hitzero.events_packed limit 1`);
    await client.query("reset role");
  } finally {
    await client.query(`drop owned by ${role}`);
    await client.query(`drop role ${role}`);
  }
});
