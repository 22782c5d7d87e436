import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { HitzeroError } from "../../src/base/errors.ts";
import { postgresFault } from "../../src/postgres/connection_errors.ts";
import { migrate } from "../../src/postgres/migrate.ts";
import { PACKAGE_MIGRATIONS, readMigrations } from "../../src/postgres/migration_files.ts";
import { adminUrl, createEmptyDatabase, type TestDatabase } from "../support/database.ts";
import { until } from "../support/until.ts";

const PARTITIONS_SQL = "create table hitzero.partitions (partition int primary key);";
/** Of the build: processes that compile TypeScript take three times as long to start. */
const MIGRATE_MODULE = fileURLToPath(new URL("../.built/migrate.js", import.meta.url));

/** A folder of migrations with the given texts as 001_first.sql, 002_next.sql, …; without any, the package's own. */
async function folderOf(...texts: string[]): Promise<string> {
  const folder = await mkdtemp(join(inject("runFolder"), "migrations-"));
  for (const [index, text] of texts.entries()) {
    const number = String(index + 1).padStart(3, "0");
    await writeFile(join(folder, `${number}_${index === 0 ? "first" : "next"}.sql`), text);
  }
  return folder;
}

describe("migrate", () => {
  let database: TestDatabase;
  let client: pg.Client;

  beforeEach(async () => {
    database = await createEmptyDatabase();
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
  });

  afterEach(async () => {
    await client.end();
    await database.drop();
  });

  async function rows(sql: string): Promise<Record<string, unknown>[]> {
    return (await client.query(sql)).rows;
  }

  test("applies this release's migrations, then has nothing more to do", async () => {
    const files = await readMigrations(PACKAGE_MIGRATIONS);
    const told: string[] = [];
    const first = await migrate(database.url, { onApplied: (name) => told.push(name) });
    expect(first).toEqual({ applied: files.map((file) => file.name), partitions: 1 });
    expect(told).toEqual(first.applied);
    expect(await migrate(database.url)).toEqual({ applied: [], partitions: 1 });
    expect(await rows("select id, name, checksum from hitzero.migrations order by id")).toEqual(
      files.map(({ id, name, checksum }) => ({ id, name, checksum })),
    );
  });

  test("goes on from where an older release stopped", async () => {
    const folder = await folderOf(PARTITIONS_SQL);
    await migrate(database.url, { folder });
    await writeFile(
      join(folder, "002_more.sql"),
      "create table hitzero.more (id int); create table more_of_it (id int);",
    );
    expect(await migrate(database.url, { folder })).toEqual({ applied: ["002_more"], partitions: 1 });
    // An object without a schema goes to ours, whatever the user's search_path says.
    expect(await rows("select to_regclass('hitzero.more_of_it') is not null as present")).toEqual([
      { present: true },
    ]);
  });

  test("raced by five clients applies each migration once", async () => {
    const folder = await folderOf(
      `${PARTITIONS_SQL} create table hitzero.applied (migration int);`,
      "insert into hitzero.applied values (2); select pg_sleep(0.05);",
      "insert into hitzero.applied values (3);",
    );
    const results = await Promise.all(
      [1, 2, 3, 4, 5].map(() => migrate(database.url, { folder, partitions: 4 })),
    );
    expect(results.flatMap((result) => result.applied).sort()).toEqual(["001_first", "002_next", "003_next"]);
    expect(results.map((result) => result.partitions)).toEqual([4, 4, 4, 4, 4]);
    expect(await rows("select migration from hitzero.applied order by 1")).toEqual([
      { migration: 2 },
      { migration: 3 },
    ]);
  });

  test("raced by five processes on an empty database ends well in each", async () => {
    const text = `
      import { migrate } from ${JSON.stringify(MIGRATE_MODULE)};
      const { applied, partitions } = await migrate(${JSON.stringify(database.url)}, { partitions: 3 });
      process.stdout.write(JSON.stringify({ applied, partitions }));`;
    const results = await Promise.all([1, 2, 3, 4, 5].map(() => outputOf(text)));
    const files = await readMigrations(PACKAGE_MIGRATIONS);
    expect(results.flatMap((result) => result.applied).sort()).toEqual(files.map((file) => file.name));
    expect(results.map((result) => result.partitions)).toEqual([3, 3, 3, 3, 3]);
  });

  test("racing with different numbers of partitions lets one win and tells the others", async () => {
    const folder = await folderOf(PARTITIONS_SQL);
    const outcomes = await Promise.allSettled(
      [2, 3, 4, 5].map((partitions) => migrate(database.url, { folder, partitions })),
    );
    const won = outcomes
      .filter((outcome) => outcome.status === "fulfilled")
      .map((outcome) => outcome.value.partitions);
    const refused = outcomes
      .filter((outcome) => outcome.status === "rejected")
      .map((outcome) => outcome.reason.code);
    expect(won).toHaveLength(1);
    expect(refused).toEqual(["PARTITIONS_FIXED", "PARTITIONS_FIXED", "PARTITIONS_FIXED"]);
    expect(await rows("select count(*)::int as count from hitzero.partitions")).toEqual([{ count: won[0] }]);
  });

  test("keeps the number of partitions that the first call chose", async () => {
    await migrate(database.url, { partitions: 4 });
    expect(await migrate(database.url)).toEqual({ applied: [], partitions: 4 });
    expect(await rows("select partition from hitzero.partitions order by 1")).toEqual(
      [0, 1, 2, 3].map((partition) => ({ partition })),
    );
    await expect(migrate(database.url, { partitions: 8 })).rejects.toMatchObject({
      code: "PARTITIONS_FIXED",
      message: "the database has 4 partitions, not 8",
      exitCode: 2,
    });
  });

  test.each([0, -1, 1.5, 257, Number.NaN])(
    "refuses %s partitions before it touches anything",
    async (partitions) => {
      await expect(migrate(database.url, { partitions })).rejects.toMatchObject({
        code: "PARTITIONS_INVALID",
        exitCode: 2,
      });
      expect(await rows("select to_regnamespace('hitzero') as schema")).toEqual([{ schema: null }]);
    },
  );

  test("refuses a database that a newer release migrated", async () => {
    const folder = await folderOf(PARTITIONS_SQL, "select 1;");
    await migrate(database.url, { folder });
    const older = await folderOf(PARTITIONS_SQL);
    await expect(migrate(database.url, { folder: older })).rejects.toMatchObject({
      code: "SCHEMA_NEWER",
      message: expect.stringContaining("002_next"),
      exitCode: 2,
    });
  });

  test("refuses a migration whose text changed after it was applied, but not for its line ends", async () => {
    const folder = await folderOf(`${PARTITIONS_SQL}\n-- a comment\n`);
    await migrate(database.url, { folder });
    await writeFile(join(folder, "001_first.sql"), `${PARTITIONS_SQL}\r\n-- a comment\r\n`);
    expect((await migrate(database.url, { folder })).applied).toEqual([]);
    await writeFile(join(folder, "001_first.sql"), `${PARTITIONS_SQL}\n-- another comment\n`);
    await expect(migrate(database.url, { folder })).rejects.toMatchObject({
      code: "MIGRATION_CHANGED",
      exitCode: 2,
    });
  });

  test("keeps nothing of a migration that fails, and says which line failed", async () => {
    const broken = "create table hitzero.half (id int);\n\ncreate tabel hitzero.rest (id int);";
    const folder = await folderOf(PARTITIONS_SQL, broken);
    await expect(migrate(database.url, { folder })).rejects.toMatchObject({
      code: "MIGRATION_FAILED",
      message: expect.stringContaining("002_next, line 3"),
    });
    expect(await rows("select id from hitzero.migrations")).toEqual([{ id: 1 }]);
    await writeFile(join(folder, "002_next.sql"), broken.replace("tabel", "table"));
    expect(await migrate(database.url, { folder })).toEqual({ applied: ["002_next"], partitions: 1 });
  });

  test("takes over when the process before it died inside a migration", async () => {
    const folder = await folderOf(PARTITIONS_SQL);
    await migrate(database.url, { folder });
    const sql = "create table hitzero.more (id int);";
    await writeFile(join(folder, "002_more.sql"), sql);
    const other = new pg.Client({ connectionString: database.url });
    other.on("error", () => {});
    await other.connect();
    await other.query("begin");
    const checksum = createHash("sha256").update(sql).digest("hex");
    await other.query("insert into hitzero.migrations (id, name, checksum) values (2, '002_more', $1)", [
      checksum,
    ]);
    await other.query(sql);
    const waiting = migrate(database.url, { folder });
    const blocked =
      "select pid from pg_stat_activity where application_name = 'hitzero migrate' and wait_event_type = 'Lock'";
    await until(
      async () => (await rows(`${blocked} and datname = current_database()`)).length === 1,
      "the call waits",
    );
    await client.query("select pg_terminate_backend($1)", [
      (await other.query("select pg_backend_pid() as pid")).rows[0].pid,
    ]);
    expect((await waiting).applied).toEqual(["002_more"]);
    await other.end().catch(() => {});
  });

  test("needs no right to create when there is nothing to do", async () => {
    await migrate(database.url);
    const name = `reader_${Date.now()}`;
    await client.query(`create role ${name} login password 'x'`);
    await client.query(
      `grant usage on schema hitzero to ${name}; grant select on all tables in schema hitzero to ${name}`,
    );
    const url = new URL(database.url);
    url.username = name;
    url.password = "x";
    try {
      expect(await migrate(url.href)).toEqual({ applied: [], partitions: 1 });
    } finally {
      await client.query(`drop owned by ${name}; drop role ${name}`);
    }
  });

  describe("as somebody who may not do everything", () => {
    let url: URL;
    let name: string;
    beforeEach(async () => {
      url = new URL(database.url);
      name = url.username = `stranger_${randomBytes(4).toString("hex")}`;
      url.password = "x";
      await client.query(`create role ${name} login password 'x'`);
    });
    afterEach(async () => {
      await client.query(`drop owned by ${name}; drop role ${name}`);
    });
    const refusal = (message: string, hint: string) => ({
      code: "PERMISSION_DENIED",
      exitCode: 3,
      message: expect.stringContaining(`${name} ${message}`),
      hint: expect.stringContaining(hint),
    });

    test("says what to grant where there is no schema", async () => {
      await expect(migrate(url.href)).rejects.toMatchObject(
        refusal("may not create schema hitzero", `CREATE SCHEMA hitzero AUTHORIZATION ${name};`),
      );
    });

    test("works in a schema of its own that an administrator made", async () => {
      await client.query(`create schema hitzero authorization ${name}`);
      expect((await migrate(url.href)).partitions).toBe(1);
    });

    test("works in somebody else's schema once both rights to it are granted, each of which is named before", async () => {
      await client.query("create schema hitzero");
      await expect(migrate(url.href)).rejects.toMatchObject(
        refusal("lacks USAGE, CREATE on schema", `GRANT USAGE, CREATE ON SCHEMA hitzero TO ${name};`),
      );
      await client.query(`grant usage on schema hitzero to ${name}`);
      await expect(migrate(url.href)).rejects.toMatchObject(
        refusal("lacks CREATE on schema", `GRANT CREATE ON SCHEMA hitzero TO ${name};`),
      );
      await client.query(`grant create on schema hitzero to ${name}`);
      expect((await migrate(url.href)).partitions).toBe(1);
    });

    test("says whose tables they are that it would have to alter", async () => {
      await migrate(database.url);
      await client.query(`delete from hitzero.migrations where id = (select max(id) from hitzero.migrations);
        grant usage, create on schema hitzero to ${name}; grant all on all tables in schema hitzero to ${name}`);
      const owner = new URL(adminUrl()).username;
      await expect(migrate(url.href)).rejects.toMatchObject(
        refusal("may not migrate: tables of schema hitzero", `GRANT ${owner} TO ${name};`),
      );
    });

    test("names a database that takes no writes", async () => {
      await client.query(`create schema hitzero authorization ${name};
        alter role ${name} set default_transaction_read_only = on`);
      await expect(migrate(url.href)).rejects.toMatchObject({ code: "READ_ONLY", exitCode: 3 });
    });
  });
});

