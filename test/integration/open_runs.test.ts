/** Runs that are not over have a row of their own, so that a change of status touches no index of `runs`. */
import { cp, mkdtemp, readdir } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { migrate } from "../../src/postgres/migrate.ts";
import { PACKAGE_MIGRATIONS } from "../../src/postgres/migration_files.ts";
import { countStartedRuns, countUnfinishedRuns } from "../../src/postgres/partitions.ts";
import { listQuiet, listRuns, listUnstarted } from "../../src/postgres/runs.ts";
import { RUN_STATUSES } from "../../src/token/lifecycle.ts";
import { createEmptyDatabase, type TestDatabase } from "../support/database.ts";
import { type HandJournal, startHandJournal } from "../support/hand_journal.ts";

/** `count` runs of each status, in turn. */
const RUNS = `insert into hitzero.runs (run_id, partition, workflow_name, workflow_version, ir_digest, status, submitted_at, started_at, completed_at, error)
  select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, n % 3, 'w', 1, 'd', s.status, now() - interval '1 hour',
    case when s.status <> 'PENDING' then now() - interval '30 minutes' end, case when s.place > 3 then now() end,
    case when s.status = 'FAILED' then '{"code": "X"}'::jsonb end
  from generate_series(1, 120) n
  join unnest('{PENDING,RUNNING,PAUSED,COMPLETED,FAILED,CANCELLED}'::text[]) with ordinality as s (status, place) on s.place = n % 6 + 1`;

describe("the migration from a schema without them", () => {
  let database: TestDatabase;
  let client: pg.Client;
  beforeEach(async () => {
    database = await createEmptyDatabase();
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await migrate(database.url, { folder: await folderUpTo("007") });
  });
  const folderUpTo = async (last: string) => {
    const folder = await mkdtemp(join(inject("runFolder"), "migrations-"));
    const names = (await readdir(PACKAGE_MIGRATIONS)).filter((name) => name.slice(0, 3) <= last);
    for (const name of names) await cp(join(PACKAGE_MIGRATIONS, name), join(folder, name));
    return folder;
  };
  afterEach(async () => {
    await client.end();
    await database.drop();
  });

  test("keeps all runs and events, and finds those that are open", async () => {
    await client.query(RUNS);
    await client.query(`insert into hitzero.events_packed (run_id, first_seq, last_seq, last_at, kinds, events)
      values (gen_random_uuid(), 1, 2, now(), '{run_started,node_failed}', '[["INFO","run_started",null,null,5,"the run started",{"journal":1}],["ERROR","node_failed","a","",6.25,"no",null]]')`);
    const shown = async () => ({
      runs: (
        await client.query("select to_jsonb(r) - 'unsuccessful' as row from hitzero.runs r order by run_id")
      ).rows,
      events: (await client.query("select e::text from hitzero.event_log e order by seq")).rows,
      active: (await client.query("select run_id, status, started_at from hitzero.v_active_runs order by 1"))
        .rows,
    });
    const before = await shown();
    expect(before.active).toHaveLength(60);
    expect((await migrate(database.url, { folder: await folderUpTo("008") })).applied).toEqual([
      "008_open_runs",
    ]);
    expect(await shown()).toEqual(before);
    const { rows } = await client.query(
      `select count(*)::int as open, count(o.started_at)::int as started, bool_and(o.submitted_at = r.submitted_at) as same
       from hitzero.open_runs o join hitzero.runs r using (run_id, partition)`,
    );
    expect(rows).toEqual([{ open: 60, started: 40, same: true }]);
  });

  test("lets accept and record runs who could", async () => {
    const role = `writer_${crypto.randomUUID().slice(0, 8)}`;
    await client.query(`create role ${role}`);
    try {
      await client.query(
        `grant usage on schema hitzero to ${role}; grant select, insert, update on hitzero.runs to ${role}`,
      );
      await migrate(database.url);
      await client.query(`set role ${role}`);
      await client.query("insert into hitzero.open_runs (partition, run_id) values (0, gen_random_uuid())");
      await client.query("update hitzero.open_runs set started_at = now()");
      await client.query("delete from hitzero.open_runs");
      await client.query("reset role");
    } finally {
      await client.query(`drop owned by ${role}`);
      await client.query(`drop role ${role}`);
    }
  });
});

