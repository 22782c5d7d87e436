/** `servers.json`: which servers run for a folder, and who uses them. Written whole, under the folder's lock. */

import { join } from "node:path";
import { z } from "zod";
import { readIfPresent, writeWhole } from "./files.ts";
import { isAlive } from "./processes.ts";

const Process = z.object({ pid: z.number().int(), started: z.string() });

const Server = z.object({
  process: Process,
  port: z.number().int(),
  url: z.string(),
  /** The folder with its data. */
  dir: z.string(),
});
export type ServerEntry = z.infer<typeof Server>;

/** The handlers that a user's workers offer. */
const Serves = z.object({ handlers: z.string(), namespace: z.string() });
export type Serves = z.infer<typeof Serves>;

const User = Process.extend({ id: z.string(), serves: Serves.optional() });
export type UserEntry = z.infer<typeof User>;

const State = z.object({
  redis: Server.optional(),
  postgres: Server.optional(),
  /** Who uses the servers, dead ones included until somebody looks. */
  users: z.array(User),
  /** The last user told the servers to end and could not wait for it. */
  stopping: z.boolean().default(false),
});
export type StackState = z.infer<typeof State>;

function stateFile(folder: string): string {
  return join(folder, "servers.json");
}

/** The state, without users that died. A file that is missing or unreadable is an empty state: servers are found by their own files. */
export function readState(folder: string): StackState {
  const text = readIfPresent(stateFile(folder));
  const empty: StackState = { users: [], stopping: false };
  if (text === undefined) return empty;
  try {
    const state = State.parse(JSON.parse(text));
    return { ...state, users: state.users.filter(isAlive) };
  } catch {
    return empty;
  }
}

export function writeState(folder: string, state: StackState): void {
  writeWhole(stateFile(folder), `${JSON.stringify(state, null, 2)}\n`);
}
