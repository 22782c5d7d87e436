/**
 * What the partition's reader does about commands, time limits and halted runs. Owns nothing: commands are rows, their effect is
 * the scripts', and whatever is interrupted here is found again by the next look around.
 */
import type { Log } from "../../base/log.ts";
import {
  closeCommands,
  listBurials,
  listCommanded,
  listOpenCommands,
  type OpenCommand,
  RUN_IS_OVER,
  type StepFault,
} from "../../postgres/commands.ts";
import type { Database } from "../../postgres/database.ts";
import { listQuiet } from "../../postgres/runs.ts";
import type { Partition } from "../../redis/partition.ts";
import {
  announceHalt,
  announceWithdrawn,
  applyCommand,
  compensateNext,
  giveSignal,
  hasRest,
  type KnownRun,
  openBurials,
  reviveRun,
  sweepRun,
} from "../../redis/upkeep.ts";
import { isFinalRunStatus } from "../../token/lifecycle.ts";
import type { Limits } from "../limits.ts";
import { isSignalled } from "../nodes/signals.ts";
import type { Recorder } from "./recorder.ts";

/** Outcome of a command that a run does not take, by the script's word. */
const REFUSALS: Readonly<Record<string, string | undefined>> = {
  final: RUN_IS_OVER,
  gone: RUN_IS_OVER,
  paused: "refused: the run is paused already",
  not_paused: "refused: the run is not paused",
  full: "refused: too many signals of this name are kept already",
};

/** What is left when commands were applied. */
export interface Unapplied {
  /** Some wait for their runs to start on record. */
  waiting: boolean;
  /** There may be more than one look takes. */
  more: boolean;
}

export class CommandApplier {
  readonly #partition: Partition;
  readonly #database: Database;
  readonly #recorder: Recorder;
  readonly #namespace: string;
  readonly #log: Log;
  readonly #limits: Limits;
  /** The quiet run that was looked at last in this round. */
  #lastQuiet: string | null = null;

  constructor(
    partition: Partition,
    database: Database,
    recorder: Recorder,
    namespace: string,
    log: Log,
    limits: Limits,
  ) {
    this.#partition = partition;
    this.#database = database;
    this.#recorder = recorder;
    this.#namespace = namespace;
    this.#log = log;
    this.#limits = limits;
  }

  /** What a former reader may have left undone. */
  async takeOver(): Promise<void> {
    for (const { run_id, halted } of await listCommanded(this.#database, this.#partition.number)) {
      this.#recorder.sweeps.set(run_id, halted);
    }
    for (const { run_id, node_id, scope } of await listBurials(this.#database, this.#partition.number)) {
      await this.#recorder.carryOn(run_id, "bury", async () => {
        const known = await this.#recorder.irOf(run_id);
        const node = known?.ir.nodes.findIndex(({ id }) => id === node_id) ?? -1;
        this.#recorder.toBury(run_id, [node, scope]);
      });
    }
  }

