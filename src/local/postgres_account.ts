/**
 * Under which user Postgres runs, and in which folder.
 *
 * Postgres refuses to run as root. When root starts us, the server runs as the owner of its folder if that is somebody else
 * already, else as `postgres` if the system has that user, else as `nobody`; no user is created. What that user cannot
 * reach, such as a project under /root (mode 0700), is kept in /var/lib/hitzero, with a link to it in its place; so whoever
 * removes the link starts afresh. Any other user runs the server as itself.
 */

import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chown, mkdir, readFile, realpath, rm, stat, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { HitzeroError } from "../base/errors.ts";

/** User and group to run the server as. */
export interface Account {
  uid: number;
  gid: number;
}

/** Where root's servers keep what their user could not reach at its own place. Root may remove what it no longer needs. */
const ROOT_STATE = "/var/lib/hitzero";
const SEARCHABLE = { owner: 0o100, group: 0o010, others: 0o001 };

/**
 * Makes the server's folder, private to its user, and tells who that is; `account` is undefined if it is the one we are.
 *
 * @throws HitzeroError POSTGRES_NEEDS_USER (exit code 3) if we are root and there is no other user to run the server, or it
 *   cannot reach a folder that exists
 */
export async function prepareFolder(dir: string): Promise<{ dir: string; account: Account | undefined }> {
  await mkdir(dirname(dir), { recursive: true });
  if (process.getuid?.() !== 0) {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    return { dir: await realpath(dir), account: undefined };
  }
  const account = (await ownerOf(dir)) ?? (await serverUser());
  if (!existsSync(dir)) await makeFor(dir, account);
  const real = await realpath(dir);
  if (!(await canReach(dirname(real), account))) {
    throw needsUser(
      `the user that Postgres runs as cannot reach ${real}`,
      `chmod the folders above ${real} to be passable`,
    );
  }
  await chown(real, account.uid, account.gid);
  return { dir: real, account };
}

/** Makes the folder, or its stand-in with a link to it. */
async function makeFor(dir: string, account: Account): Promise<void> {
  if (await canReach(dirname(dir), account)) {
    await mkdir(dir, { mode: 0o700 });
    return;
  }
  const standIn = join(ROOT_STATE, `${basename(dir)}-${randomBytes(8).toString("hex")}`);
  await mkdir(ROOT_STATE, { recursive: true, mode: 0o755 });
  await mkdir(standIn, { mode: 0o700 });
  // A link that leads nowhere is left when the stand-in was removed by hand.
  await rm(dir, { force: true });
  await symlink(standIn, dir);
}

/** Owner of a folder that exists and is not root's. */
async function ownerOf(dir: string): Promise<Account | undefined> {
  const found = await stat(dir).catch(() => undefined);
  return found && found.uid !== 0 ? { uid: found.uid, gid: found.gid } : undefined;
}

async function serverUser(): Promise<Account> {
  const users = await readFile("/etc/passwd", "utf8").catch(() => "");
  for (const name of ["postgres", "nobody"]) {
    const fields = users
      .split("\n")
      .find((line) => line.startsWith(`${name}:`))
      ?.split(":");
    if (fields) return { uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw needsUser(
    "Postgres does not run as root, and there is no user to run it as",
    "useradd --system postgres",
  );
}

function needsUser(message: string, command: string): HitzeroError {
  return new HitzeroError("POSTGRES_NEEDS_USER", message, {
    hint: `Run hitzero as another user than root, or: ${command} – or set HITZERO_DATABASE_URL.`,
    exitCode: 3,
  });
}

/** Whether the account may pass through the folder and all above it. */
export async function canReach(folder: string, account: Account | undefined): Promise<boolean> {
  if (!account) return true;
  for (let current = await realpath(folder); ; current = dirname(current)) {
    const { mode, uid, gid } = await stat(current);
    const bit =
      uid === account.uid ? SEARCHABLE.owner : gid === account.gid ? SEARCHABLE.group : SEARCHABLE.others;
    if ((mode & bit) === 0) return false;
    if (current === dirname(current)) return true;
  }
}

/** Folder for files that a server of ours shares among projects, such as copied programs. */
export function sharedStateFolder(account: Account | undefined, cacheFolder: string): string {
  return account ? ROOT_STATE : cacheFolder;
}
