/** Tables by the time in run_id: how they come to be, what is in the way, and what an upgrade makes of the rows that were there. */
import { cp, mkdtemp, readdir } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { v7 as uuidv7 } from "uuid";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { createLog } from "../../src/base/log.ts";
import { LIMITS } from "../../src/engine/limits.ts";
import { PeriodMaker } from "../../src/engine/reader/periods.ts";
import { Database, isLockTimeout } from "../../src/postgres/database.ts";
import { readOutputBytes, readOutputs, recordFinals } from "../../src/postgres/finals.ts";
import { type MigrateOptions, migrate } from "../../src/postgres/migrate.ts";
import { PACKAGE_MIGRATIONS } from "../../src/postgres/migration_files.ts";
import { makePeriods, type PeriodOptions, readPeriodHealth } from "../../src/postgres/periods.ts";
import {
  readEndedChildren,
  readPaused,
  readRunStatuses,
  readRunsOnRecord,
  recordBlobs,
  recordStarts,
  recordStatuses,
} from "../../src/postgres/record.ts";
import { readNodeStatuses, recordExecutions } from "../../src/postgres/record_executions.ts";
import { listResults } from "../../src/postgres/runs.ts";
import { createEmptyDatabase, type TestDatabase } from "../support/database.ts";
import { until } from "../support/until.ts";

const MINUTE_MS = 60_000;
const TABLES = ["blobs", "events_packed", "node_executions", "run_statistics", "runs"];

let testDatabase: TestDatabase;
let client: pg.Client;
let database: Database;
beforeEach(async () => {
  testDatabase = await createEmptyDatabase();
  client = new pg.Client({ connectionString: testDatabase.url });
  await client.connect();
  database = new Database(testDatabase.url);
});
afterEach(async () => {
  await database.close();
  await client.end();
  await testDatabase.drop();
});

async function all<R extends pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<R[]> {
  return (await client.query<R>(sql, values)).rows;
}

const migrated = (options: MigrateOptions = { periodMs: MINUTE_MS, periodsAhead: 2 }) =>
  migrate(testDatabase.url, options);
const make = (options: Partial<PeriodOptions> = {}) =>
  makePeriods((work, settings) => database.transaction(work, settings), {
    ...{ widthMs: MINUTE_MS, ahead: 2, mostMoved: 100, ...options },
  });

interface Part extends pg.QueryResultRow {
  part: string;
  starts_at: Date;
  ends_at: Date;
}
const partsOf = (table: string) =>
  all<Part>(
    "select part, starts_at, ends_at from hitzero.v_periods where table_name = $1 and not is_default order by ends_at",
    [table],
  );
const timesOf = async (table: string) =>
  (await partsOf(table)).map(({ starts_at, ends_at }) => [+(starts_at ?? 0), +ends_at]);

/** A row in each of the tables, of a run of that time. */
async function record(at: number, status = "COMPLETED"): Promise<string> {
  const runId = uuidv7({ msecs: at });
  for (const sql of [
    `insert into hitzero.runs (run_id, partition, workflow_name, workflow_version, ir_digest, status) values ($1, 0, 'w', 1, 'd', '${status}')`,
    "insert into hitzero.node_executions (run_id, node_id, attempt, status, started_at, ended_at) values ($1, 'a', 1, 'COMPLETED', 'epoch', 'epoch')",
    `insert into hitzero.events_packed (run_id, first_seq, last_seq, last_at, kinds, events)
     values ($1, 1, 1, now(), '{run_started}', '[["INFO", "run_started", null, null, 5, "the run started", {"journal": 1}]]')`,
    "insert into hitzero.blobs (run_id, name, node_id, scope, bytes, content) values ($1, 'b', 'a', '', 4, 'null')",
    "insert into hitzero.run_statistics values ($1, 1, 1, 0, 0, 1, 1, 1)",
  ])
    await client.query(sql, [runId]);
  return runId;
}

/** In which tables the rows of a run are. */
async function placesOf(runId: string): Promise<string[]> {
  const places: string[] = [];
  for (const table of TABLES) {
    const rows = await all<{ place: string }>(
      `select relname::text as place from hitzero.${table} t join pg_class c on c.oid = t.tableoid where run_id = $1`,
      [runId],
    );
    places.push(...rows.map(({ place }) => place));
  }
  return places;
}

const contentsOf = async () => {
  const texts: string[] = [];
  for (const table of [...TABLES, "event_log", "v_run_timeline", "v_failed_executions"])
    texts.push(
      ...(
        await all<{ row: string }>(`select '${table}' || t::text as row from hitzero.${table} t order by t`)
      ).map(({ row }) => row),
    );
  return texts;
};