  /**
   * Applies the commands that are open, a bounded number. Those of a run that has not started on record wait for that, in their order, but for
   * one that cancels. A run that is over on record hears of nothing: Redis remembers it for some minutes only.
   */
  async applyCommands(): Promise<Unapplied> {
    const { commands: limit } = this.#limits;
    const open = await listOpenCommands(this.#database, this.#partition.number, limit);
    let [waiting, moved] = [false, false];
    for (const command of open) {
      const { run_id, kind, status, command_seq } = command;
      if (status === "PENDING" && kind !== "cancel" && kind !== "fail") {
        waiting = true;
        break;
      }
      const word = isFinalRunStatus(status) && kind !== "fail" ? "final" : await this.#apply(command);
      this.#log.info({ run_id, kind, word }, "a command was given to a run");
      // What took effect is closed by the transaction that records it.
      const refusal = word === "failed" ? "applied" : REFUSALS[word];
      if (refusal) await closeCommands(this.#database, [command_seq], refusal);
      moved ||= word !== "unstarted";
    }
    return { waiting, more: moved && !waiting && open.length === limit };
  }

  async #apply(command: OpenCommand) {
    const { run_id: runId, command_seq: seq, kind } = command;
    if (kind === "fail") {
      const { call, reason } = command.payload as StepFault;
      await this.#recorder.endRun(runId, call, reason);
      return "failed";
    }
    if (kind === "signal") return this.#signal(command);
    return (
      (await this.#recorder.carryOn(runId, kind, () => applyCommand(this.#partition, runId, kind, seq))) ??
      "gone"
    );
  }

  async #signal({ run_id: runId, command_seq: seq, ...signal }: OpenCommand) {
    const known = await this.#recorder.irOf(runId);
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
    return (
      (await this.#recorder.carryOn(runId, `signal ${name}`, () =>
        giveSignal(this.#partition, { runId, ...known }, given),
      )) ?? "gone"
    );
  }

  /**
   * Looks at runs without activity, a bounded number at a time, each in its turn: what lies nowhere is handed out again; one of which nothing
   * is left fails. Answers whether there are more to be looked at in this round.
   */
  async reviveQuiet(quietMs: number): Promise<boolean> {
    const { quiet: limit } = this.#limits;
    const page = { quietMs, after: this.#lastQuiet, limit };
    const runIds = await listQuiet(this.#database, this.#partition.number, page);
    for (const runId of runIds) {
      this.#lastQuiet = runId;
      await this.#recorder.carryOn(runId, "revive", async () => {
        const known = await this.#recorder.irOf(runId);
        if (known) await this.#revive({ runId, ...known });
      });
    }
    if (runIds.length === limit) return true;
    this.#lastQuiet = null;
    return false;
  }

  async #revive(run: KnownRun): Promise<void> {
    const { revived, alive, compensating } = await reviveRun(this.#partition, run);
    const run_id = run.runId;
    if (revived > 0) this.#log.warn({ run_id, revived }, "executions that lay nowhere are handed out again");
    if (revived + alive > 0 || (await hasRest(this.#partition, run_id))) return;
    if (compensating) return compensateNext(this.#partition, run_id, run.ir);
    const word = await applyCommand(this.#partition, run_id, "stuck", 0);
    this.#log.error({ run_id, word }, "a run is stuck");
  }

  /** A run whose own time is up. */
  async timeOut(runId: string): Promise<void> {
    await this.#recorder.carryOn(runId, "time_out", () =>
      applyCommand(this.#partition, runId, "time_out", 0),
    );
  }

  /** Withdraws what is left of the items of maps that are gone. */
  async bury(): Promise<void> {
    const { burials } = this.#recorder;
    for (const [runId, asked] of burials) {
      await this.#recorder.carryOn(runId, "bury", async () => {
        const known = await this.#recorder.irOf(runId);
        const left = await openBurials(this.#partition, runId, asked);
        if (known && left.length > 0) await sweepRun(this.#partition, { runId, ...known }, left);
      });
      burials.delete(runId);
    }
  }

  /** Tells the workers of executions that were withdrawn. */
  async announceWithdrawn(): Promise<void> {
    const { withdrawn } = this.#recorder;
    if (withdrawn.length > 0) {
      await announceWithdrawn(this.#partition, this.#namespace, withdrawn.splice(0, withdrawn.length));
    }
  }

  /** Brings waiting executions in line; halted runs are looked at again until they are final. */
  async sweep(): Promise<void> {
    const halted: string[] = [];
    this.#recorder.unswept = false;
    for (const [runId, isHalted] of this.#recorder.sweeps) {
      if (!isHalted) this.#recorder.sweeps.delete(runId);
      await this.#recorder.carryOn(runId, "sweep", async () => {
        const known = await this.#recorder.irOf(runId);
        if (!known) return this.#recorder.sweeps.delete(runId);
        if (isHalted) halted.push(runId);
        return sweepRun(this.#partition, { runId, ...known });
      });
    }
    if (halted.length > 0) await announceHalt(this.#partition, this.#namespace, halted);
  }
}
