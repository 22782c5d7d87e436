import type { OnRefused } from "../../redis/call_fault.ts";
import type { Partition } from "../../redis/partition.ts";
import { applyCommand } from "../../redis/scripts/command.ts";
import { fireTimers } from "../../redis/scripts/fire.ts";
import type { RunEnds } from "./run_ends.ts";
import { type Service, WHEN_IT_COMES } from "./service.ts";

/** Timers that are due: their executions go on; of runs whose own time is up nothing does. Owns nothing. */
export class Waker implements Service {
  readonly #partition: Partition;
  readonly #ends: RunEnds;
  readonly #onRefused: OnRefused;

  constructor(partition: Partition, ends: RunEnds, onRefused: OnRefused) {
    this.#partition = partition;
    this.#ends = ends;
    this.#onRefused = onRefused;
  }

  async look(): Promise<number> {
    const timeOut = async (runId: string, generation: number) => {
      const apply = () => applyCommand(this.#partition, runId, "time_out", 0, generation);
      await this.#ends.carryOn(runId, "time_out", apply);
    };
    const nextDue = await fireTimers(this.#partition, timeOut, this.#onRefused);
    if (nextDue === undefined) return WHEN_IT_COMES;
    return performance.now() + nextDue - this.#partition.connection.now();
  }
}
