/** Starting runs once they are accepted. What does not start now is left to the supervisor: the submit does not fail over it. */
import { RedisAwayError } from "../../redis/connection.ts";
import { FenceError } from "../../redis/fence_error.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import { startRuns } from "../start_run.ts";
import type { Connections } from "./connections.ts";

export interface AcceptedRun {
  runId: string;
  partition: number;
  ir: IR;
  digest: string;
  /** JSON text. */
  input: string;
}

/** Starts accepted runs, given the epochs of their partitions; answers those that are left to the supervisor. Never rejects. */
export async function startAccepted(
  { partitions, log }: Pick<Connections, "partitions" | "log">,
  runs: readonly AcceptedRun[],
  epochs: ReadonlyMap<number, string>,
): Promise<ReadonlySet<string>> {
  const left = new Set<string>();
  const startIn = async (partition: (typeof partitions)[number]) => {
    const mine = runs.filter((run) => run.partition === partition.number);
    const items = mine.map(({ runId, ir, digest, input }) => ({ runId, generation: 1, ir, digest, input }));
    try {
      const answers = await startRuns(partition, epochs.get(partition.number) ?? "0", items);
      answers.forEach((answer, index) => {
        const { runId } = mine[index] as AcceptedRun;
        if (answer === "late" || answer === "ir_missing") left.add(runId);
        if (typeof answer === "string") return;
        log.warn({ run_id: runId, error: String(answer) }, "the supervisor will start this run");
        left.add(runId);
      });
    } catch (error) {
      const expected = error instanceof FenceError || error instanceof RedisAwayError;
      log[expected ? "debug" : "warn"](
        { runs: mine.length, first: mine[0]?.runId, error: String(error) },
        "the supervisor will start these runs",
      );
      for (const { runId } of mine) left.add(runId);
    }
  };
  await Promise.all(partitions.map(startIn));
  return left;
}
