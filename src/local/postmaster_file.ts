/** `postmaster.pid`, which a running Postgres keeps in its data folder. */

import { execFileSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readIfPresent } from "./files.ts";

export interface Postmaster {
  pid: number;
  port: number;
  /** Whether it takes connections. */
  ready: boolean;
}

/** What the file says; undefined if there is none or it is not whole yet. The server may be long dead. */
export function readPostmaster(data: string): Postmaster | undefined {
  // Lines: pid, data folder, start time, port, socket folder, address, shared memory, status.
  const lines = readIfPresent(join(data, "postmaster.pid"))?.split("\n") ?? [];
  const [pid, port] = [Number(lines[0]), Number(lines[3])];
  if (!pid) return undefined;
  return { pid, port: port || 0, ready: lines[7]?.trim() === "ready" };
}

/**
 * Removes the file if its process id belongs to a program that is no Postgres by now, as after a reboot; Postgres itself
 * would take that program for a server and refuse to start. A file whose process is gone is Postgres's own to clear.
 */
export function removeForeignPostmasterFile(data: string, pid: number): boolean {
  const command = commandOf(pid);
  if (command === undefined || /postgres|postmaster/.test(command)) return false;
  rmSync(join(data, "postmaster.pid"), { force: true });
  return true;
}

function commandOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8");
  } catch {
    try {
      return execFileSync("ps", ["-o", "comm=", "-p", String(pid)], { encoding: "utf8" });
    } catch {
      return undefined;
    }
  }
}
