/** Peak memory of processes, from Linux's /proc. Elsewhere it is unknown. */
import { readFileSync, writeFileSync } from "node:fs";

/** Most memory that a process had at once, megabytes; undefined where it cannot be known. */
export function peakMemoryMb(pid: number): number | undefined {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) / 1024;
  } catch {
    return undefined;
  }
}

/** From now on the peak counts anew, where the system lets us; otherwise since the process began. */
export function resetPeakMemory(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
  } catch {
    // Its peak since it began is the best that can be told.
  }
}
