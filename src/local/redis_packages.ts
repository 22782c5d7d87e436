/**
 * A Redis server out of the distribution's packages, without installing anything and without root.
 *
 * `apt-get download` fetches the packages, `dpkg -x` unpacks them into a folder, and the server runs with the libraries
 * beside it. The folder is filled elsewhere and renamed into place, so it is whole or absent and two processes may race.
 */

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheFolder } from "./cache_folder.ts";
import type { OnProgress } from "./local_server.ts";

const run = promisify(execFile);
const DOWNLOAD_LIMIT_MS = 120_000;
const SERVER_PACKAGES = ["redis-server", "redis-tools"];
/** The C library itself comes with every system and must be the one of the system's loader. */
const NEVER_FETCHED = new Set(["libc6", "libc-bin", "libgcc-s1", "libcrypt1", "libstdc++6"]);

/** A server program and the folder of its libraries. */
export interface UnpackedRedis {
  program: string;
  libraries: string;
}

/** Where the unpacked server of this distribution lies or will lie: HITZERO_CACHE or `~/.cache/hitzero`, then `redis/…`. */
export async function unpackedRedisFolder(): Promise<string> {
  return join(cacheFolder(), "redis", `${await distribution()}-${process.arch}`);
}

/** The server unpacked before, if there is one. */
export async function unpackedRedis(folder: string): Promise<UnpackedRedis | undefined> {
  const program = join(folder, "usr/bin/redis-server");
  if (!existsSync(program)) return undefined;
  const libraries: string[] = [];
  for (const root of [join(folder, "usr/lib"), join(folder, "lib")]) {
    const names = await readdir(root).catch(() => []);
    libraries.push(...names.filter((name) => name.includes("-linux-")).map((name) => join(root, name)));
  }
  return { program, libraries: libraries.join(":") };
}

/** Whether this machine has apt and dpkg. */
export function canFetchPackages(): boolean {
  return existsSync("/usr/bin/apt-get") && existsSync("/usr/bin/dpkg");
}

/**
 * Fills `folder` from the distribution's packages. Whoever comes second keeps what the first one made.
 *
 * @throws Error of apt-get or dpkg (no network, package unknown); the caller turns it into a hint. The signal's reason when it
 * is aborted: then nothing goes on in the background.
 */
export async function fetchRedis(
  folder: string,
  onProgress: OnProgress,
  signal?: AbortSignal,
): Promise<void> {
  const draft = `${folder}.${process.pid}.${randomBytes(4).toString("hex")}`;
  const downloads = join(draft, "packages");
  await mkdir(downloads, { recursive: true });
  try {
    // apt-get as root hands downloads to its own user, which must be able to write there.
    await chmod(downloads, 0o755);
    onProgress("fetching Redis from the distribution's packages (once, about 2 MB)");
    await download(downloads, onProgress, signal);
    for (const archive of await readdir(downloads)) {
      await run("dpkg", ["-x", join(downloads, archive), draft]);
    }
    await rm(downloads, { recursive: true });
    await moveIntoPlace(draft, folder);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function moveIntoPlace(draft: string, folder: string): Promise<void> {
  try {
    await rename(draft, folder);
  } catch (error) {
    // A racing process was first; what it made serves as well.
    if (!(await unpackedRedis(folder))) throw error;
  }
}

/** Downloads the server's packages and the libraries that this system lacks; refreshes apt's lists first if it must and may. */
async function download(
  folder: string,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<void> {
  const isRoot = process.getuid?.() === 0;
  const needed = await librariesOfRedis(signal);
  signal?.throwIfAborted();
  if (!needed && !isRoot) throw new Error("apt has no list of packages with redis-server");
  try {
    await downloadOnce(folder, needed, signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (!isRoot) throw error;
    // No lists yet, as in a fresh container, or lists so old that their packages were replaced.
    onProgress("reading the distribution's package lists (apt-get update)");
    await run("apt-get", ["update", "-q"], { timeout: DOWNLOAD_LIMIT_MS, ...(signal && { signal }) });
    await downloadOnce(folder, await librariesOfRedis(signal), signal);
  }
}

async function downloadOnce(
  folder: string,
  needed: readonly string[] | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (!needed) throw new Error("apt has no list of packages with redis-server");
  const installed = await installedPackages();
  const packages = [...SERVER_PACKAGES, ...needed.filter((name) => !installed.has(name))];
  await run("apt-get", ["download", "-q", ...packages], {
    cwd: folder,
    timeout: DOWNLOAD_LIMIT_MS,
    ...(signal && { signal }),
  });
}

/** Libraries that the server's packages depend on, directly or through one another; undefined if apt does not know the server. */
async function librariesOfRedis(signal: AbortSignal | undefined): Promise<string[] | undefined> {
  const only = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"].map(
    (kind) => `--no-${kind}`,
  );
  const listing = await run("apt-cache", ["depends", "--recurse", ...only, ...SERVER_PACKAGES], {
    ...(signal && { signal }),
  }).catch(() => undefined);
  const depends = parseDependencies(listing?.stdout ?? "");
  if (!depends.has("redis-tools")) return undefined;
  const found = new Set<string>(SERVER_PACKAGES);
  // A Set's loop visits what is added while it runs.
  for (const name of found) {
    for (const library of depends.get(name) ?? []) {
      if (/^(lib|lua)/.test(library) && !NEVER_FETCHED.has(library)) found.add(library);
    }
  }
  return [...found].filter((name) => !SERVER_PACKAGES.includes(name));
}

/** Reads what `apt-cache depends --recurse` prints: a package per line, beneath it indented what it depends on. */
function parseDependencies(listing: string): Map<string, string[]> {
  const depends = new Map<string, string[]>();
  let current: string[] = [];
  for (const line of listing.split("\n")) {
    const dependency = /^[ |]+(?:Pre)?Depends: ([a-z0-9.+-]+)$/.exec(line)?.[1];
    if (dependency) current.push(dependency);
    else if (/^[a-z0-9]/.test(line)) {
      current = depends.get(line) ?? [];
      depends.set(line, current);
    }
  }
  return depends;
}

async function installedPackages(): Promise<Set<string>> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the braces are dpkg-query's own syntax
  const format = "${db:Status-Abbrev} ${Package}\n";
  const { stdout } = await run("dpkg-query", ["-W", "-f", format], { maxBuffer: 16 * 1024 * 1024 });
  const installed = stdout.split("\n").filter((line) => line.startsWith("ii"));
  return new Set(installed.map((line) => line.slice(line.lastIndexOf(" ") + 1)));
}

/** Name and version of the distribution, such as `debian-12`; unpacked libraries suit no other. */
async function distribution(): Promise<string> {
  const text = await readFile("/etc/os-release", "utf8").catch(() => "");
  const value = (key: string) => new RegExp(`^${key}="?([^"\n]*)"?$`, "m").exec(text)?.[1] ?? "unknown";
  return `${value("ID")}-${value("VERSION_ID")}`;
}
