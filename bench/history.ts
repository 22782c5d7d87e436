/**
 * A long history, made inside of Postgres: rows of runs that were performed are copied under new ids, so that each copy has the rows, the
 * events and the statistics that its original has.
 */
import { teller } from "./progress.ts";
import type { Rig } from "./rig.ts";

/** What a finished run has rows in. */
const TABLES = ["runs", "node_executions", "events_packed", "run_statistics"] as const;
const COPIED_AT_ONCE = 20_000;
/** Ids of the copies are of the hour before. */
const AGE_MS = 3_600_000;

/**
 * Copies runs of a workflow until so many executions are on record besides those that are.
 * @throws Error when there are fewer afterwards
 */
export async function fillHistory(
  rig: Rig,
  workflow: string,
  steps: number,
  onNotice: (line: string) => void,
): Promise<void> {
  const { database } = rig;
  const { rows } = await database.query<{ runs: number; steps: number }>(
    `select count(distinct run_id)::int as runs, count(*)::int as steps
      from hitzero.runs join hitzero.node_executions using (run_id) where workflow_name = $1`,
    [workflow],
  );
  const [runs, stepsOfAll] = [rows[0]?.runs ?? 0, rows[0]?.steps ?? 0];
  if (stepsOfAll === 0) throw new Error(`there is no run of ${workflow} to copy`);
  const wanted = Math.ceil((steps * runs) / stepsOfAll);
  const columns = await columnsOf(rig);
  const before = await countSteps(rig);
  const tell = teller(steps, "steps are copied into the record", onNotice);
  for (let copied = 0; copied < wanted; ) {
    const size = Math.min(COPIED_AT_ONCE, wanted - copied);
    await database.query(copyStatement(columns), [workflow, runs, size, AGE_MS]);
    copied += size;
    tell(Math.floor((copied * stepsOfAll) / runs));
  }
  // What Postgres does by itself after so many rows, and would do within the samples.
  onNotice("large: vacuum and analyze");
  for (const table of TABLES) await database.query(`vacuum analyze hitzero.${table}`);
  const made = (await countSteps(rig)) - before;
  if (made < steps) throw new Error(`${made} steps were copied instead of ${steps}`);
}

/** Columns that are written, without the run's id, by table. */
async function columnsOf(rig: Rig): Promise<Map<string, string[]>> {
  const { rows } = await rig.database.query<{ table: string; columns: string[] }>(
    `select table_name as table, array_agg(quote_ident(column_name) order by ordinal_position) as columns
      from information_schema.columns
      where table_schema = 'hitzero' and table_name = any ($1) and is_generated = 'NEVER' and column_name <> 'run_id'
      group by table_name`,
    [TABLES],
  );
  return new Map(rows.map(({ table, columns }) => [table, columns]));
}

/** One statement for a part of the copies: originals in turn, each under a version 7 UUID of its own. */
function copyStatement(columns: ReadonlyMap<string, readonly string[]>): string {
  const inserts = [...columns].map(
    ([table, names], index) => `, copy_${index} as (
      insert into hitzero.${table} (run_id, ${names.join(", ")})
      select made.run_id, ${names.map((name) => `t.${name}`).join(", ")}
      from made join hitzero.${table} t on t.run_id = made.original)`,
  );
  return `
    with originals as materialized (
      select run_id, row_number() over (order by run_id) as place from hitzero.runs where workflow_name = $1
    ), ids as materialized (
      select 1 + (number % $2::int) as place, lpad(to_hex(
          (extract(epoch from clock_timestamp()) * 1000 - random() * $4::float8)::bigint), 12, '0') as time,
        md5(random()::text || number) as noise
      from generate_series(1, $3::int) as number
    ), made as materialized (
      select o.run_id as original,
        (i.time || '7' || substr(i.noise, 1, 3) || 'a' || substr(i.noise, 4, 15))::uuid as run_id
      from ids i join originals o using (place)
    )${inserts.join("")}
    select count(*) from made`;
}

async function countSteps(rig: Rig): Promise<number> {
  const { rows } = await rig.database.query<{ steps: string }>(
    "select count(*) as steps from hitzero.node_executions",
  );
  return Number(rows[0]?.steps);
}
