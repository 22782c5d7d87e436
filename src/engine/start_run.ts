/** Starting accepted runs, by their submitter or later by the reader. */

import { callInHalves } from "../redis/call_fault.ts";
import type { CallLimits } from "../redis/call_limits.ts";
import type { StartItem } from "../redis/calls.ts";
import type { Partition } from "../redis/partition.ts";
import type { StartWord } from "../redis/replies.ts";
import { loadIR } from "../redis/scripts/load_ir.ts";
import { callStart } from "../redis/scripts/start.ts";
import type { IRNode } from "../workflow/ir/ir.ts";
import { PART_BYTES, START_DEADLINE_MS } from "./limits.ts";

/** What became of one run: the script's word, or why its own call broke (the others of its call were not touched by it). */
export type StartAnswer = StartWord | Error;

/**
 * Starts accepted runs of one partition, as many in a call as it may hold Redis up for; loads IRs that the scripts lack. Each is
 * answered by itself, in the same order.
 * @throws FenceError, RedisAwayError; others, as of a Redis without memory, that are no run's own fault. Some may have been started then
 */
export async function startRuns(
  partition: Partition,
  epoch: string,
  runs: readonly StartItem[],
): Promise<StartAnswer[]> {
  const answers = new Map<StartItem, StartAnswer>();
  const start = async (some: readonly StartItem[]) => {
    const words = await startTogether(partition, epoch, some);
    some.forEach((run, index) => {
      answers.set(run, words[index] as StartWord);
    });
  };
  for (const some of callsOf(runs, partition.limits))
    await callInHalves(some, start, async (run, error) => void answers.set(run, error as Error));
  return runs.map((run) => answers.get(run) as StartAnswer);
}

/**
 * The runs of each call. What a run costs Redis goes with its entry nodes, each of which gets a token: `starts` is how many tokens one
 * call makes, or a quarter of that where each costs more. And with its input, which is copied.
 */
export function callsOf<T extends Pick<StartItem, "input" | "ir" | "paused">>(
  runs: readonly T[],
  { starts, edges }: Pick<CallLimits, "starts" | "edges">,
): T[][] {
  const calls: T[][] = [];
  let [tokens, bytes] = [0, 0];
  for (const run of runs) {
    const itsTokens = costOf(run, edges);
    const itsBytes = Buffer.byteLength(run.input);
    const last = calls.at(-1);
    if (last && tokens + itsTokens <= starts && bytes + itsBytes <= PART_BYTES) {
      last.push(run);
      tokens += itsTokens;
      bytes += itsBytes;
    } else {
      calls.push([run]);
      [tokens, bytes] = [itsTokens, itsBytes];
    }
  }
  return calls;
}

/** In tokens of a run that begins plainly. */
function costOf({ ir, paused }: Pick<StartItem, "ir" | "paused">, edges: number): number {
  // What one call does not settle of a run is left to a settle token.
  const tokens = Math.max(Math.min(ir.entries.length, edges), 1);
  // A run that needs neither goes a shorter way (lua/start.lua): measured, 28 µs with one token. Others took 77 to 155.
  const entersLoop = ir.entries.some((entry) => (ir.nodes[entry] as IRNode).body >= 0);
  return paused || entersLoop ? 4 * tokens : tokens;
}

/** One call, and a second one for those whose IR was missing. */
async function startTogether(
  partition: Partition,
  epoch: string,
  runs: readonly StartItem[],
): Promise<StartWord[]> {
  const call = (some: readonly StartItem[]) =>
    callStart(partition, { epoch, deadline: partition.connection.now() + START_DEADLINE_MS, runs: some });
  const words = await call(runs);
  const lacking = runs.filter((_run, index) => words[index] === "ir_missing");
  if (lacking.length === 0) return [...words];
  for (const [digest, ir] of new Map(lacking.map((run) => [run.digest, run.ir])))
    await loadIR(partition, digest, ir, partition.keysOf(epoch));
  const again = [...(await call(lacking))];
  return words.map((word) => (word === "ir_missing" ? (again.shift() as StartWord) : word));
}
