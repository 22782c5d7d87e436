/** What still runs, for tests that say "nothing is left". */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect } from "node:net";

/** Living processes that work in the folder or name it in their arguments. Needs /proc. */
export function processesIn(folder: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        const within = readlinkSync(`/proc/${pid}/cwd`).startsWith(folder) || command.includes(folder);
        return within ? [`${pid} ${command}`] : [];
      } catch {
        return [];
      }
    });
}

export function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

/** Does anything listen at the port? */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
