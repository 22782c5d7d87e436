/**
 * What the recorder asks Postgres for grows with its batch only, whatever the planner believes: where all runs on record are over, it thinks
 * that hardly any is PENDING or RUNNING, and once read the whole table for each batch and compared each row with each run of the batch.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Database, type Queryable, type Row } from "../../src/postgres/database.ts";
import { recordFinals } from "../../src/postgres/finals.ts";
import { recordStarts } from "../../src/postgres/record.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";

/** Runs that are over, and that stay open, beside those of a batch. */
const OVER = 8_000;
const OPEN = 8_000;
const BATCH = 500;
/** Rows that a statement may go through for each run of its batch, in all of its parts together. */
const ROWS_PER_RUN = 40;

let testDatabase: TestDatabase;
let database: Database;
beforeAll(async () => {
  testDatabase = await createTestDatabase();
  database = new Database(testDatabase.url);
});
afterAll(async () => {
  await database?.close();
  await testDatabase?.drop();
});

interface Plan {
  "Node Type": string;
  "Actual Rows": number;
  "Actual Loops": number;
  "Rows Removed by Filter"?: number;
  "Rows Removed by Join Filter"?: number;
  Plans?: Plan[];
}

/** Rows that a plan's nodes returned or threw away. */
function rowsOf(plan: Plan): number {
  const own =
    plan["Actual Rows"] + (plan["Rows Removed by Filter"] ?? 0) + (plan["Rows Removed by Join Filter"] ?? 0);
  return own * plan["Actual Loops"] + (plan.Plans ?? []).reduce((sum, below) => sum + rowsOf(below), 0);
}

/** Performs each statement twice: once to see how it was done, which is undone. */
function explaining(client: Queryable, seen: { sql: string; rows: number; plan: string }[]): Queryable {
  return {
    query: async <R extends Row>(sql: string, values?: unknown[]) => {
      await client.query("savepoint explained");
      const { rows } = await client.query<{ "QUERY PLAN": { Plan: Plan }[] }>(
        `explain (analyze, format json) ${sql}`,
        values,
      );
      await client.query("rollback to savepoint explained");
      const plan = rows[0]?.["QUERY PLAN"][0]?.Plan as Plan;
      seen.push({ sql, rows: rowsOf(plan), plan: JSON.stringify(plan, null, 1) });
      return client.query<R>(sql, values);
    },
  };
}

/** Accepts so many runs whose ids begin so; returns the ids. */
async function accept(count: number, begin: string, status: string): Promise<string[]> {
  const { rows } = await database.query<{ run_id: string }>(
    `insert into hitzero.runs (run_id, partition, workflow_name, workflow_version, ir_digest, status)
     select ($2 || lpad(to_hex(n), 12, '0'))::uuid, 0, 'plans', 1, 'digest', $3 from generate_series(1, $1) as n returning run_id`,
    [count, `${begin}-0000-7000-8000-`, status],
  );
  const runIds = rows.map(({ run_id }) => run_id);
  if (status !== "COMPLETED")
    await database.query(
      "insert into hitzero.open_runs (partition, run_id, started_at) select 0, unnest($1::uuid[]), $2",
      [runIds, status === "PENDING" ? null : new Date()],
    );
  return runIds;
}

test("starts and ends of runs cost the same, however many runs are over or open", async () => {
  await accept(OVER, "01000000", "COMPLETED");
  await database.query("vacuum analyze hitzero.runs");
  await accept(OPEN, "02000000", "RUNNING");
  await database.query("vacuum analyze hitzero.open_runs");
  const runIds = await accept(BATCH, "03000000", "PENDING");
  const seen: { sql: string; rows: number; plan: string }[] = [];
  const taken = await database.transaction(async (client) => {
    const explained = explaining(client, seen);
    await recordStarts(
      explained,
      runIds.map((runId) => ({ runId, at: 1_000 })),
    );
    return recordFinals(
      explained,
      runIds.map((runId) => ({ runId, status: "COMPLETED", completedAt: 2_000, output: "1", error: null })),
    );
  });
  expect(taken.size).toBe(BATCH);
  expect(seen.length).toBeGreaterThanOrEqual(2);
  for (const { rows, plan } of seen)
    if (rows > ROWS_PER_RUN * BATCH) throw new Error(`${rows} rows: ${plan}`);
  const { rows } = await database.query<{ status: string; runs: number; open: number }>(
    `select status, count(*)::int as runs, count(o.run_id)::int as open from hitzero.runs left join hitzero.open_runs o using (run_id)
     where run_id = any ($1::uuid[]) group by status`,
    [runIds],
  );
  expect(rows).toEqual([{ status: "COMPLETED", runs: BATCH, open: 0 }]);
});
