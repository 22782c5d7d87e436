/** The script's trigger rules and the pure table agree, over all counts of arrivals, in several orders. */

import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { newNonce } from "../../src/redis/nonce.ts";
import { Partition } from "../../src/redis/partition.ts";
import { readReady } from "../../src/redis/ready.ts";
import { callAdvance } from "../../src/redis/scripts/advance.ts";
import { ensureQueues } from "../../src/redis/scripts/ensure_queues.ts";
import { loadIR } from "../../src/redis/scripts/load_ir.ts";
import { openFence } from "../../src/redis/scripts/open.ts";
import { callStart } from "../../src/redis/scripts/start.ts";
import { type ArrivalCounts, decide, skippedArrival } from "../../src/token/rules.ts";
import { decodeToken, type ExecutionToken } from "../../src/token/token.ts";
import type { TriggerRule } from "../../src/workflow/ir/ir.ts";
import { irOf } from "../support/ir.ts";
import { redisUrl, testNamespace } from "../support/redis.ts";
import { INSTALLATION } from "./game.ts";

const RULES: TriggerRule[] = [
  "none_failed_min_one_success",
  "all_success",
  "all_done",
  "one_success",
  "one_failed",
  "all_failed",
  "none_failed",
  { quorum: 2 },
];
const LETTERS = { t: "taken", n: "notTaken", f: "failed" } as const;
type Letter = keyof typeof LETTERS;

let connection: RedisConnection;
let partition: Partition;
beforeAll(async () => {
  connection = await RedisConnection.open(redisUrl());
  partition = new Partition(connection, testNamespace(), 0, INSTALLATION);
  await openFence(partition, { epoch: "1", create: true });
  await ensureQueues(partition, ["default"]);
});
afterAll(() => connection.close());

/** Sends these arrivals to a join, one after the other; the join's state after each, in the script's letters. */
async function scriptVerdicts(rule: TriggerRule, arrivals: readonly Letter[]): Promise<(string | null)[]> {
  const ids = arrivals.map((_letter, index) => `s${index}`);
  const ir = irOf(
    `${ids.join(" ")} join`,
    ids.map((id) => `${id} -> join`),
    { join: rule },
  );
  const runId = crypto.randomUUID();
  const digest = newNonce();
  await loadIR(partition, digest, ir);
  await callStart(partition, {
    epoch: "1",
    deadline: connection.now() + 5_000,
    runs: [{ runId, generation: 1, digest, input: "{}", ir }],
  });
  const entries = await readReady(connection, [{ partition, queue: "default" }], "w", {
    count: 1_000,
    blockMs: 1,
  });
  const mine = entries
    .map(({ text }) => decodeToken(text) as ExecutionToken)
    .filter((token) => token.runId === runId);
  const states = [];
  for (const [index, letter] of arrivals.entries()) {
    const token = mine.find(({ node }) => node === index) as ExecutionToken;
    await callAdvance(partition, {
      worker: "w",
      leaseMs: 1_000,
      take: 0,
      reads: ["default"],
      claims: [],
      finished: [
        {
          ir,
          item: {
            ...token,
            queue: "default",
            outcome: letter === "f" ? "F" : "C",
            arrivals: letter === "f" ? "X" : `=${letter}`,
            unhandled: letter === "f",
            halt: false,
            limited: false,
            hand: false,
            needs: {},
            detail: { worker: "", started_at: 1, ended_at: 2, from: [] },
            output: "jnull",
            outputInJournal: true,
            keep: true,
          },
        },
      ],
    });
    states.push(await connection.redis.hget(partition.keys.run(runId), `n${arrivals.length}`));
  }
  return states;
}

/** The same by the pure table; once it has decided, what comes later is absorbed. */
function tableVerdicts(rule: TriggerRule, arrivals: readonly Letter[]): string[] {
  const counts: ArrivalCounts = { taken: 0, notTaken: 0, failed: 0 };
  let verdict = "wait";
  return arrivals.map((letter) => {
    counts[LETTERS[letter]] += 1;
    if (verdict === "wait") {
      const decided = decide(rule, arrivals.length, counts);
      verdict = decided.kind === "skip" ? decided.reason : decided.kind;
    }
    return verdict;
  });
}

function inWords(state: string | null): string {
  if (state === null) return "wait";
  return state.startsWith("A:") ? "fire" : (state.split(":")[1] as string);
}

test("a join's fate is the same in the script and in the table", async () => {
  const letters = fc.array(fc.constantFrom<Letter>("t", "n", "f"), { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...RULES), letters, async (rule, arrivals) => {
      expect((await scriptVerdicts(rule, arrivals)).map(inWords)).toEqual(tableVerdicts(rule, arrivals));
    }),
    {
      numRuns: 80,
      examples: RULES.flatMap((rule) =>
        (["t", "n", "f"] as const).map((letter) => [rule, [letter]] as [TriggerRule, Letter[]]),
      ),
    },
  );
});

test.each([
  ["upstream_failed", "s", "failed"],
  ["upstream_failed", "f", "not_taken"],
  ["upstream_failed", "a", "failed"],
  ["not_taken", "s", "not_taken"],
  ["not_taken", "f", "not_taken"],
  ["not_taken", "a", "not_taken"],
] as const)("a node skipped as %s sends along an edge on %s: %s", (reason, letter, arrival) => {
  const on = { s: "success", f: "failure", a: "always" } as const;
  expect(skippedArrival(reason, on[letter])).toBe(arrival);
});
