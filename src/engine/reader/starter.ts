import type { Log } from "../../base/log.ts";
import type { Database } from "../../postgres/database.ts";
import { listUnstarted } from "../../postgres/runs.ts";
import { isShortOfMemory } from "../../redis/connection.ts";
import type { Partition } from "../../redis/partition.ts";
import type { IRCache } from "../ir_cache.ts";
import { START_GRACE_MS } from "../limits.ts";
import { type StartWord, startRun } from "../start_run.ts";
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
    for (const { runId, digest, input, paused } of children) {
      const run = { runId, generation: 1, digest, epoch: this.#partition.epoch, input, paused };
      if ((await this.#start(run)) === "no_memory") return;
    }
  }

  /** A bounded number; answers whether there may be more. */
  async #startUnstarted(): Promise<boolean> {
    const { number, epoch } = this.#partition;
    const { limit, log } = this.#options;
    const rows = await listUnstarted(this.#database, number, START_GRACE_MS, limit);
    let moved = false;
    for (const row of rows) {
      const { run_id: runId, generation, ir_digest: digest, input, parent_paused: paused } = row;
      const word = await this.#start({ runId, generation, digest, epoch, input, paused });
      if (word === "no_memory") return false;
      if (word !== "started") continue;
      moved = true;
      log.info({ run_id: runId }, "an accepted run that never started is started");
    }
    return moved && rows.length === limit;
  }

  /** Undefined: the run is refused, and ended. A Redis without memory starts nothing, but goes on with what it has. */
  async #start(run: Parameters<typeof startRun>[2]): Promise<StartWord | "no_memory" | undefined> {
    const start = async () => startRun(this.#partition, await this.#options.irs.get(run.digest), run);
    try {
      const word = await this.#ends.carryOn(run.runId, "start", start);
      this.#isMemoryShort = false;
      return word;
    } catch (error) {
      if (!isShortOfMemory(error)) throw error;
      const facts = { partition: this.#partition.number };
      if (!this.#isMemoryShort)
        this.#options.log.warn(facts, "Redis has no memory left: runs start when it has");
      this.#isMemoryShort = true;
      return "no_memory";
    }
  }
}
