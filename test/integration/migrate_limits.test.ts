/** A migration has an end: on a Postgres that falls silent, behind somebody's lock, and when it lasts; but a long one is let work. */
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { type MigrateLimits, migrate } from "../../src/postgres/migrate.ts";
import { createEmptyDatabase, type TestDatabase } from "../support/database.ts";
import { type Link, startLink } from "../support/link.ts";
import { until } from "../support/until.ts";

let database: TestDatabase;
let client: pg.Client;
let link: Link;
let folder: string;
beforeEach(async () => {
  database = await createEmptyDatabase();
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
  link = await startLink(database.url);
  folder = await mkdtemp(join(inject("runFolder"), "migrations-"));
  await writeFile(
    join(folder, "001_first.sql"),
    "create table hitzero.partitions (partition int primary key)",
  );
});
afterEach(async () => {
  await link.close();
  await client.end();
  await database.drop();
});

const next = (sql: string) => writeFile(join(folder, "002_next.sql"), sql);
const rows = async (sql: string) => (await client.query(sql)).rows;
const limits = (changed: Partial<MigrateLimits>): MigrateLimits => ({
  answerMs: 60_000,
  workMs: 600_000,
  lockMs: 60_000,
  ...changed,
});
const unreachable = {
  code: "SERVER_UNREACHABLE",
  exitCode: 3,
  message: expect.stringContaining("Postgres at 127.0.0.1:"),
};
const sleeping = async () =>
  (await rows("select 1 from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"))
    .length > 0;

describe("a Postgres that falls silent ends it", () => {
  test("between two migrations; the next call goes on", async () => {
    await next("create table hitzero.next (id int)");
    const silenced = migrate(link.url, {
      folder,
      limits: limits({ answerMs: 2_000 }),
      onApplied: () => link.silence("to_client"),
    });
    await expect(silenced).rejects.toMatchObject(unreachable);
    await until(() => link.open === 0, "nothing stays open");
    link.speak();
    expect((await migrate(link.url, { folder })).applied).toEqual(["002_next"]);
  });

  test("also when it takes leave", async () => {
    const parting = migrate(link.url, {
      folder,
      onApplied: () => {
        link.silence("to_client");
        throw new Error("nobody listens");
      },
    });
    await expect(parting).rejects.toMatchObject({
      cause: expect.objectContaining({ message: "nobody listens" }),
    });
    await until(() => link.open === 0, "nothing stays open");
  });

  test("while a migration is at work, of which nothing is kept", async () => {
    await next("create table hitzero.next (id int); select pg_sleep(600)");
    const silenced = migrate(link.url, { folder, limits: limits({ answerMs: 2_000, workMs: 1_000 }) });
    const refused = expect(silenced).rejects.toMatchObject(unreachable);
    await until(sleeping, "it is at work");
    link.silence("to_client");
    await refused;
    await until(() => link.open === 0, "nothing stays open");
    await until(async () => !(await sleeping()), "Postgres has given it up, too");
    expect(await rows("select id from hitzero.migrations")).toEqual([{ id: 1 }]);
    expect(await rows("select to_regclass('hitzero.next') as next")).toEqual([{ next: null }]);
  });
});

test("one that lasts is let work, and so is whoever waits for it, longer than for an answer or a lock", async () => {
  await next("select pg_sleep(3)");
  const raced = await Promise.all(
    [1, 2].map(() => migrate(database.url, { folder, limits: limits({ answerMs: 2_000, lockMs: 500 }) })),
  );
  expect(raced.flatMap(({ applied }) => applied).sort()).toEqual(["001_first", "002_next"]);
});

test("one that lasts too long is ended, and named", async () => {
  await next("select pg_sleep(600)");
  await expect(migrate(database.url, { folder, limits: limits({ workMs: 500 }) })).rejects.toMatchObject({
    code: "MIGRATION_FAILED",
    exitCode: 3,
    message: expect.stringMatching(/^migration 002_next: .*57014/),
  });
  expect(await rows("select id from hitzero.migrations")).toEqual([{ id: 1 }]);
});

test("one that waits for somebody's lock gives way, says so, and keeps nothing", async () => {
  await migrate(database.url, { folder });
  await next("create table hitzero.next (id int); alter table hitzero.partitions add column more int");
  await client.query("begin; lock table hitzero.partitions in access share mode");
  await expect(migrate(database.url, { folder, limits: limits({ lockMs: 300 }) })).rejects.toMatchObject({
    code: "MIGRATION_BLOCKED",
    exitCode: 3,
    message: "migration 002_next waited 0.3 s for a lock that another session holds",
    hint: expect.stringContaining("pg_stat_activity"),
  });
  await client.query("rollback");
  expect(await rows("select id from hitzero.migrations")).toEqual([{ id: 1 }]);
  expect((await migrate(database.url, { folder })).applied).toEqual(["002_next"]);
});
