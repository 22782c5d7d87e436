/**
 * Imports a module of handlers in a process of its own command. A module may do anything while it is imported: block for ever,
 * or end the process. Whatever it does, the user reads which module it was.
 */
import { writeSync } from "node:fs";
import { resolve } from "node:path";
import { Worker as Thread } from "node:worker_threads";
import { IMPORT_LIMIT_MS, loadHandlers } from "../../handlers/load.ts";
import type { Handlers } from "../../handlers/types.ts";

/** A module that awaits for ever is reported by `loadHandlers`, and first; the thread is for one that blocks the event loop. */
const THREAD_LATER = 1.1;
/** Of invalid input. */
const EXIT_CODE = 2;

/** Runs in the thread. The loop is blocked, so nothing gentler than SIGKILL ends the process. */
const END_PROCESS = `
  const { workerData } = require("node:worker_threads");
  setTimeout(() => {
    require("node:fs").writeSync(2, workerData.text);
    process.kill(process.pid, "SIGKILL");
  }, workerData.afterMs);
`;

function tell(code: string, message: string, hint: string): string {
  return `error ${code}: ${message}\nhint: ${hint}\n`;
}

/**
 * Imports the module within its time.
 * @param isEnding was the process told to end? Then its end is not the module's doing
 * @throws HitzeroError as `loadHandlers`
 */
export async function importHandlers(
  path: string,
  isEnding: () => boolean,
  limitMs = IMPORT_LIMIT_MS,
): Promise<Handlers> {
  const file = resolve(path);
  const onExit = (code: number) => {
    if (isEnding()) return;
    const message = `handler module ${file} ended the process (exit code ${code}) while it was imported`;
    writeSync(2, tell("HANDLERS_EXITED", message, "Let it throw an error instead of calling process.exit."));
    process.exitCode = EXIT_CODE;
  };
  const seconds = limitMs / 1_000;
  const text = tell(
    "HANDLERS_HANG",
    `handler module ${file} blocks its process, and was not imported within ${seconds} s`,
    "Do the work in a handler, not at the top level of the module.",
  );
  const thread = new Thread(END_PROCESS, {
    eval: true,
    workerData: { text, afterMs: limitMs * THREAD_LATER },
  });
  thread.unref();
  process.once("exit", onExit);
  try {
    return await loadHandlers(file, limitMs);
  } finally {
    process.off("exit", onExit);
    // Said what `up` wanted to know. Processes that a handler forks are to tell it nothing of theirs.
    delete process.env.WATCH_REPORT_DEPENDENCIES;
    void thread.terminate();
  }
}
