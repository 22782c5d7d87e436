/**
 * Ends a test run's servers when the run is over, however it ends.
 *
 * A shell of its own process group holds the reading end of a pipe whose writing end is ours alone. When we die, even by
 * `kill -9`, the pipe closes; the shell then ends every server that left its process id in the run's folder, and removes it.
 */

import { spawn } from "node:child_process";

/**
 * $1 is the run's folder. Servers are thrown away with their data, so they are ended without ceremony. After a death the
 * test workers live on for a moment and may start servers yet, hence the later rounds.
 */
const SCRIPT = `
folder=$1
# A crashed server's id may be another program's by now.
ours() {
  case "$(ps -o comm= -p "$1")" in *redis* | *valkey* | *postgres*) ;; *) return 1 ;; esac
  [ ! -e "/proc/$1/cwd" ] && return 0
  case "$(readlink "/proc/$1/cwd")" in "$folder"/*) return 0 ;; *) return 1 ;; esac
}
sweep() {
  [ -d "$folder" ] || return
  find "$folder" -name redis.pid | while read -r file; do
    pid=$(cat "$file")
    ours "$pid" && kill -9 "$pid" 2>/dev/null
  done
  find "$folder" -name postmaster.pid | while read -r file; do
    pid=$(head -n 1 "$file")
    ours "$pid" || continue
    kill -QUIT "$pid" 2>/dev/null
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.05; done
  done
  rm -rf "$folder"
}
word=$(cat)
sweep
[ "$word" = finished ] || for pause in 1 3; do sleep $pause; sweep; done
`;

export interface Watchdog {
  /** Has it do its work now, and waits until it is done. */
  finish(): Promise<void>;
}

export function startWatchdog(runFolder: string): Watchdog {
  const shell = spawn("/bin/sh", ["-c", SCRIPT, "sh", runFolder], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  const done = new Promise<void>((resolve) => {
    shell.once("exit", () => resolve());
    shell.once("error", () => resolve());
  });
  shell.unref();
  return {
    finish: async () => {
      shell.ref();
      shell.stdin.end("finished");
      await done;
    },
  };
}
