/**
 * Processes of this machine: who is alive, and how to end one.
 *
 * A bare process id is reused by the system sooner or later, so whoever is written to a file is written with the time its
 * process started. A zombie (dead, but not yet collected by its parent) counts as dead.
 */

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** A process that cannot be mistaken for a later one with the same id. */
export interface ProcessIdentity {
  pid: number;
  /** When it started, in words of the system: boot and clock ticks on Linux, a date elsewhere. */
  started: string;
}

const HAS_PROC = existsSync("/proc/self/stat");
const POLL_MS = 5;

/** Identity of a living process, or undefined if none has this id. */
export function identify(pid: number): ProcessIdentity | undefined {
  const started = HAS_PROC ? startedByProc(pid) : startedByPs(pid);
  return started === undefined ? undefined : { pid, started };
}

/** Whether just this process still lives. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.started === identity.started;
}

function startedByProc(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the name in brackets and may hold anything, brackets and spaces included.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, startTicks] = [fields[0], fields[19]];
    if (state === "Z" || state === "X") return undefined;
    return `${bootId()}:${startTicks}`;
  } catch {
    return undefined;
  }
}

let knownBootId: string | undefined;

function bootId(): string {
  knownBootId ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return knownBootId;
}

function startedByPs(pid: number): string | undefined {
  try {
    const line = execFileSync("ps", ["-o", "stat=,lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
    return line === "" || line.startsWith("Z") ? undefined : line.replace(/^\S+\s+/, "");
  } catch {
    return undefined;
  }
}

/** Waits until the process is gone; false if it still lives after `limitMs`. */
export async function waitForEnd(identity: ProcessIdentity, limitMs: number): Promise<boolean> {
  const limit = performance.now() + limitMs;
  while (isAlive(identity)) {
    if (performance.now() > limit) return false;
    await sleep(POLL_MS);
  }
  return true;
}

/** One way to ask a process to end, and how long it gets. */
export interface Request {
  signal: NodeJS.Signals;
  waitMs: number;
}

/** Ends a process by the given requests, one harsher than the other; returns when it is gone. */
export async function endProcess(identity: ProcessIdentity, requests: readonly Request[]): Promise<void> {
  for (const request of requests) {
    if (!isAlive(identity)) return;
    signalProcess(identity, request.signal);
    if (await waitForEnd(identity, request.waitMs)) return;
  }
}

/** Sends a signal unless the process is gone. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): void {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, signal);
  } catch {
    // It ended between the look and the signal.
  }
}