describe("faults of a connection", () => {
  const changed = (change: (url: URL) => void) => {
    const url = new URL(adminUrl());
    url.password = "the-real-password-is-not-told";
    change(url);
    return url.href;
  };

  async function faultOf(url: string): Promise<HitzeroError> {
    const fault = await migrate(url).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(fault).toBeInstanceOf(HitzeroError);
    const { message, hint } = fault as HitzeroError;
    for (const secret of [new URL(adminUrl()).password, "the-real-password-is-not-told"]) {
      expect(`${message} ${hint}`).not.toContain(secret);
    }
    return fault as HitzeroError;
  }

  test("a wrong password", async () => {
    expect(await faultOf(changed(() => {}))).toMatchObject({ code: "WRONG_PASSWORD", exitCode: 3 });
  });

  test("no password", async () => {
    const url = changed((it) => {
      it.password = "";
    });
    expect(await faultOf(url)).toMatchObject({ code: "WRONG_PASSWORD", exitCode: 3 });
  });

  test("nobody at the port, told with host and port", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    const port = address !== null && typeof address === "object" ? address.port : 0;
    await new Promise((resolve) => server.close(resolve));
    const fault = await faultOf(
      changed((url) => {
        url.port = String(port);
      }),
    );
    expect(fault).toMatchObject({ code: "SERVER_UNREACHABLE", exitCode: 3 });
    expect(fault.message).toContain(`127.0.0.1:${port}`);
    expect(fault.message).toContain("ECONNREFUSED");
  });

  test("something else at the port", async () => {
    const server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    const port = address !== null && typeof address === "object" ? address.port : 0;
    try {
      const url = changed((it) => {
        it.port = String(port);
      });
      expect(await faultOf(url)).toMatchObject({ code: "SERVER_UNREACHABLE", exitCode: 3 });
    } finally {
      server.close();
    }
  });

  test("a host that does not exist", async () => {
    const url = changed((it) => {
      it.hostname = "nowhere.invalid";
    });
    expect(await faultOf(url)).toMatchObject({ code: "SERVER_UNREACHABLE", exitCode: 3 });
  });

  test("a database that does not exist", async () => {
    const url = new URL(adminUrl());
    url.pathname = "/no_such_database";
    expect(await faultOf(url.href)).toMatchObject({
      code: "DATABASE_MISSING",
      exitCode: 3,
      message: expect.stringContaining("no_such_database"),
    });
  });

  test.each(["", "not a URL", "mysql://localhost/x", "http://localhost"])(
    "what is no database URL: %j",
    async (url) => {
      await expect(migrate(url)).rejects.toMatchObject({ code: "DATABASE_URL_INVALID", exitCode: 2 });
    },
  );

  test("a session that the server ended", async () => {
    const client = await connected();
    client.on("error", () => {});
    const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
    const ended = client.query("select pg_sleep(60)").catch((error: unknown) => error);
    const admin = await connected();
    await admin.query("select pg_terminate_backend($1)", [rows[0]?.pid]);
    await admin.end();
    expect(postgresFault(await ended, adminUrl())).toMatchObject({ code: "SERVER_UNREACHABLE", exitCode: 3 });
  });

  test("a disk that is full", () => {
    const error = Object.assign(new Error("could not extend file"), { code: "53100" });
    expect(postgresFault(error, adminUrl())).toMatchObject({ code: "DISK_FULL", exitCode: 3 });
  });

  test("any other failure is named by its SQLSTATE, without the server's words", async () => {
    const client = await connected();
    const error = await client.query("select 'secret of a run'::int").catch((caught: unknown) => caught);
    await client.end();
    const fault = postgresFault(error, adminUrl());
    expect(fault).toMatchObject({ code: "POSTGRES_FAILED", exitCode: 3 });
    expect(fault.message).toContain("22P02");
    expect(fault.message).not.toContain("secret of a run");
    expect(postgresFault(fault, adminUrl())).toBe(fault);
  });
});

async function connected(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: adminUrl() });
  await client.connect();
  return client;
}

/** Runs a module's text in a process of its own and parses what it prints. */
async function outputOf(text: string): Promise<{ applied: string[]; partitions: number }> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", text], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  for await (const chunk of child.stdout) output += chunk;
  return JSON.parse(output);
}
