/** Loads the scripts of `lua/` and runs them by digest, loading them again when a server has forgotten them. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";

const LUA_FOLDER = new URL("../../lua/", import.meta.url);

export type ScriptName =
  | "open"
  | "start"
  | "advance"
  | "step"
  | "note_running"
  | "forget"
  | "fire"
  | "renew"
  | "reclaim"
  | "requeue"
  | "command"
  | "sweep"
  | "signal"
  | "wake"
  | "compensate"
  | "revive"
  | "store"
  | "count_unoffered"
  | "tidy"
  | "load_ir"
  | "ensure_queues"
  | "nudge"
  | "clear_older";

interface Script {
  source: string;
  sha: string;
}

const loaded = new Map<ScriptName, Script>();

const read = (piece: string) => readFileSync(new URL(piece, LUA_FOLDER), "utf8");

/** Tables of letters: what they name is written into the scripts, as a script would build its tables anew in each call. */
const LETTERS = /^local (\w+) = (\{[^}]*\})$/gm;

function withLetters(source: string): string {
  const letters = new Map<string, string>();
  const without = source.replace(LETTERS, (whole, table: string, fields: string) => {
    const pairs = [...fields.matchAll(/(\w+) = ('[^']*')/g)];
    if (pairs.length === 0 || !/^[A-Z]+$/.test(table)) return whole;
    for (const [, name, letter] of pairs) letters.set(`${table}.${name}`, letter as string);
    return "";
  });
  return without.replace(/\b[A-Z]+\.\w+\b/g, (name) => letters.get(name) ?? name);
}

/** A script as it is sent: with the files that it includes. */
export function sourceOf(name: string): string {
  return withLetters(
    read(`${name}.lua`).replace(/^--@include (\S+)$/gm, (_line, piece: string) => read(piece)),
  );
}

function script(name: ScriptName): Script {
  let found = loaded.get(name);
  if (!found) {
    const source = sourceOf(name);
    found = { source, sha: createHash("sha1").update(source).digest("hex") };
    loaded.set(name, found);
  }
  return found;
}

/** Runs one script. Errors of Redis pass through; a missing script is sent and run again. */
export async function runScript(
  redis: Redis,
  name: ScriptName,
  keys: readonly string[],
  args: readonly (string | Buffer)[],
): Promise<string[]> {
  const { sha, source } = script(name);
  try {
    // The library flattens lists itself: hundreds of arguments by themselves would be copied twice more.
    return (await redis.evalsha(sha, keys.length, keys as never, args as never)) as string[];
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
    return (await redis.eval(source, keys.length, ...keys, ...args)) as string[];
  }
}

/** Did a script break, on what it was given or on what it found? The same call breaks it again. */
export function isScriptFault(error: unknown): boolean {
  return (
    error instanceof Error &&
    error.name === "ReplyError" &&
    /^(?:ERR|WRONGTYPE) .*(?:user_script|script: [0-9a-f]{40})/s.test(error.message)
  );
}
