/** One call of a command: its arguments and flags, where it prints, and which servers it means. */
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { HitzeroError } from "../../base/errors.ts";
import { createLog, type Log, type LogLevel } from "../../base/log.ts";
import { resolveSettings, type Settings } from "../../engine/settings.ts";
import { isAlive } from "../../local/processes.ts";
import { readState } from "../../local/stack_state.ts";
import { Terminal } from "./terminal.ts";

/** Flags that every command has. */
interface GlobalFlags {
  redisUrl?: string;
  databaseUrl?: string;
  namespace?: string;
  json?: boolean;
  logLevel?: LogLevel;
}

/** Settings with servers in them. */
type ServerSettings = Settings & { redisUrl: string; databaseUrl: string };

/** Folder, inside the project's, that holds the servers of `up`. */
export const SERVERS_FOLDER = ".hitzero";

export class Invocation<Flags extends object = object> {
  readonly command: Command;
  readonly args: readonly string[];
  readonly flags: GlobalFlags & Flags;
  readonly terminal: Terminal;

  constructor(command: Command) {
    this.command = command;
    this.args = command.args;
    this.flags = command.optsWithGlobals<GlobalFlags & Flags>();
    this.terminal = new Terminal(this.flags.json === true);
  }

  log(standard: LogLevel): Log {
    return createLog(this.flags.logLevel ?? standard);
  }

  /** Flags, environment, `hitzero.config.json`. @throws HitzeroError of `resolveSettings` */
  settings(): Settings {
    return resolveSettings(this.flags as GlobalFlags);
  }

  /**
   * The settings with servers: those that are named, else the local ones of this folder.
   * @throws HitzeroError NO_SERVERS
   */
  servers(): ServerSettings {
    const settings = this.settings();
    const local = settings.redisUrl && settings.databaseUrl ? {} : localServers(process.cwd());
    const redisUrl = settings.redisUrl ?? local.redisUrl;
    const databaseUrl = settings.databaseUrl ?? local.databaseUrl;
    if (redisUrl !== undefined && databaseUrl !== undefined) return { ...settings, redisUrl, databaseUrl };
    throw noServers(redisUrl === undefined, databaseUrl === undefined);
  }

  /** The database alone. @throws HitzeroError NO_SERVERS */
  databaseUrl(): string {
    const url = this.settings().databaseUrl ?? localServers(process.cwd()).databaseUrl;
    if (url === undefined) throw noServers(false, true);
    return url;
  }
}

/** URLs of the servers that `up` runs for a project folder; those that do not run are left out. */
export function localServers(folder: string): { redisUrl?: string; databaseUrl?: string } {
  const { redis, postgres, stopping } = readState(join(folder, SERVERS_FOLDER));
  if (stopping) return {};
  return {
    ...(redis && isAlive(redis.process) ? { redisUrl: redis.url } : {}),
    ...(postgres && isAlive(postgres.process) ? { databaseUrl: postgres.url } : {}),
  };
}

function noServers(redis: boolean, postgres: boolean): HitzeroError {
  const missing = [...(redis ? ["Redis"] : []), ...(postgres ? ["Postgres"] : [])].join(" and no ");
  const variables = [...(redis ? ["HITZERO_REDIS_URL"] : []), ...(postgres ? ["HITZERO_DATABASE_URL"] : [])];
  return new HitzeroError(
    "NO_SERVERS",
    `no ${missing} is named, and \`hitzero up\` runs none in this folder`,
    {
      hint: `Start local servers here with \`npx hitzero up\`, or set ${variables.join(" and ")} (or the flags, or hitzero.config.json).`,
    },
  );
}

/** A parser for flags that are whole numbers. */
export function wholeNumber(lowest: number, highest: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= lowest && value <= highest) return value;
    throw new InvalidArgumentError(`Give a whole number from ${lowest} to ${highest}.`);
  };
}

/** Collects a flag that may be repeated. */
export function collected(value: string, before: string[] = []): string[] {
  return [...before, value];
}