describe("periods", () => {
  test("are made without a gap, the same for each table, until there are enough", async () => {
    const from = Date.now();
    await migrated();
    const times = await timesOf("runs");
    for (const table of TABLES) expect(await timesOf(table)).toEqual(times);
    expect(times.length).toBeGreaterThanOrEqual(3);
    // The first is of now, and begins before it; then they follow each other.
    expect(times[0]?.[0]).toBeLessThan(from);
    expect(times[0]?.[1]).toBeGreaterThan(from);
    times.slice(1).forEach(([starts, ends], index) => {
      expect(starts).toBe(times[index]?.[1]);
      expect([(starts as number) % MINUTE_MS, (ends as number) - (starts as number)]).toEqual([0, MINUTE_MS]);
    });
    const [covered] = await all<{ enough: boolean }>(
      "select max(ends_at) >= now() + interval '2 minutes' - interval '10 seconds' as enough from hitzero.v_periods",
    );
    expect(covered?.enough).toBe(true);
    const at = Date.now();
    const runId = await record(at);
    const parts = await partsOf("runs");
    const now = parts.find(({ ends_at }) => +ends_at > at) as Part;
    expect((await placesOf(runId)).map((place) => place.replace(/_\d.*/, ""))).toEqual(TABLES);
    expect(await placesOf(runId)).toContain(now.part);
  });

  test("of a week begin on Monday, and go on from those of another width", async () => {
    await migrated();
    const before = await timesOf("runs");
    await make({ widthMs: 7 * 1_440 * MINUTE_MS, ahead: 3 });
    const times = await timesOf("runs");
    expect(times.slice(0, before.length)).toEqual(before);
    const added = times.slice(before.length);
    expect(added[0]?.[0]).toBe(before.at(-1)?.[1]);
    expect(added.length).toBeGreaterThanOrEqual(4);
    for (const [, ends] of added) {
      const end = new Date(ends as number);
      expect([end.getUTCDay(), (ends as number) % (1_440 * MINUTE_MS)]).toEqual([1, 0]);
    }
  });

  test("are made once, however many do so", async () => {
    await migrated();
    const options = { ahead: 20 };
    const wait = async (): Promise<unknown> =>
      make(options).catch((error: unknown) => (isLockTimeout(error) ? wait() : Promise.reject(error)));
    expect(await Promise.all([wait(), wait(), wait()])).toEqual(["enough", "enough", "enough"]);
    const times = await timesOf("runs");
    expect(new Set(times.map(([starts]) => starts)).size).toBe(times.length);
  });

  test("have what the tables have: indexes, room for updates, checks", async () => {
    await migrated();
    const shape = (part: string) =>
      all(
        `select (select array_agg(replace(indexdef, $1, 'PART') order by indexdef) from pg_indexes where tablename = $1) as indexes,
           reloptions, (select array_agg(pg_get_constraintdef(oid) order by 1) from pg_constraint where conrelid = c.oid) as checks
         from pg_class c where oid = ('hitzero.' || $1)::regclass`,
        [part],
      );
    for (const table of TABLES) {
      const [part] = await partsOf(table);
      expect(await shape((part as Part).part)).toEqual(await shape(`${table}_default`));
    }
    expect(await all("select reloptions from pg_class where relname = 'runs_default'")).toEqual([
      { reloptions: ["fillfactor=50"] },
    ]);
  });

  test("take the rows of their time from DEFAULT, unless there are too many", async () => {
    await migrated();
    const last = (await timesOf("runs")).at(-1)?.[1] as number;
    const strays = [await record(last + 1_000), await record(last + 2_000)];
    const far = await record(last + 1_000 * MINUTE_MS);
    const before = await contentsOf();
    expect(await placesOf(strays[0] as string)).toEqual(TABLES.map((table) => `${table}_default`));
    const ahead = Math.ceil((last - Date.now()) / MINUTE_MS) + 2;
    expect(await make({ ahead, mostMoved: 9 })).toBe("crowded");
    expect((await timesOf("runs")).at(-1)?.[1]).toBe(last);
    expect(await make({ ahead, mostMoved: 10 })).toBe("enough");
    const suffix = (await partsOf("runs"))
      .find(({ starts_at }) => +starts_at === last)
      ?.part.slice("runs".length);
    for (const runId of strays)
      expect(await placesOf(runId)).toEqual(TABLES.map((table) => `${table}${suffix}`));
    expect(await placesOf(far)).toEqual(TABLES.map((table) => `${table}_default`));
    expect(await contentsOf()).toEqual(before);
    expect((await readPeriodHealth(database)).crowded).toEqual(TABLES.map((table) => `${table}_default`));
  });

  test("give way to who reads for long, and need no rights but to ask", async () => {
    await migrated();
    const role = `plain_${crypto.randomUUID().slice(0, 8)}`;
    await client.query(`create role ${role} login; grant usage on schema hitzero to ${role};
      grant select, insert, update, delete on all tables in schema hitzero to ${role}`);
    const url = new URL(testDatabase.url);
    url.searchParams.set("options", `-c role=${role}`);
    const plain = new Database(url.href);
    const ahead = { widthMs: MINUTE_MS, ahead: 5, mostMoved: 0 };
    const makePlain = () => makePeriods((work, settings) => plain.transaction(work, settings), ahead);
    try {
      await client.query("begin; select count(*) from hitzero.runs_default");
      await expect(makePlain()).rejects.toSatisfy(isLockTimeout);
      await client.query("commit");
      expect(await makePlain()).toBe("enough");
      const owners = await all(
        "select distinct relowner = (select relowner from pg_class where oid = 'hitzero.runs'::regclass) as same from pg_class where relispartition",
      );
      expect(owners).toEqual([{ same: true }]);
    } finally {
      await client.query("rollback");
      await plain.close();
      await client.query(`drop owned by ${role}; drop role ${role}`);
    }
  });

  test("are made by a supervisor's service as time goes on; it says once what keeps it from doing so", async () => {
    await migrated();
    const last = (await timesOf("runs")).at(-1)?.[1] as number;
    await record(last + 1_000);
    const lines: object[] = [];
    const log = createLog("silent");
    log.warn = ((facts: object) => lines.push(facts)) as never;
    const over = new AbortController();
    const keep = async (strays: number) => {
      const limits = { ...LIMITS, periods: 10, strays };
      await new PeriodMaker(database, MINUTE_MS, limits, log, 0).keepMaking(over.signal);
    };
    const working = [keep(4)];
    await until(() => lines.length > 0, "it says what is in its way");
    expect(lines).toEqual([{ error: expect.stringContaining("migrate") }]);
    working.push(keep(5));
    await until(
      async () => ((await timesOf("runs")).at(-1)?.[1] as number) >= Date.now() + 9 * MINUTE_MS,
      "they are made",
    );
    over.abort();
    await Promise.all(working);
    expect(lines).toHaveLength(1);
  });
});

