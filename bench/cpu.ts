/** CPU time of processes, from Linux's /proc. Elsewhere it is unknown. */
import { readdirSync, readFileSync } from "node:fs";

/** The kernel reports in ticks of 10 ms to all programs. */
const MS_PER_TICK = 10;

interface Stat {
  parent: number;
  /** Of the process itself. */
  own: number;
  /** Of its children that ended and were collected. */
  children: number;
}

function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the name in brackets and may hold anything, brackets and spaces included.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const [parent, user, system, childUser, childSystem] = [1, 11, 12, 13, 14].map((at) =>
      Number(fields[at]),
    );
    return {
      parent: parent as number,
      own: (user as number) + (system as number),
      children: (childUser as number) + (childSystem as number),
    };
  } catch {
    return undefined;
  }
}

/** CPU milliseconds that a process and its children have used, also those that ended; undefined where it cannot be known. */
export function cpuMs(pid: number): number | undefined {
  const root = statOf(pid);
  if (!root) return undefined;
  let ticks = root.own + root.children;
  for (const name of readdirSync("/proc")) {
    const child = /^\d+$/.test(name) ? statOf(Number(name)) : undefined;
    if (child?.parent === pid) ticks += child.own + child.children;
  }
  return ticks * MS_PER_TICK;
}

/** The process that started this one. */
export function parentOf(pid: number): number | undefined {
  return statOf(pid)?.parent;
}