describe("runs on record", () => {
  const DOCUMENT = {
    name: "by_hand",
    nodes: [{ id: "a", type: "function", config: { function_name: "f" } }],
    edges: [],
  };
  const started = (id: string) => ["s", JSON.stringify({ id, g: 1, q: 1, activated: [[0, ""]] })];
  const completed = (id: string, zero = "C") => [
    "f",
    JSON.stringify({
      ...{ id, g: 1, q: 2, node: 0, scope: "", attempt: 1, delivery: 1, outcome: "C", arrivals: "", zero },
    }),
    ...["d", JSON.stringify({ worker: "w", started_at: 10, ended_at: 20, from: [] }), "o", "j1"],
  ];
  let journal: HandJournal;
  beforeAll(async () => {
    journal = await startHandJournal();
  });
  afterAll(() => journal?.stop());
  const query = async (sql: string, values: unknown[] = []) =>
    (await journal.engine.database.query(sql, values)).rows;
  const life = async (runId: string) => [
    await query("select started_at is not null as started from hitzero.open_runs where run_id = $1", [runId]),
    await query(
      `select status, extract(epoch from started_at)::float8 as started, extract(epoch from completed_at)::float8 as completed, output
       from hitzero.runs where run_id = $1`,
      [runId],
    ),
  ];

  test("have a row from acceptance to the end, which names the start", async () => {
    const [runId] = (await journal.accept(DOCUMENT, 1)) as [string];
    const pending = { status: "PENDING", started: null, completed: null, output: null };
    expect(await life(runId)).toEqual([[{ started: false }], [pending]]);
    await journal.append([started(runId)]);
    await journal.drain();
    expect(await life(runId)).toEqual([[{ started: true }], [{ ...pending, status: "RUNNING", started: 1 }]]);
    await journal.append([completed(runId)], ["call", "c", "at", "3000"]);
    await journal.drain();
    expect(await life(runId)).toEqual([[], [{ status: "COMPLETED", started: 1, completed: 3, output: 1 }]]);
  });

  test("which start and end in one batch have both moments", async () => {
    const [runId] = (await journal.accept(DOCUMENT, 1)) as [string];
    await journal.append([started(runId)]);
    await journal.append([completed(runId)], ["call", "c", "at", "3000"]);
    expect(await journal.drain()).toEqual([2]);
    expect(await life(runId)).toEqual([[], [{ status: "COMPLETED", started: 1, completed: 3, output: 1 }]]);
    expect(await query("select wall_ms from hitzero.run_statistics where run_id = $1", [runId])).toEqual([
      { wall_ms: 2_000 },
    ]);
  });

  test("change their status without touching an index", async () => {
    const runIds = await journal.accept(DOCUMENT, 100);
    const indexed = await query(
      `select indexdef from pg_indexes where schemaname = 'hitzero'
         and tablename in (select part from hitzero.v_periods where table_name = 'runs')
       and indexdef ~ '\\m(status|started_at|completed_at)\\M'`,
    );
    expect(indexed).toEqual([]);
    const touching = async (sql: string, of: readonly string[]) =>
      journal.engine.database.transaction(async (client) => {
        const counted = async () => {
          const { rows } = await client.query<{ updated: number; hot: number }>(
            `select sum(n_tup_upd) as updated, sum(n_tup_hot_upd) as hot from pg_stat_xact_user_tables
             where schemaname = 'hitzero' and relname in (select part from hitzero.v_periods where table_name = 'runs')`,
          );
          return rows[0] as { updated: number; hot: number };
        };
        const before = await counted();
        await client.query("savepoint before");
        await client.query(sql, [of]);
        const after = await counted();
        await client.query("rollback to savepoint before");
        return [after.updated - before.updated, after.hot - before.hot];
      });
    const start = "update hitzero.runs set status = 'RUNNING', started_at = now() where run_id = any ($1)";
    expect(await touching(start, runIds.slice(0, 50))).toEqual([50, 50]);
    const complete =
      "update hitzero.runs set status = 'COMPLETED', completed_at = now() where run_id = any ($1)";
    expect(await touching(complete, runIds.slice(50, 90))).toEqual([40, 40]);
    const fail = "update hitzero.runs set status = 'FAILED', completed_at = now() where run_id = any ($1)";
    expect(await touching(fail, runIds.slice(90, 91))).toEqual([1, 0]);
  });

  test("are found by their status, each through the table that has them", async () => {
    await query(RUNS);
    await query(
      `insert into hitzero.open_runs (partition, run_id, submitted_at, started_at)
       select partition, run_id, submitted_at, started_at from hitzero.runs
       where workflow_name = 'w' and status in ('PENDING', 'RUNNING', 'PAUSED')`,
    );
    const { database } = journal.engine;
    for (const status of RUN_STATUSES) {
      const listed = await listRuns(database, { status, workflow: "w", limit: 15 });
      const wanted = await query(
        "select run_id from hitzero.runs where status = $1 and workflow_name = 'w' order by run_id desc limit 15",
        [status],
      );
      expect(listed.map(({ run_id }) => ({ run_id }))).toEqual(wanted);
      expect(wanted).toHaveLength(15);
    }
    const count = async (where: string) =>
      (await query(`select count(*) from hitzero.runs where ${where}`))[0]?.count as number;
    expect(await countUnfinishedRuns(database)).toBe(
      await count("status in ('PENDING', 'RUNNING', 'PAUSED')"),
    );
    expect(await countStartedRuns(database, 1)).toBe(
      await count("partition = 1 and status in ('RUNNING', 'PAUSED')"),
    );
    expect(await listUnstarted(database, 1, 1_000, 1_000)).toHaveLength(
      await count("partition = 1 and status = 'PENDING'"),
    );
    const quiet = await listQuiet(database, 1, { quietMs: 60_000, after: null, limit: 1_000 });
    expect(quiet).toHaveLength(await count("partition = 1 and status = 'RUNNING'"));
  });
});
