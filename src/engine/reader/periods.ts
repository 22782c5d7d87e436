/**
 * Makes periods ahead, so that the rows of new runs find tables of their time. Any number of supervisors may do so at once. One that cannot
 * goes on without: rows without a period are kept in DEFAULT.
 */
import { HitzeroError } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import { pause } from "../../base/wait.ts";
import { type Database, isLockTimeout } from "../../postgres/database.ts";
import { makePeriods } from "../../postgres/periods.ts";
import type { Limits } from "../limits.ts";
import { faultText } from "../own_fault.ts";

/** At least so often in the time of a period it is looked whether the next is to be made. */
const LOOKS = 4;
const LONGEST_PAUSE_MS = 3_600_000;
/** After a fault. */
const AGAIN_MS = 10_000;
/** A process that starts has more urgent work than what is wanted in weeks. */
const SETTLED_MS = 60_000;

export class PeriodMaker {
  readonly #database: Database;
  readonly #widthMs: number;
  readonly #limits: Limits;
  readonly #log: Log;
  readonly #settledMs: number;
  /** What was logged last; empty: it went well since. */
  #said = "";

  /** `settledMs`: for tests. */
  constructor(database: Database, widthMs: number, limits: Limits, log: Log, settledMs = SETTLED_MS) {
    this.#database = database;
    this.#widthMs = widthMs;
    this.#limits = limits;
    this.#log = log;
    this.#settledMs = settledMs;
  }

  /** The next one at once, the others in a while. */
  async keepMaking(stopping: AbortSignal): Promise<void> {
    const restMs = Math.min(this.#widthMs / LOOKS, LONGEST_PAUSE_MS);
    for (let ahead = 1; !stopping.aborted; ) {
      const isMade = await this.#make(ahead);
      const longestMs = isMade ? (ahead === 1 ? this.#settledMs : restMs) : AGAIN_MS;
      if (isMade) ahead = this.#limits.periods;
      await pause(Math.min(restMs, longestMs), stopping);
    }
  }

  /** Answers false after a fault, which is logged once. */
  async #make(ahead: number): Promise<boolean> {
    const mostMoved = this.#limits.strays;
    try {
      const options = { widthMs: this.#widthMs, ahead, mostMoved };
      const word = await makePeriods((work, settings) => this.#database.transaction(work, settings), options);
      if (word === "crowded")
        this.#say("too many rows of the next period are in DEFAULT: `migrate` moves them");
      else this.#said = "";
      return true;
    } catch (error) {
      // Somebody reads for long, or a server is away, which others report: there is time.
      const isPassing = error instanceof HitzeroError && error.code !== "PERMISSION_DENIED";
      if (!isPassing && !isLockTimeout(error)) this.#say(faultText(error));
      return false;
    }
  }

  #say(text: string): void {
    if (text !== this.#said) this.#log.warn({ error: text }, "no period is made");
    this.#said = text;
  }
}
