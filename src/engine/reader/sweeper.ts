import { announceHalt, announceWithdrawn } from "../../redis/announcements.ts";
import type { Partition } from "../../redis/partition.ts";
import { type Burial, openBurials, sweepRun } from "../../redis/scripts/sweep.ts";
import type { Consequences } from "./consequences.ts";
import type { KnownRuns } from "./known_runs.ts";
import type { RunEnds } from "./run_ends.ts";
import { type Round, type Service, WHEN_IT_COMES } from "./service.ts";

/**
 * Brings executions in line with what became of their run: halted, resumed, a map that is gone.
 *
 * Owns: the runs that were halted and are not final yet, which are looked at again each second. Another reader finds them on record.
 */
export class Sweeper implements Service {
  readonly #partition: Partition;
  readonly #runs: KnownRuns;
  readonly #ends: RunEnds;
  /** By run: was it halted, or resumed? */
  readonly #sweeps = new Map<string, boolean>();

  constructor(partition: Partition, runs: KnownRuns, ends: RunEnds) {
    this.#partition = partition;
    this.#runs = runs;
    this.#ends = ends;
  }

  async look({ due, after }: Round): Promise<number> {
    for (const { runId, halted } of after.sweeps) this.#sweeps.set(runId, halted);
    for (const { runId } of after.finished) this.#sweeps.delete(runId);
    await this.#bury(after.burials);
    if (after.withdrawn.length > 0)
      await announceWithdrawn(this.#partition, this.#partition.keys.namespace, after.withdrawn);
    if (due || after.sweeps.length > 0) await this.#sweep();
    return WHEN_IT_COMES;
  }

  /** Withdraws what is left of the items of maps that are gone. */
  async #bury(burials: Consequences["burials"]): Promise<void> {
    const byRun = new Map<string, Burial[]>();
    for (const { runId, burial } of burials) byRun.set(runId, [...(byRun.get(runId) ?? []), burial]);
    for (const [runId, asked] of byRun) {
      await this.#ends.carryOn(runId, "bury", async () => {
        const known = await this.#runs.irOf(runId);
        const left = await openBurials(this.#partition, runId, asked);
        if (known && left.length > 0) await sweepRun(this.#partition, { runId, ...known }, left);
      });
    }
  }

  /** Waiting executions of halted and resumed runs. */
  async #sweep(): Promise<void> {
    const halted: string[] = [];
    for (const [runId, isHalted] of this.#sweeps) {
      if (!isHalted) this.#sweeps.delete(runId);
      await this.#ends.carryOn(runId, "sweep", async () => {
        const known = await this.#runs.irOf(runId);
        if (!known || (await this.#runs.isCutOff(runId))) return this.#sweeps.delete(runId);
        if (isHalted) halted.push(runId);
        return sweepRun(this.#partition, { runId, ...known });
      });
    }
    if (halted.length > 0) await announceHalt(this.#partition, this.#partition.keys.namespace, halted);
  }
}
