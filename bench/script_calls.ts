/** How long script calls hold Redis, by its own figures: the slow log, and the mean of all calls. */
import type { Redis } from "ioredis";
import { digestOf, SCRIPT_NAMES } from "../src/redis/scripts.ts";

/** Calls that take at least this long are noted one by one, microseconds. */
const NOTED_US = 1_000;
const NOTED_AT_MOST = 20_000;

export interface ScriptCalls {
  script: string;
  /** Of the noted ones: at least 1, 2, 5 and 10 ms. Redis counts wall time, preemption included. */
  over_1_ms: number;
  over_2_ms: number;
  over_5_ms: number;
  over_10_ms: number;
  longest_ms: number;
}

export interface Held {
  /** All calls of all scripts. */
  calls: number;
  mean_us: number;
  /** Scripts with calls of 1 ms or more, the longest first. */
  scripts: ScriptCalls[];
  /** The same of plain commands. */
  commands: ScriptCalls[];
}

export async function beginNoting(redis: Redis): Promise<void> {
  await redis.config("SET", "slowlog-log-slower-than", NOTED_US);
  await redis.config("SET", "slowlog-max-len", NOTED_AT_MOST);
  await redis.slowlog("RESET");
  await redis.config("RESETSTAT");
}

export async function readNoted(redis: Redis): Promise<Held> {
  const noted = (await redis.slowlog("GET", NOTED_AT_MOST)) as unknown as [
    number,
    number,
    number,
    string[],
  ][];
  const [calls, us] = scriptTotals(await redis.info("commandstats"));
  await redis.config("SET", "slowlog-log-slower-than", 10_000);
  const names = new Map(SCRIPT_NAMES.map((name) => [digestOf(name), name as string]));
  const scripts = new Map<string, number[]>();
  const commands = new Map<string, number[]>();
  for (const [, , taken, args] of noted) {
    const [command = "", first = ""] = args;
    const isScript = /^eval/i.test(command);
    // Redis notes the commands that scripts call by themselves, too.
    const name = isScript ? (names.get(first) ?? "first load") : command.toLowerCase();
    const into = isScript ? scripts : commands;
    into.set(name, [...(into.get(name) ?? []), taken / 1_000]);
  }
  return { calls, mean_us: us / calls, scripts: told(scripts), commands: told(commands) };
}

function scriptTotals(info: string): [calls: number, us: number] {
  let [calls, us] = [0, 0];
  for (const [, count, taken] of info.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+),usec=(\d+)/gm)) {
    calls += Number(count);
    us += Number(taken);
  }
  return [calls, us];
}

function told(byName: ReadonlyMap<string, readonly number[]>): ScriptCalls[] {
  return [...byName]
    .map(([script, taken]) => {
      const over = (ms: number) => taken.filter((one) => one >= ms).length;
      return {
        script,
        over_1_ms: taken.length,
        over_2_ms: over(2),
        over_5_ms: over(5),
        over_10_ms: over(10),
        longest_ms: taken.reduce((most, one) => Math.max(most, one), 0),
      };
    })
    .sort((a, b) => b.longest_ms - a.longest_ms);
}
