/** Starts `stack_process.mjs` and talks to it. */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("stack_process.mjs", import.meta.url));

export interface StackUser {
  redisUrl: string;
  databaseUrl: string;
  /** Leaves in order. */
  stop(): Promise<void>;
  /** Ends the process without leaving first. */
  exit(): Promise<void>;
  kill9(): Promise<void>;
}

const running = new Set<ChildProcess>();

/** Kills what a failed test left behind. */
export function killStackUsers(): void {
  for (const child of running) child.kill("SIGKILL");
}

/** A process that uses the folder's servers; resolves once they run. */
export async function startStackUser(folder: string): Promise<StackUser> {
  const child = spawn(process.execPath, [PROGRAM, folder], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  running.add(child);
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => {
      running.delete(child);
      resolve();
    });
  });
  const urls = await new Promise<{ redisUrl: string; databaseUrl: string }>((resolve, reject) => {
    createInterface({ input: child.stdout }).once("line", (line) => resolve(JSON.parse(line)));
    void ended.then(() => reject(new Error("the process ended before its servers ran")));
  });
  const tell = async (word: string) => {
    child.stdin.write(`${word}\n`);
    await ended;
  };
  return {
    ...urls,
    stop: () => tell("stop"),
    exit: () => tell("exit"),
    kill9: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
