/**
 * How long script calls hold Redis: by the CPU time that they note themselves (`stopwatch.mjs`), and by the wall time of its slow log,
 * in which a call looks long that was interrupted.
 */
import type { Redis } from "ioredis";

/** Calls that take at least this long are noted one by one, microseconds. */
const NOTED_US = 1_000;
const NOTED_AT_MOST = 20_000;
const CPU_NOTES = "bench:script_cpu";

export interface Calls {
  /** Script or command. */
  name: string;
  /** Of those of 1 ms or more: at least 1, 2, 5 and 10 ms. */
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
  /** CPU time of scripts, the longest first. */
  cpu: Calls[];
  /** Wall time of scripts, the longest first. */
  wall: Calls[];
  /** Wall time of plain commands. */
  commands: Calls[];
}

export async function beginNoting(redis: Redis): Promise<void> {
  await redis.config("SET", "slowlog-log-slower-than", NOTED_US);
  await redis.config("SET", "slowlog-max-len", NOTED_AT_MOST);
  await redis.slowlog("RESET");
  await redis.config("RESETSTAT");
  await redis.del(CPU_NOTES);
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
  const wall = noted.flatMap(([, , taken, [command = ""]]): Taken[] =>
    /^eval/i.test(command) ? [["all", taken]] : [],
  );
  // Redis notes the commands that scripts call by themselves, too.
  const commands = noted.flatMap(([, , taken, [command = ""]]): Taken[] =>
    /^eval/i.test(command) ? [] : [[command.toLowerCase(), taken]],
  );
  const cpu = (await redis.lrange(CPU_NOTES, 0, -1)).map((note): Taken => {
    const [name = "", taken] = note.split(":");
    return [name, Number(taken)];
  });
  return { calls, mean_us: us / calls, cpu: told(cpu), wall: told(wall), commands: told(commands) };
}

/** Name of a script or command, and microseconds. */
type Taken = [name: string, us: number];

function scriptTotals(info: string): [calls: number, us: number] {
  let [calls, us] = [0, 0];
  for (const [, count, taken] of info.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+),usec=(\d+)/gm)) {
    calls += Number(count);
    us += Number(taken);
  }
  return [calls, us];
}

function told(all: readonly Taken[]): Calls[] {
  const byName = new Map<string, number[]>();
  for (const [name, us] of all) {
    const taken = byName.get(name) ?? [];
    byName.set(name, taken);
    taken.push(us / 1_000);
  }
  return [...byName]
    .map(([name, taken]) => {
      const over = (ms: number) => taken.filter((one) => one >= ms).length;
      return {
        name,
        over_1_ms: taken.length,
        over_2_ms: over(2),
        over_5_ms: over(5),
        over_10_ms: over(10),
        longest_ms: taken.reduce((most, one) => Math.max(most, one), 0),
      };
    })
    .sort((a, b) => b.longest_ms - a.longest_ms);
}
