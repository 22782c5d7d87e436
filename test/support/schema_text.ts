/** The schema of a database as text: the same for the same schema, one thing per line. */

import type pg from "pg";

/**
 * Everything of schema `hitzero` that a migration can make: tables, columns, constraints, indexes, views, functions, triggers, comments. Left
 * out are partitions, which are as the table is of which they are a part.
 */
export async function schemaText(client: pg.Client): Promise<string> {
  // Definitions name their objects in full when no schema is searched.
  await client.query("set search_path to ''");
  const sections: string[] = [];
  for (const [title, sql] of SECTIONS) {
    const found = await lines(client, sql);
    if (title === "views") found.splice(0, found.length, ...found.map(withoutNeedlessTable));
    if (found.length > 0) sections.push(`## ${title}\n\n${found.join("\n")}\n`);
  }
  return sections.join("\n");
}

/** Postgres 15 names the table before each column of a view on one table, later ones do not: the shorter form is kept. */
function withoutNeedlessTable(view: string): string {
  const tables = [...view.matchAll(/(?:FROM|JOIN) (?:hitzero\.)?(\w+)/g)].map((match) => match[1]);
  return tables.length === 1
    ? view.replaceAll(new RegExp(`(?<!\\.)\\b${tables[0]}\\.(?=\\w)`, "g"), "")
    : view;
}

/** Tables, views and columns of schema `hitzero` that nobody explained by a comment. */
export async function uncommented(client: pg.Client): Promise<string[]> {
  return lines(
    client,
    `select c.relname || coalesce('.' || a.attname, '') as line
    from pg_class c
    cross join lateral (
      select null::name as attname, 0 as attnum
      union all
      select attname, attnum from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped
    ) a
    where c.relnamespace = 'hitzero'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
      and nullif(btrim(col_description(c.oid, a.attnum)), '') is null
      and (a.attnum > 0 or nullif(btrim(obj_description(c.oid, 'pg_class')), '') is null)
    order by 1`,
  );
}

async function lines(client: pg.Client, sql: string): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(sql);
  return rows.map((row) => row.line);
}

const OURS = "relnamespace = 'hitzero'::regnamespace";

const SECTIONS: readonly (readonly [title: string, sql: string])[] = [
  [
    "tables",
    `select format('%s (%s)%s: %s', relname,
        case relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view' else 'materialized view' end,
        coalesce(' by ' || pg_get_partkeydef(oid), '') || coalesce(' with ' || array_to_string(reloptions, ', '), ''),
        coalesce(obj_description(oid, 'pg_class'), '-')) as line
      from pg_class where ${OURS} and relkind in ('r', 'p', 'v', 'm') and not relispartition order by relname`,
  ],
  [
    "columns",
    `select format('%s.%s %s%s%s: %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
        case when a.attnotnull then ' not null' else '' end,
        case
          when a.attidentity <> '' then ' identity'
          when a.attgenerated <> '' then ' generated ' || pg_get_expr(d.adbin, d.adrelid)
          else coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
        end,
        coalesce(col_description(c.oid, a.attnum), '-')) as line
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
      where ${OURS} and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
      order by c.relname, a.attnum`,
  ],
  [
    "constraints",
    // Not-null constraints are rows of their own from Postgres 18 on; the columns tell them already.
    `select format('%s %s: %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) as line
      from pg_constraint where connamespace = 'hitzero'::regnamespace and contype <> 'n'
        and not exists (select from pg_class c where c.oid = conrelid and c.relispartition)
      order by conrelid::regclass::text, conname`,
  ],
  [
    "indexes",
    `select indexdef as line from pg_indexes where schemaname = 'hitzero'
      and not (select relispartition from pg_class c where c.${OURS} and c.relname = tablename) order by tablename, indexname`,
  ],
  [
    "views",
    `select format(E'%s:\\n%s', relname, pg_get_viewdef(oid, true)) as line
      from pg_class where ${OURS} and relkind in ('v', 'm') order by relname`,
  ],
  [
    "functions",
    `select pg_get_functiondef(oid) as line from pg_proc
      where pronamespace = 'hitzero'::regnamespace and prokind in ('f', 'p') order by proname, oid::regprocedure::text`,
  ],
  [
    "triggers",
    `select pg_get_triggerdef(t.oid) as line from pg_trigger t join pg_class c on c.oid = t.tgrelid
      where c.${OURS} and not t.tgisinternal order by c.relname, t.tgname`,
  ],
  [
    "types",
    `select format('%s: %s', t.typname,
        coalesce((select string_agg(enumlabel, ', ' order by enumsortorder) from pg_enum where enumtypid = t.oid),
          format_type(t.typbasetype, t.typtypmod))) as line
      from pg_type t where t.typnamespace = 'hitzero'::regnamespace and t.typtype in ('e', 'd') order by t.typname`,
  ],
  [
    "sequences",
    `select format('%s as %s', relname, format_type(s.seqtypid, null)) as line
      from pg_class join pg_sequence s on s.seqrelid = oid where ${OURS} order by relname`,
  ],
];
