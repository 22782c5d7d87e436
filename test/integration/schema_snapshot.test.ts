/**
 * The schema, read back from a migrated database, against the text that is committed beside this test. A change of the
 * schema shows in the diff of that text. Regenerate it with UPDATE_SNAPSHOT=1.
 */

import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { schemaText, uncommented } from "../support/schema_text.ts";

const SNAPSHOT = fileURLToPath(new URL("schema.snapshot.txt", import.meta.url));

let database: TestDatabase;
let client: pg.Client;

beforeAll(async () => {
  database = await createTestDatabase();
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
});

afterAll(async () => {
  await client?.end();
  await database?.drop();
});

test("the schema is the one that was committed", async () => {
  const text = await schemaText(client);
  if (process.env.UPDATE_SNAPSHOT === "1") await writeFile(SNAPSHOT, text);
  const committed = await readFile(SNAPSHOT, "utf8");
  expect(
    text,
    "changed on purpose? UPDATE_SNAPSHOT=1 npx vitest run test/integration/schema_snapshot.test.ts",
  ).toBe(committed);
});

test("every table and column says what it is for", async () => {
  expect(await uncommented(client)).toEqual([]);
});
