/** What clients command, and what runs hand down to their child runs. Owns nothing: commands are rows, their effect is the scripts'. */
import type { Log } from "../../base/log.ts";
import {
  closeCommands,
  listOpenCommands,
  type OpenCommand,
  RUN_IS_OVER,
  type StepFault,
} from "../../postgres/commands.ts";
import type { Database } from "../../postgres/database.ts";
import type { Partition } from "../../redis/partition.ts";
import { applyCommand } from "../../redis/scripts/command.ts";
import { giveSignal } from "../../redis/scripts/signal.ts";
import { isFinalRunStatus } from "../../token/lifecycle.ts";
import { isSignalled } from "../nodes/signals.ts";
import type { KnownRuns } from "./known_runs.ts";
import type { RunEnds } from "./run_ends.ts";
import { AT_ONCE, type Round, type Service, WHEN_IT_COMES } from "./service.ts";

/** Outcome of a command that a run does not take, by the script's word. */
const REFUSALS: Readonly<Record<string, string | undefined>> = {
  final: RUN_IS_OVER,
  gone: RUN_IS_OVER,
  paused: "refused: the run is paused already",
  not_paused: "refused: the run is not paused",
  full: "refused: too many signals of this name are kept already",
};

interface CommandOptions {
  /** Commands that are applied before the journal is looked at again. */
  limit: number;
  log: Log;
}

export class Commands implements Service {
  readonly #partition: Partition;
  readonly #database: Database;
  readonly #runs: KnownRuns;
  readonly #ends: RunEnds;
  readonly #options: CommandOptions;
  /** Some wait for their runs to start on record. */
  #waiting = false;
  /** There may be more than the last look took. */
  #more = true;

  constructor(
    partition: Partition,
    database: Database,
    runs: KnownRuns,
    ends: RunEnds,
    options: CommandOptions,
  ) {
    this.#partition = partition;
    this.#database = database;
    this.#runs = runs;
    this.#ends = ends;
    this.#options = options;
  }

  async look({ due, rung, entries, after }: Round): Promise<number> {
    const mayHaveStarted = this.#waiting && entries > 0;
    if (due || rung || after.commanded || this.#more || mayHaveStarted) await this.#applyOpen();
    return this.#more ? AT_ONCE : WHEN_IT_COMES;
  }

  /**
   * Applies the commands that are open, a bounded number. Those of a run that has not started on record wait for that, in their order, but for
   * one that cancels. A run that is over on record hears of nothing: Redis remembers it for some minutes only.
   */
  async #applyOpen(): Promise<void> {
    const { limit, log } = this.#options;
    const open = await listOpenCommands(this.#database, this.#partition.number, limit);
    let moved = false;
    this.#waiting = false;
    for (const command of open) {
      const { run_id, kind, status, command_seq } = command;
      if (status === "PENDING" && kind !== "cancel" && kind !== "fail") {
        this.#waiting = true;
        break;
      }
      const word = isFinalRunStatus(status) && kind !== "fail" ? "final" : await this.#apply(command);
      log.info({ run_id, kind, word }, "a command was given to a run");
      // What took effect is closed by the transaction that records it.
      const refusal = word === "failed" ? "applied" : REFUSALS[word];
      if (refusal) await closeCommands(this.#database, [command_seq], refusal);
      moved ||= word !== "unstarted";
    }
    this.#more = moved && !this.#waiting && open.length === limit;
  }

  async #apply(command: OpenCommand) {
    const { run_id: runId, command_seq: seq, kind } = command;
    if (kind === "fail") {
      const { call, reason } = command.payload as StepFault;
      await this.#ends.endRun(runId, call, reason);
      return "failed";
    }
    if (kind === "signal") return this.#signal(command);
    const apply = () => applyCommand(this.#partition, runId, kind, seq);
    return (await this.#ends.carryOn(runId, kind, apply)) ?? "gone";
  }

  async #signal({ run_id: runId, command_seq: seq, ...signal }: OpenCommand) {
    const known = await this.#runs.irOf(runId);
    if (!known) return "gone";
    const { signal_name: name, scope, payload, issued_by: by, issued_at } = signal;
    const waiters = known.ir.nodes.filter(({ config, type }) => isSignalled(type) && config.name === name);
    const given = {
      seq,
      name: name as string,
      ...(scope === null ? {} : { scope }),
      transient: waiters.every(({ config }) => config.transient === true),
      payload: JSON.stringify({ payload, by, at: issued_at.toISOString() }),
    };
    const give = () => giveSignal(this.#partition, { runId, ...known }, given);
    return (await this.#ends.carryOn(runId, `signal ${name}`, give)) ?? "gone";
  }
}
