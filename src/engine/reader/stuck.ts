import type { Log } from "../../base/log.ts";
import type { Database } from "../../postgres/database.ts";
import { listQuiet } from "../../postgres/runs.ts";
import type { KnownRun } from "../../redis/known_run.ts";
import type { Partition } from "../../redis/partition.ts";
import { applyCommand } from "../../redis/scripts/command.ts";
import { compensateNext } from "../../redis/scripts/compensate.ts";
import { hasRest, reviveRun } from "../../redis/scripts/revive.ts";
import type { KnownRuns } from "./known_runs.ts";
import type { RunEnds } from "./run_ends.ts";
import { Rhythm, type Round, type Service, WHEN_IT_COMES } from "./service.ts";

interface StuckOptions {
  /** A run without any event for this long is looked at, ms. */
  quietMs: number;
  /** Runs that are looked at together. */
  limit: number;
  log: Log;
}

/** Before the next part of the quiet runs is looked at. */
const NEXT_PART_MS = 1_000;

/**
 * Runs without activity, each in its turn: what lies nowhere is handed out again; one of which nothing is left fails.
 *
 * Owns: how far it came among them. Another reader begins anew.
 */
export class StuckRuns implements Service {
  readonly #partition: Partition;
  readonly #database: Database;
  readonly #runs: KnownRuns;
  readonly #ends: RunEnds;
  readonly #options: StuckOptions;
  readonly #rhythm: Rhythm;
  /** The run that was looked at last, among those that are quiet now. */
  #last: string | null = null;

  constructor(
    partition: Partition,
    database: Database,
    runs: KnownRuns,
    ends: RunEnds,
    options: StuckOptions,
  ) {
    this.#partition = partition;
    this.#database = database;
    this.#runs = runs;
    this.#ends = ends;
    this.#options = options;
    this.#rhythm = new Rhythm(options.quietMs / 5, options.quietMs / 5);
  }

  async look({ upToDate }: Round): Promise<number> {
    // Behind the record, runs would seem quiet that are not.
    if (!upToDate || !this.#rhythm.comes()) return WHEN_IT_COMES;
    if (await this.#lookAtSome()) this.#rhythm.hasten(NEXT_PART_MS);
    return WHEN_IT_COMES;
  }

  /** A bounded number of them; answers whether there are more. */
  async #lookAtSome(): Promise<boolean> {
    const { quietMs, limit } = this.#options;
    const page = { quietMs, after: this.#last, limit };
    const runIds = await listQuiet(this.#database, this.#partition.number, page);
    for (const runId of runIds) {
      this.#last = runId;
      await this.#ends.carryOn(runId, "revive", async () => {
        const known = await this.#runs.irOf(runId);
        if (known) await this.#revive({ runId, ...known });
      });
    }
    if (runIds.length === limit) return true;
    this.#last = null;
    return false;
  }

  async #revive(run: KnownRun): Promise<void> {
    const { log } = this.#options;
    const { revived, alive, compensating } = await reviveRun(this.#partition, run);
    const run_id = run.runId;
    if (revived > 0) log.warn({ run_id, revived }, "executions that lay nowhere are handed out again");
    if (revived + alive > 0 || (await hasRest(this.#partition, run_id))) return;
    if (compensating) return compensateNext(this.#partition, run_id, run.ir);
    const word = await applyCommand(this.#partition, run_id, "stuck", 0);
    log.error({ run_id, word }, "a run is stuck");
  }
}
