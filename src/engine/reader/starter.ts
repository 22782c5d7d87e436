import type { Log } from "../../base/log.ts";
import type { Database } from "../../postgres/database.ts";
import { listUnstarted } from "../../postgres/runs.ts";
import type { StartItem } from "../../redis/calls.ts";
import { isShortOfMemory } from "../../redis/connection.ts";
import type { Partition } from "../../redis/partition.ts";
import type { IRCache } from "../ir_cache.ts";
import { START_GRACE_MS } from "../limits.ts";
import { startRuns } from "../start_run.ts";
import type { Consequences } from "./consequences.ts";
import type { RunEnds } from "./run_ends.ts";
import { AT_ONCE, type Round, type Service, WHEN_IT_COMES } from "./service.ts";

interface StarterOptions {
  irs: IRCache;
  /** Accepted runs that are started together. */
  limit: number;
  log: Log;
}

/**
 * Starts child runs that are on record, and accepted runs whose submitter did not get to it. A child that is missed is found as one of
 * these. Owns nothing.
 */
export class Starter implements Service {
  readonly #partition: Partition;
  readonly #database: Database;
  readonly #ends: RunEnds;
  readonly #options: StarterOptions;
  /** There may be more than the last look took. */
  #more = false;
  #isMemoryShort = false;

  constructor(partition: Partition, database: Database, ends: RunEnds, options: StarterOptions) {
    this.#partition = partition;
    this.#database = database;
    this.#ends = ends;
    this.#options = options;
  }

  async look({ due, upToDate, after }: Round): Promise<number> {
    await this.#startChildren(after.children);
    if (due || (upToDate && this.#more)) {
      const more = await this.#startUnstarted();
      // Behind the record, those that are found may have started: it says nothing of others.
      this.#more = more || (this.#more && !upToDate);
    }
    return this.#more ? AT_ONCE : WHEN_IT_COMES;
  }

  async #startChildren(children: Consequences["children"]): Promise<void> {
    await this.#start(
      children.map(({ runId, digest, input, paused }) => ({ runId, generation: 1, digest, input, paused })),
    );
  }

  /** A bounded number; answers whether there may be more. */
  async #startUnstarted(): Promise<boolean> {
    const { limit, log } = this.#options;
    const rows = await listUnstarted(this.#database, this.#partition.number, START_GRACE_MS, limit);
    const started = await this.#start(
      rows.map(({ run_id: runId, generation, ir_digest: digest, input, parent_paused: paused }) => {
        return { runId, generation, digest, input, paused };
      }),
    );
    for (const runId of started) log.info({ run_id: runId }, "an accepted run that never started is started");
    return started.length > 0 && rows.length === limit;
  }

  /**
   * Starts runs together; answers which were. One that is refused ends. A Redis without memory starts nothing, but goes on with what it
   * has.
   */
  async #start(runs: readonly Omit<StartItem, "ir">[]): Promise<string[]> {
    const items: StartItem[] = [];
    for (const run of runs) {
      const ir = await this.#carryOn(run.runId, () => this.#options.irs.get(run.digest));
      if (ir !== undefined) items.push({ ...run, ir });
    }
    const { number, epoch } = this.#partition;
    try {
      const answers = await startRuns(this.#partition, epoch, items);
      if (items.length > 0) this.#isMemoryShort = false;
      for (const [index, { runId }] of items.entries()) {
        const answer = answers[index];
        if (answer instanceof Error) await this.#carryOn(runId, () => Promise.reject(answer));
      }
      return items.flatMap(({ runId }, index) => (answers[index] === "started" ? [runId] : []));
    } catch (error) {
      if (!isShortOfMemory(error)) throw error;
      if (!this.#isMemoryShort)
        this.#options.log.warn({ partition: number }, "Redis has no memory left: runs start when it has");
      this.#isMemoryShort = true;
      return [];
    }
  }

  #carryOn<T>(runId: string, work: () => Promise<T>): Promise<T | undefined> {
    return this.#ends.carryOn(runId, "start", work);
  }
}
