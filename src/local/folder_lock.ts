/**
 * An exclusive lock on a folder, released by the death of its holder.
 *
 * Owns: files `lock.1`, `lock.2`, … in the folder. The one with the highest number is the lock; it names its holder, or
 * nobody after a release. The lock is free if nobody holds it or the holder is dead, and neither ever changes back, so
 * whoever sees it free may try to create the next number, which the file system grants to exactly one.
 * Invariants: the highest file is removed only when a higher one exists, so numbers never repeat; a process that slept on an
 * old sight and creates a number that had been removed sees a higher one afterwards, and yields.
 * A crash anywhere leaves either a file naming a dead process, which is a free lock, or a draft that nobody reads.
 */

import { randomBytes } from "node:crypto";
import { existsSync, linkSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { HitzeroError } from "../base/errors.ts";
import { readIfPresent } from "./files.ts";
import { identify, isAlive } from "./processes.ts";

/** What a lock file says; no holder means released. */
const Note = z.object({ holder: z.object({ pid: z.number().int(), started: z.string() }).optional() });
type Note = z.infer<typeof Note>;

export interface FolderLock {
  release(): void;
}

const POLL_MS = 20;

/**
 * Runs `work` while holding the folder's lock; waits for another holder up to `limitMs`.
 *
 * @param onWait called once if the lock is not free at once
 * @throws HitzeroError LOCAL_SERVERS_BUSY (exit code 3) at the limit, the signal's reason when it is aborted while waiting, and whatever `work` throws
 */
export async function withFolderLock<T>(
  folder: string,
  limitMs: number,
  onWait: () => void,
  work: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const limit = performance.now() + limitMs;
  let lock = tryFolderLock(folder);
  if (!lock) onWait();
  while (!lock) {
    signal?.throwIfAborted();
    if (performance.now() > limit) throw busy(folder);
    await sleep(POLL_MS);
    lock = tryFolderLock(folder);
  }
  try {
    return await work();
  } finally {
    lock.release();
  }
}

/** Takes the lock if it is free now. Synchronous, for use while the process exits. */
export function tryFolderLock(folder: string): FolderLock | undefined {
  const seen = highest(folder);
  if (seen > 0 && isHeld(folder, seen)) return undefined;
  const mine = seen + 1;
  const draft = writeDraft(folder, { holder: identify(process.pid) });
  try {
    linkSync(draft, lockFile(folder, mine));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return undefined;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  const numbers = lockNumbers(folder);
  if (numbers.some((number) => number > mine)) {
    rmSync(lockFile(folder, mine), { force: true });
    return undefined;
  }
  for (const number of numbers) if (number < mine) rmSync(lockFile(folder, number), { force: true });
  return { release: () => release(folder, mine) };
}

function release(folder: string, number: number): void {
  // The holder may have removed the folder, and the lock with it.
  if (existsSync(lockFile(folder, number))) renameSync(writeDraft(folder, {}), lockFile(folder, number));
}

function isHeld(folder: string, number: number): boolean {
  const holder = readNote(folder, number)?.holder;
  return holder !== undefined && isAlive(holder);
}

/** A file that is gone was superseded: reported as released, and creating the next number then fails. */
function readNote(folder: string, number: number): Note | undefined {
  const text = readIfPresent(lockFile(folder, number));
  return text === undefined ? undefined : Note.parse(JSON.parse(text));
}

function writeDraft(folder: string, note: Note): string {
  const draft = join(folder, `draft.lock.${process.pid}.${randomBytes(4).toString("hex")}`);
  writeFileSync(draft, JSON.stringify(note), { mode: 0o600 });
  return draft;
}

function highest(folder: string): number {
  return Math.max(0, ...lockNumbers(folder));
}

function lockNumbers(folder: string): number[] {
  return readdirSync(folder).flatMap((name) => {
    const match = /^lock\.(\d+)$/.exec(name);
    return match ? [Number(match[1])] : [];
  });
}

function lockFile(folder: string, number: number): string {
  return join(folder, `lock.${number}`);
}

function busy(folder: string): HitzeroError {
  const holder = readNote(folder, highest(folder))?.holder;
  return new HitzeroError(
    "LOCAL_SERVERS_BUSY",
    `another hitzero is starting or stopping servers in ${folder}`,
    {
      hint: holder ? `Wait for process ${holder.pid}, or end it if it hangs.` : "Try again.",
      exitCode: 3,
    },
  );
}
