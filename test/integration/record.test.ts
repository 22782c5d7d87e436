/** However a batch is written, the record is the same: copied or compared, packed or a row for each event. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BatchRows } from "../../src/engine/reader/batch_rows.ts";
import type { BatchRun } from "../../src/engine/reader/batch_run.ts";
import { CopyingRows } from "../../src/engine/reader/copying_rows.ts";
import { buildRecordBatch } from "../../src/engine/reader/record_batch.ts";
import type { RecordBatch } from "../../src/engine/reader/record_types.ts";
import { changesOf } from "../../src/engine/reader/state_changes.ts";
import { type Written, writeBatch } from "../../src/engine/reader/write_batch.ts";
import { canBeCopied } from "../../src/postgres/copied_executions.ts";
import type { Database, Queryable } from "../../src/postgres/database.ts";
import { EVENT_LEVELS, listEvents } from "../../src/postgres/events.ts";
import { readOutputBytes, readOutputs } from "../../src/postgres/finals.ts";
import type { EventRecord } from "../../src/postgres/packed_events.ts";
import { readNodeStatuses } from "../../src/postgres/record_executions.ts";
import { decodeRawEntry, type JournalEntry, runOf, splitJournalEntry } from "../../src/token/journal.ts";
import { type HandJournal, startHandJournal } from "../support/hand_journal.ts";
import { until } from "../support/until.ts";

const json = JSON.stringify;

/** The events of a batch in a table as it was before they were packed, written as they were then. */
const FORMER_TABLE = `create table public.former_events (run_id uuid not null, seq bigint not null, level text not null, event_type text not null,
  node_id text, scope text, at timestamptz not null, message text not null, data jsonb, primary key (run_id, seq))`;
const FORMER_INSERT = `insert into public.former_events (run_id, seq, level, event_type, node_id, scope, at, message, data)
  select "runId", seq, level, "eventType", "nodeId", scope, to_timestamp(at / 1000), message, data
  from json_to_recordset($1::json) as new ("runId" uuid, seq bigint, level text, "eventType" text, "nodeId" text, scope text,
    at double precision, message text, data jsonb)`;

/** All that a batch writes, as text, row by row; of packed events, whose texts differ, what is told beside them. */
async function record(client: Queryable): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  const tables = ["node_executions", "event_log", "runs", "open_runs", "run_statistics", "blobs"];
  const packed = "(select run_id, first_seq, last_seq, last_at, kinds from hitzero.events_packed)";
  for (const table of [...tables.map((name) => `hitzero.${name}`), packed]) {
    const { rows } = await client.query<{ line: string }>(
      `select t::text as line from ${table} t order by 1`,
    );
    found[table] = rows.map(({ line }) => line);
  }
  return found;
}

/** What the record is once a batch is written; then all is as before. */
async function tryOut(database: Database, write: Parameters<Database["transaction"]>[0]) {
  let found: Record<string, string[]> = {};
  let written: unknown;
  await database.transaction(async (client) => {
    await client.query("savepoint before");
    written = await write(client);
    found = await record(client);
    await client.query("rollback to savepoint before");
  });
  return { found, written: written as Written };
}

