/** The numbered SQL files of `migrations/`, read and checked. */

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { assert } from "../base/assert.ts";

/** The package's own migrations; `src/postgres` and `dist/postgres` lie equally deep. */
export const PACKAGE_MIGRATIONS = fileURLToPath(new URL("../../migrations", import.meta.url));

export interface MigrationFile {
  /** The NNN of `NNN_name.sql`; files count 1, 2, 3 without a gap. */
  id: number;
  /** File name without `.sql`. */
  name: string;
  sql: string;
  /** SHA-256 of the text with its line ends normalised, so that a checkout on Windows does not differ. */
  checksum: string;
}

const FILE_NAME = /^(\d{3})_[a-z0-9_]+\.sql$/;

/** Reads the migrations of a folder in order. Files that do not end in `.sql` are ignored; a misnamed one is a broken package. */
export async function readMigrations(folder: string): Promise<MigrationFile[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();
  const files = await Promise.all(names.map((name) => readMigration(folder, name)));
  files.forEach((file, index) => {
    assert(
      file.id === index + 1,
      `migrations/ counts 001, 002, … without gap or double; found ${file.name} at place ${index + 1}`,
    );
  });
  return files;
}

async function readMigration(folder: string, fileName: string): Promise<MigrationFile> {
  const match = FILE_NAME.exec(fileName);
  assert(match, `migrations/${fileName} is not named NNN_name.sql`);
  const sql = (await readFile(join(folder, fileName), "utf8")).replaceAll("\r\n", "\n");
  const checksum = createHash("sha256").update(sql).digest("hex");
  return { id: Number(match[1]), name: fileName.slice(0, -".sql".length), sql, checksum };
}