describe("one run is read from its period alone:", () => {
  /** Tables of which a plan reads, without their time. */
  const read = async (sql: string, values: unknown[]): Promise<string[]> => {
    const [{ "QUERY PLAN": plan } = {}] = await all<{ "QUERY PLAN": object }>(
      `explain (format json) ${sql}`,
      values,
    );
    return [...JSON.stringify(plan).matchAll(/"Relation Name":"(\w+)"/g)].map((match) => match[1] as string);
  };

  test.each([
    ["a run", "select * from hitzero.runs where run_id = $1"],
    ["runs in a list", "select * from hitzero.runs where run_id = any (array[$1::uuid])"],
    ["its events", "select * from hitzero.event_log where run_id = $1 order by seq"],
    ["its timeline", "select * from hitzero.v_run_timeline where run_id = $1"],
    [
      "executions with their outputs",
      "select 1 from hitzero.node_executions e left join hitzero.blobs b on b.run_id = e.run_id and b.name = e.output_blob where e.run_id = $1",
    ],
    [
      "a join with the run",
      "select 1 from hitzero.runs r join hitzero.event_log l using (run_id) where r.run_id = $1",
    ],
    [
      "ids of a join, told between which they are",
      "select 1 from unnest(array[$1::uuid]) as n (id) join hitzero.runs r on r.run_id = n.id and r.run_id between $1 and $1",
    ],
  ])("%s", async (_name, sql) => {
    await migrated({ periodMs: MINUTE_MS, periodsAhead: 10 });
    const runId = await record(Date.now());
    const own = await placesOf(runId);
    const tables = await read(sql, [runId]);
    expect(tables.length).toBeGreaterThan(0);
    for (const table of tables) expect(own).toContain(table);
  });
});