describe("runs of a real worker", () => {
  const node = (id: string, function_name: string, more: object = {}) => ({
    id,
    type: "function",
    config: { function_name },
    ...more,
  });
  const edge = (from: string, to: string, more: object = {}) => ({ from, to, ...more });
  const WORKFLOWS = [
    {
      name: "chain",
      nodes: [node("a", "say"), node("b", "nothing"), node("c", "say")],
      edges: [edge("a", "b"), edge("b", "c")],
    },
    {
      name: "skips",
      nodes: [node("a", "say"), node("yes", "say"), node("no", "say"), node("after", "say")],
      edges: [
        edge("a", "yes", { condition: "output.n == 1" }),
        edge("a", "no", { condition: "output.n == 2" }),
        edge("no", "after"),
      ],
    },
    { name: "fails", nodes: [node("a", "fail"), node("b", "say")], edges: [edge("a", "b")] },
    { name: "large", nodes: [node("a", "large"), node("b", "say")], edges: [edge("a", "b")] },
    { name: "slow", nodes: [node("a", "slow"), node("b", "say")], edges: [edge("a", "b")] },
    {
      name: "stops",
      nodes: [node("a", "fail"), node("b", "slow"), node("c", "say")],
      edges: [edge("b", "c")],
      fail_fast: true,
    },
    {
      name: "waits",
      nodes: [node("a", "say"), { id: "w", type: "signal", config: { name: "go" } }],
      edges: [edge("a", "w")],
    },
  ];
  const handlers = {
    say: () => ({ n: 1, text: 'é€😀 \\ " \n', list: [1.5, null, true] }),
    nothing: () => null,
    fail: () => {
      throw new Error("no \\u0041 \u{1f600}");
    },
    large: () => "x".repeat(100_000),
    slow: () => new Promise((resolve) => setTimeout(resolve, 300)),
  };

  let journal: HandJournal;
  let entries: JournalEntry[];
  let runs: ReadonlyMap<string, BatchRun>;
  let batch: RecordBatch;
  const events: EventRecord[] = [];
  /** Keeps the events as they are before they are packed. */
  class KeepingRows extends BatchRows {
    protected override pack(record: EventRecord): void {
      events.push(record);
      super.pack(record);
    }
  }
  let runIds: string[];
  beforeAll(async () => {
    journal = await startHandJournal({ workers: 1, handlers });
    const { client } = journal.engine;
    runIds = [];
    for (const workflow of WORKFLOWS) {
      const registered = await client.register(workflow);
      runIds.push(...(await client.submit(registered, { count: 3, input: { n: 1 } })).runIds);
    }
    const over = async () => {
      const raw = await journal.partition.readJournal(0, 10_000);
      entries = raw.map(([id, fields]) => decodeRawEntry(splitJournalEntry(id, fields)));
      const ended = entries.flatMap(({ events }) =>
        events.filter((event) => event.kind !== "running" && "zero" in event.step && event.step.zero),
      );
      const parked = entries.flatMap(({ events }) => events.filter(({ kind }) => kind === "parked"));
      return ended.length === runIds.length - 3 && parked.length === 3;
    };
    await until(over, "all runs but those that wait are over");
    ({ runs } = await journal.runs.sort(entries));
    batch = buildRecordBatch(entries, find, new KeepingRows());
  });
  afterAll(() => journal?.stop());

  const find = (runId: string) => runs.get(runId);
  const blobs = {
    bytesOf: () => 0,
    read: (runId: string, name: string) => journal.partition.readBlob(runId, name),
  };

  test("are recorded the same, copied or compared with what is on record", async () => {
    const write = async (rows: BatchRows) => {
      const built = buildRecordBatch(entries, find, rows);
      const { found, written } = await tryOut(journal.engine.database, (client) =>
        writeBatch(client, built, blobs),
      );
      const changes = changesOf(entries, find, (runId) => runs.get(runId)?.status, written)(() => true);
      return { found, changes, pausedParents: written.pausedParents, built };
    };
    const { built: byBytes, ...copied } = await write(new CopyingRows(runs));
    const { built: byRecords, ...compared } = await write(new BatchRows());
    expect(copied).toEqual(compared);
    expect(byBytes.copied?.count).toBeGreaterThan(byBytes.executions.length);
    expect(byRecords.copied).toBeUndefined();
    // The short form of an event, and totals that were not counted, are among them.
    expect(byBytes.events.some(({ events }) => /[[,]\[\d/.test(events))).toBe(true);
    expect(byBytes.zeroHits.some(({ totals }) => totals !== undefined)).toBe(true);
    expect(byBytes.zeroHits.some(({ totals }) => totals === undefined)).toBe(true);
    // Of each way of writing there is something.
    const kinds = (is: boolean) =>
      new Set(batch.executions.flatMap((one) => (canBeCopied(one) === is ? [one.status] : [])));
    expect([...kinds(true)].sort()).toEqual(["COMPLETED", "FAILED", "SKIPPED"]);
    expect([...kinds(false)]).toEqual(expect.arrayContaining(["COMPLETED", "WAITING"]));
  });

  test("show the events that a table of them held, in the same columns", async () => {
    const { database } = journal.engine;
    // Of most runs a batch holds some steps only.
    journal.pace.limit = 2;
    journal.pace.most = 2;
    expect((await journal.drain()).length).toBeGreaterThan(10);
    await database.query(FORMER_TABLE);
    await database.query(FORMER_INSERT, [json(events)]);
    const all = async (table: string) =>
      (await database.query<{ line: string }>(`select t::text as line from ${table} t order by run_id, seq`))
        .rows;
    const shown = await all("hitzero.event_log");
    expect(shown).toHaveLength(events.length);
    expect(shown).toEqual(await all("public.former_events"));
    const columns = async (table: string) =>
      (
        await database.query(
          `select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = $1::regclass and attnum > 0 order by attnum`,
          [table],
        )
      ).rows;
    expect(await columns("hitzero.event_log")).toEqual(await columns("public.former_events"));
  });

  test("have the totals that a count of their executions gives, though most are never counted", async () => {
    const { database } = journal.engine;
    const counted = `select run_id, count(*)::int as executions, count(*) filter (where e.status = 'COMPLETED')::int as completed,
        count(*) filter (where e.status = 'FAILED')::int as failed, count(*) filter (where e.status = 'SKIPPED')::int as skipped,
        coalesce(sum(duration_ms), 0) as handler_ms,
        count(*) filter (where e.status in ('COMPLETED', 'FAILED'))::int as completion_checks_saved
      from hitzero.node_executions e join hitzero.runs r using (run_id)
      where r.completed_at is not null group by run_id order by run_id`;
    const { rows } = await database.query(
      `select run_id, executions, completed, failed, skipped, handler_ms, completion_checks_saved
       from hitzero.run_statistics order by run_id`,
    );
    expect(rows).toHaveLength(runIds.length - 3);
    expect(rows).toEqual((await database.query(counted)).rows);
  });

  test("list the events that the view shows: from a number on, of a level, so many", async () => {
    const { database } = journal.engine;
    for (const runId of runIds) {
      for (const level of EVENT_LEVELS) {
        for (const after of [0, 1, 3]) {
          for (const limit of [1, 2, 100]) {
            const { rows } = await database.query(
              `select seq, level, event_type, node_id, scope, floor(extract(epoch from at) * 1000)::bigint as at, message, data
               from hitzero.event_log where run_id = $1 and seq > $2 and level = any ($3) order by seq limit $4`,
              [runId, after, EVENT_LEVELS.slice(EVENT_LEVELS.indexOf(level)), limit],
            );
            const listed = await listEvents(database, runId, { after, level, limit });
            expect(listed.map((event) => ({ ...event, at: event.at.getTime() }))).toEqual(rows);
          }
        }
      }
    }
  });

  test("are all runs of the journal", () => {
    expect(new Set(entries.flatMap(({ events }) => events.map(runOf)))).toEqual(new Set(runIds));
  });
});

describe("what is on record already", () => {
  const DOCUMENT = {
    name: "by_hand",
    nodes: [
      { id: "a", type: "function", config: { function_name: "f" } },
      { id: "b", type: "function", config: { function_name: "f" } },
    ],
    edges: [{ from: "a", to: "b" }],
  };
  const event = (name: string, body: object, ...more: string[]) => [name, json(body), ...more];
  const started = (id: string) => event("s", { id, g: 1, q: 1, activated: [[0, ""]] });
  const completed = (id: string, q: number, node: number, more: object, output = 'j"fine"') =>
    event(
      "f",
      { id, g: 1, q, node, scope: "", attempt: 1, delivery: 1, outcome: "C", arrivals: "=", ...more },
      ...["d", json({ worker: "w", started_at: 10, ended_at: 20, from: [] }), "o", output],
    );

  let journal: HandJournal;
  beforeAll(async () => {
    journal = await startHandJournal();
  });
  afterAll(() => journal?.stop());

  const query = async (sql: string, values: unknown[] = []) =>
    (await journal.engine.database.query(sql, values)).rows;
  const executions = (runId: string) =>
    query(
      "select node_id, status, worker_id, output from hitzero.node_executions where run_id = $1 order by 1",
      [runId],
    );
  const refusals = () => query("select * from hitzero.refused_entries");

  test("an execution that was not expected there is moved on, with the rest of its batch, in one transaction", async () => {
    const [runId, other] = (await journal.accept(DOCUMENT, 2)) as [string, string];
    await journal.append([started(runId), started(other)]);
    await journal.drain();
    await query(
      `insert into hitzero.node_executions (run_id, node_id, attempt, status, worker_id) values ($1, 'a', 1, 'RUNNING', 'earlier')`,
      [runId],
    );
    await journal.append([completed(runId, 2, 0, {}), completed(other, 2, 0, {})]);
    await journal.append([completed(runId, 3, 1, { zero: "C" }), completed(other, 3, 1, { zero: "C" })]);
    expect(await journal.drain()).toEqual([2]);
    const whole = ["a", "b"].map((id) => ({
      ...{ node_id: id, status: "COMPLETED", worker_id: "w", output: "fine" },
    }));
    expect(await executions(runId)).toEqual(whole);
    expect(await executions(other)).toEqual(whole);
    expect(await refusals()).toEqual([]);
  });

  test("an execution that waited has the same record, whether that was in the same batch or before", async () => {
    const [together, apart] = (await journal.accept(DOCUMENT, 2)) as [string, string];
    const waiting = (id: string) =>
      event(
        "p",
        { id, g: 1, q: 2, node: 0, scope: "", attempt: 1, delivery: 1, park: "c", activated: [] },
        "d",
        json({ worker: "v", started_at: 3, ended_at: 5, from: [] }),
        ...["o", ""],
      );
    await journal.append([started(together), started(apart), waiting(apart)]);
    await journal.drain();
    await journal.append([waiting(together), completed(together, 3, 0, {}), completed(apart, 3, 0, {})]);
    await journal.append([together, apart].map((id) => completed(id, 4, 1, { zero: "C" })));
    expect(await journal.drain()).toEqual([2]);
    const rows = (id: string) =>
      query(
        "select to_jsonb(e) - 'run_id' as row from hitzero.node_executions e where run_id = $1 order by node_id",
        [id],
      );
    expect(await rows(together)).toEqual(await rows(apart));
    expect(await rows(together)).toMatchObject([
      { row: { node_id: "a", status: "COMPLETED", duration_ms: 17 } },
      { row: { node_id: "b", duration_ms: 10 } },
    ]);
  });

  test("an execution that is over stays as it is", async () => {
    const [runId] = (await journal.accept(DOCUMENT, 1)) as [string];
    await journal.append([started(runId)]);
    await journal.drain();
    await query(
      `insert into hitzero.node_executions (run_id, node_id, attempt, status, worker_id) values ($1, 'a', 1, 'CANCELLED', 'earlier')`,
      [runId],
    );
    await journal.append([completed(runId, 2, 0, {}), completed(runId, 3, 1, { zero: "C" })]);
    expect(await journal.drain()).toEqual([1]);
    expect((await executions(runId))[0]).toMatchObject({ status: "CANCELLED", worker_id: "earlier" });
    expect(await refusals()).toEqual([]);
  });

  test("entries whose commit was not heard of are not written again: the reader finds that the offset moved", async () => {
    const runIds = await journal.accept(DOCUMENT, 2);
    const before = { ...journal.ledger.row };
    await journal.append(runIds.map(started));
    await journal.append(runIds.map((id) => completed(id, 2, 0, {})));
    // As if the answer to the commit were lost: Postgres has it all, the recorder's row does not move, the journal is not cut.
    const raw = await journal.partition.readJournal(0, 1_000);
    expect(await journal.drain()).toEqual([2]);
    const rows = await query("select * from hitzero.node_executions order by run_id, node_id");
    const events = await query("select * from hitzero.event_log order by run_id, seq");
    const { keys } = journal.partition;
    await journal.connection.redis.del(keys.journal);
    for (const [id, fields] of raw) await journal.connection.redis.xadd(keys.journal, id, ...fields);
    Object.assign(journal.ledger.row, before);
    await expect(journal.recorder.recordNext()).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(await query("select * from hitzero.node_executions order by run_id, node_id")).toEqual(rows);
    expect(await query("select * from hitzero.event_log order by run_id, seq")).toEqual(events);
    expect(await refusals()).toEqual([]);
    // Whoever comes next goes on behind them.
    await journal.takeOver();
    await journal.append(runIds.map((id) => completed(id, 3, 1, { zero: "C" })));
    expect(await journal.drain()).toEqual([1]);
    expect(await journal.engine.client.waitAll(runIds)).toEqual({ COMPLETED: 2 });
  });

  test("beside an event at fault it is moved on, and only that event is set aside", async () => {
    const [twice, bad, fine] = (await journal.accept(DOCUMENT, 3)) as [string, string, string];
    await journal.append([started(twice), started(bad), started(fine)]);
    await journal.drain();
    await query(
      `insert into hitzero.node_executions (run_id, node_id, attempt, status) values ($1, 'a', 1, 'RUNNING')`,
      [twice],
    );
    await journal.append([
      completed(twice, 2, 0, {}),
      completed(bad, 2, 0, {}, 'j"\\u0000"'),
      completed(fine, 2, 0, {}),
    ]);
    await journal.append([twice, bad, fine].map((id) => completed(id, 3, 1, { zero: "C" })));
    await journal.drain();
    expect(await journal.engine.client.waitAll([twice, bad, fine])).toEqual({ COMPLETED: 2, FAILED: 1 });
    expect(await refusals()).toMatchObject([{ run_id: bad, node_id: "a", code: "RECORD_REFUSED" }]);
    expect((await executions(twice)).map(({ status }) => status)).toEqual(["COMPLETED", "COMPLETED"]);
  });
});

describe("what the view could not show", () => {
  let journal: HandJournal;
  beforeAll(async () => {
    journal = await startHandJournal();
  });
  afterAll(() => journal?.stop());
  const DOCUMENT = {
    name: "unfit",
    nodes: [{ id: "a", type: "function", config: { function_name: "f" } }],
    edges: [],
  };
  const completed = (id: string, arrivals: string) => [
    ...[
      "f",
      json({
        id,
        g: 1,
        q: 2,
        node: 0,
        scope: "",
        attempt: 1,
        delivery: 1,
        outcome: "C",
        arrivals,
        zero: "C",
      }),
    ],
    ...["d", json({ worker: "w", started_at: 10, ended_at: 20, from: [] }), "o", "j1"],
  ];

  test.each([
    ["NUL", "\u0000", undefined, "22P05"],
    ["half a character", "\ud83d", undefined, "22P02"],
    ["a moment after the end of time", "=", ["call", "late", "at", "1e300"], "22008"],
  ])("%s is refused when it comes", async (_name, arrivals, head, code) => {
    const { client, database } = journal.engine;
    const [bad, fine] = (await journal.accept(DOCUMENT, 2)) as [string, string];
    await journal.append([bad, fine].map((id) => ["s", json({ id, g: 1, q: 1, activated: [[0, ""]] })]));
    await journal.append([completed(fine, "=")]);
    await journal.append([completed(bad, arrivals)], head);
    await journal.drain();
    expect(await client.waitAll([bad, fine])).toEqual({ COMPLETED: 1, FAILED: 1 });
    expect((await client.getRun(bad)).error).toMatchObject({ message: expect.stringContaining(code) });
    const { rows } = await database.query(
      "select event_type, data, at from hitzero.event_log where run_id = any ($1::uuid[]) order by run_id = $2, seq",
      [[bad, fine], bad],
    );
    expect(rows.map(({ event_type }) => event_type)).toEqual([
      ...["run_started", "node_completed", "run_completed"],
      ...["run_started", "run_failed"],
    ]);
  });
});

/** Rows of a table that this reads. */
async function rowsRead<T>(
  database: Database,
  table: string,
  work: (client: Queryable) => Promise<T>,
): Promise<{ found: T; rows: number }> {
  return database.transaction(async (client) => {
    const count = async () => {
      const { rows } = await client.query<{ rows: number }>(
        `select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) as rows from pg_stat_xact_user_tables
         where schemaname = 'hitzero' and relname in (select part from hitzero.v_periods where table_name = $1)`,
        [table],
      );
      return rows[0]?.rows as number;
    };
    const before = await count();
    return { found: await work(client), rows: (await count()) - before };
  });
}

test("executions and outputs of runs are read one by one, however many others are on record", async () => {
  const journal = await startHandJournal();
  const { database } = journal.engine;
  await database.query(
    `insert into hitzero.node_executions (run_id, node_id, attempt, status, output)
     select ('00000000-0000-7000-8000-' || lpad(run::text, 12, '0'))::uuid, 'n' || node, 1, 'COMPLETED', '1'
     from generate_series(1, 400) run, generate_series(1, 50) node`,
  );
  const wanted = Array.from({ length: 100 }, (_none, index) => ({
    ...{ runId: `00000000-0000-7000-8000-${String(index + 1).padStart(12, "0")}`, nodeId: "n7" },
    ...{ scope: null, last: true },
  }));
  const outputs = await rowsRead(database, "node_executions", (client) => readOutputs(client, wanted));
  expect(outputs.found).toHaveLength(100);
  expect(outputs.rows).toBe(100);
  const bytes = await rowsRead(database, "node_executions", (client) => readOutputBytes(client, wanted));
  expect(bytes.found.size).toBe(100);
  expect(bytes.rows).toBe(100);
  const places = wanted.map(({ runId, nodeId }) => ({ runId, nodeId, scope: "" }));
  const known = await rowsRead(database, "node_executions", (client) => readNodeStatuses(client, places));
  expect(known.found).toHaveLength(100);
  expect(known.rows).toBe(100);
  await journal.stop();
});

describe("a run of 100,001 events in 1,001 rows", () => {
  let journal: HandJournal;
  const runId = "00000000-0000-7000-8000-000000000001";
  beforeAll(async () => {
    journal = await startHandJournal();
    await journal.engine.database.query(
      `insert into hitzero.events_packed (run_id, first_seq, last_seq, last_at, kinds, events)
       select $1, part * 100 + 1, part * 100 + 100, now(), '{node_completed}',
         (select json_agg(json_build_array('INFO', 'node_completed', 'a', part * 100 + n, 0, 'm', '{}'::json)) from generate_series(1, 100) n)
       from generate_series(0, 999) part`,
      [runId],
    );
    await journal.engine.database.query(
      `insert into hitzero.events_packed (run_id, first_seq, last_seq, last_at, kinds, events)
       values ($1, 100001, 100001, now(), '{run_failed}', '[["ERROR", "run_failed", null, null, 0, "m", {}]]')`,
      [runId],
    );
  });
  afterAll(() => journal?.stop());

  const reads = <T>(work: (client: Queryable) => Promise<T>) =>
    rowsRead(journal.engine.database, "events_packed", work);

  test("is followed by reading what is new", async () => {
    const { found, rows } = await reads((client) => listEvents(client, runId, { after: 99_850 }));
    expect(found.map(({ seq }) => seq)).toEqual(
      Array.from({ length: 151 }, (_none, index) => 99_851 + index),
    );
    expect(rows).toBe(3);
  });

  test("is listed page by page, each of which reads its own rows", async () => {
    const { found, rows } = await reads((client) => listEvents(client, runId, { after: 50_000, limit: 500 }));
    expect(found.map(({ seq, scope }) => [seq, scope])).toEqual(
      Array.from({ length: 500 }, (_none, index) => [50_001 + index, String(50_001 + index)]),
    );
    // A row holds up to 1,000 events, so at most these rows can hold the next 500.
    expect(rows).toBeLessThanOrEqual((500 + 1_000) / 100);
  });

  test("is searched to its end for a level", async () => {
    expect(await listEvents(journal.engine.database, runId, { level: "ERROR" })).toMatchObject([
      { seq: 100_001, event_type: "run_failed" },
    ]);
  });

  test("is shown whole by the view, and other runs are not read for it", async () => {
    const { found, rows } = await reads((client) =>
      client.query("select count(*), min(seq), max(seq) from hitzero.event_log where run_id = $1", [
        crypto.randomUUID(),
      ]),
    );
    expect(found.rows).toEqual([{ count: 0, min: null, max: null }]);
    expect(rows).toBe(0);
    const whole =
      "select count(*), min(seq), max(seq), count(distinct seq) as numbers from hitzero.event_log where run_id = $1";
    expect((await journal.engine.database.query(whole, [runId])).rows).toEqual([
      { count: 100_001, min: 1, max: 100_001, numbers: 100_001 },
    ]);
  });
});