test("what a recorder asks of its runs locks tables of their time only, and is planned for no others", async () => {
  await migrated({ periodMs: MINUTE_MS, periodsAhead: 5 });
  const at = Date.now();
  const runIds = [await record(at, "PENDING"), await record(at, "RUNNING")];
  const [first = "", second = ""] = runIds;
  const own = new Set([...(await placesOf(first)), ...(await placesOf(second))]);
  const execution = { runId: first, nodeId: "b", scope: "" };
  const wanted = runIds.map((runId) => ({ runId, nodeId: "a", scope: null, last: true }));
  const nothing = {
    reason: null,
    workerId: null,
    startedAt: null,
    endedAt: at,
    output: "1",
    outputBlob: null,
  };
  await database.transaction(async (connection) => {
    await readRunsOnRecord(connection, 0, runIds);
    await readRunStatuses(connection, runIds);
    await readNodeStatuses(connection, [execution]);
    await recordExecutions(connection, [
      { ...execution, ...nothing, attempt: 1, status: "COMPLETED", error: null, fromNodes: [] },
    ]);
    await recordBlobs(connection, [{ ...execution, name: "c", content: "2" }]);
    await recordStarts(connection, [{ runId: first, at }]);
    await recordStatuses(connection, [{ runId: second, status: "PAUSED" }]);
    await readPaused(connection, runIds);
    await readOutputs(connection, wanted);
    await readOutputBytes(connection, wanted);
    await recordFinals(connection, [
      { runId: first, status: "COMPLETED", completedAt: at, output: "1", error: null },
    ]);
    await readEndedChildren(connection, runIds);
    await listResults(connection, runIds);
    const { rows } = await connection.query<{ part: string }>(
      `select distinct c.relname::text as part from pg_locks l join pg_class c on c.oid = l.relation
       where l.pid = pg_backend_pid() and c.relispartition and c.relkind = 'r'`,
    );
    expect(rows.length).toBeGreaterThan(2);
    for (const { part } of rows) expect(own).toContain(part);
  });
});

describe("the migration from a schema without periods", () => {
  beforeEach(async () => {
    const folder = await mkdtemp(join(inject("runFolder"), "migrations-"));
    const before = (await readdir(PACKAGE_MIGRATIONS)).filter((name) => name < "009");
    for (const name of before) await cp(join(PACKAGE_MIGRATIONS, name), join(folder, name));
    await migrate(testDatabase.url, { folder });
  });

  test("keeps every row, in one period of all that was; ids of no time are in DEFAULT", async () => {
    const old = [await record(Date.now() - 1_000 * 86_400_000), await record(Date.now() - 1_000)];
    // A child run's id was a UUIDv5: its first bits are of no time.
    const child = [await record(0xf00000000000), await record(5)];
    const before = await contentsOf();
    expect((await migrated()).applied).toEqual(["009_periods"]);
    expect(await contentsOf()).toEqual(before);
    const everywhere = (suffix: string) => TABLES.map((table) => `${table}_${suffix}`);
    for (const runId of [...old, child[1] as string])
      expect(await placesOf(runId)).toEqual(everywhere("before"));
    expect(await placesOf(child[0] as string)).toEqual(everywhere("default"));
    expect((await partsOf("runs"))[0]).toMatchObject({ part: "runs_before", starts_at: null });
    const young = await record(Date.now() + MINUTE_MS);
    expect(await placesOf(young)).not.toContain("runs_before");
    expect(await placesOf(young)).not.toContain("runs_default");
  });

  test("leaves nothing of an empty one", async () => {
    await migrated();
    expect(await all("select part from hitzero.v_periods where part like '%before%'")).toEqual([]);
    expect(await all("select relname from pg_class where relname like '%before%'")).toEqual([]);
  });

  test("is refused while a run is open, and changes nothing then", async () => {
    await client.query("insert into hitzero.open_runs (partition, run_id) values (0, $1)", [
      await record(Date.now(), "RUNNING"),
    ]);
    const before = await contentsOf();
    await expect(migrated()).rejects.toMatchObject({
      code: "RUNS_OPEN",
      exitCode: 3,
      message: expect.stringContaining("1 of them is not over"),
      hint: expect.stringContaining("cancel them"),
    });
    expect(await contentsOf()).toEqual(before);
    expect(await all("select 1 from hitzero.migrations where id = 9")).toEqual([]);
    await client.query("delete from hitzero.open_runs");
    expect((await migrated()).applied).toEqual(["009_periods"]);
    expect(await contentsOf()).toEqual(before);
  });

  test("lets read and write who could, through the views too", async () => {
    const role = `writer_${crypto.randomUUID().slice(0, 8)}`;
    await client.query(`create role ${role}`);
    try {
      await client.query(`grant usage on schema hitzero to ${role}; grant select, insert on hitzero.runs to ${role};
        grant select on hitzero.event_log, hitzero.v_failed_executions to ${role}`);
      await record(Date.now());
      await migrated();
      await client.query(`set role ${role}`);
      await client.query(
        "insert into hitzero.runs (run_id, partition, workflow_name, workflow_version, ir_digest) values ($1, 0, 'w', 1, 'd')",
        [uuidv7()],
      );
      expect(await all("select count(*)::int as count from hitzero.runs")).toEqual([{ count: 2 }]);
      expect(await all("select seq from hitzero.event_log")).toEqual([{ seq: "1" }]);
      await expect(all("select 1 from hitzero.blobs")).rejects.toThrow(/permission denied/);
      await client.query("reset role");
    } finally {
      await client.query("reset role");
      await client.query(`drop owned by ${role}`);
      await client.query(`drop role ${role}`);
    }
  });
});
