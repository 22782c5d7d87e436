/**
 * What becomes in Redis of runs that are over on record: their parents go on, what they hold is forgotten, and then the journal behind the
 * record goes. It follows the commit; a crash between the two is mended by the next reader, which repeats it (`take_over.ts`). And runs
 * that cannot be carried on, as the scripts refuse a call about them: they end as FAILED.
 */

import type { Log } from "../../base/log.ts";
import { presentable, storable } from "../../base/text.ts";
import type { Database } from "../../postgres/database.ts";
import { type EndedChild, readEndedChildren } from "../../postgres/record.ts";
import { announceHalt } from "../../redis/announcements.ts";
import type { Partition } from "../../redis/partition.ts";
import { compensateNext } from "../../redis/scripts/compensate.ts";
import { dropTimeLimits } from "../../redis/scripts/fire.ts";
import { forget } from "../../redis/scripts/forget.ts";
import { nudgeReader } from "../../redis/scripts/nudge.ts";
import { wakeParent } from "../../redis/scripts/wake.ts";
import type { ChildEnd } from "../nodes/waiting.ts";
import { faultText, isOwnFault } from "../own_fault.ts";
import { announceChanges } from "./announce.ts";
import { type Consequences, cutOff, type Finished, NO_CONSEQUENCES } from "./consequences.ts";
import type { KnownRuns } from "./known_runs.ts";
import { endRefused } from "./last_resort.ts";
import type { Ledger } from "./ledger.ts";

export class RunEnds {
  readonly #ledger: Ledger;
  readonly #partition: Partition;
  readonly #database: Database;
  readonly #runs: KnownRuns;
  readonly #log: Log;

  constructor(ledger: Ledger, partition: Partition, database: Database, runs: KnownRuns, log: Log) {
    this.#ledger = ledger;
    this.#partition = partition;
    this.#database = database;
    this.#runs = runs;
    this.#log = log;
  }

  /** What waits for the record goes on, runs that are over go, then the journal behind the record; last the changes are announced. */
  async follow({ seq, finished, compensating, changes }: Consequences): Promise<void> {
    const runIds = finished.map(({ runId }) => runId);
    const children = runIds.filter((runId) => this.#runs.get(runId)?.isChild !== false);
    for (const child of await readEndedChildren(this.#database, children)) {
      await this.carryOn(child.parent_run_id, `wake for ${child.run_id}`, () => this.#wakeParent(child));
    }
    for (const { runId, ir } of compensating) {
      await this.carryOn(runId, "compensate", () => compensateNext(this.#partition, runId, ir));
    }
    const blobs = await this.#blobsOf(finished);
    for (const runId of runIds) this.#runs.forget(runId);
    const timed = finished.flatMap((run) => (run.timed ? [{ runId: run.runId, generation: 1 }] : []));
    await dropTimeLimits(this.#partition, timed);
    await forget(
      this.#partition,
      seq,
      [...blobs].map(([runId, names]) => ({ runId, blobs: names })),
    );
    // Handlers that still perform something of them are told to stop.
    const stopped = finished.flatMap((run) => (run.cutOff ? [run.runId] : []));
    await announceHalt(this.#partition, this.#partition.keys.namespace, stopped);
    await announceChanges(this.#partition, changes);
  }

  /** Carries a run on; one that the scripts refuse to carry on ends. Answers undefined then. */
  async carryOn<T>(runId: string, call: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!isOwnFault(error)) throw error;
      await this.endRun(runId, call, faultText(error));
      return undefined;
    }
  }

  /** Ends a run that the scripts refuse to carry on with this call. Of one that is over, Redis forgets what it holds. */
  async endRun(runId: string, call: string, reason: string): Promise<void> {
    const facts = { partition: this.#partition.number, run_id: runId, call, reason };
    this.#log.error(facts, "a call is refused; its run ends as FAILED (STEP_REFUSED)");
    const ended = await this.#ledger.inTurn(async (commit): Promise<Consequences | undefined> => {
      if (!(await this.#runs.has(runId))) return undefined;
      const { row } = this.#ledger;
      const where = { seq: null, runId, nodeId: null, scope: null };
      const text = presentable(reason);
      const refusal = { ...where, code: "STEP_REFUSED" as const, reason: text, raw: storable(call) };
      const changes = await commit((client) => endRefused(client, row, [refusal], this.#runs));
      // It is another run on record now.
      this.#runs.forget(runId);
      return { ...NO_CONSEQUENCES, seq: row.recorded_seq, finished: [cutOff(runId)], changes: () => changes };
    });
    if (!ended) return;
    await this.follow(ended);
    // Its child runs are commanded to end.
    await nudgeReader(this.#partition);
  }

  /** Large values of each run, on record or not. */
  async #blobsOf(finished: readonly Finished[]): Promise<Map<string, string[]>> {
    const blobs = new Map(finished.map((run) => [run.runId, [...run.blobs]]));
    const asked = [...blobs.keys()].filter((runId) => this.#runs.get(runId)?.hasBlobs !== false);
    if (asked.length > 0) {
      const { rows } = await this.#database.query<{ run_id: string; name: string }>(
        "select run_id, name from hitzero.blobs where run_id = any ($1::uuid[])",
        [asked],
      );
      for (const row of rows) blobs.get(row.run_id)?.push(row.name);
    }
    return blobs;
  }

  async #wakeParent(child: EndedChild): Promise<void> {
    const { parent_run_id: runId, parent_node_id: nodeId, parent_scope: scope } = child;
    const known = await this.#runs.irOf(runId);
    if (!known) return;
    const node = known.ir.nodes.findIndex(({ id }) => id === nodeId);
    const { run_id, status, output, error } = child;
    const end: ChildEnd = { run_id, status, output, error };
    await wakeParent(this.#partition, { runId, ...known }, { node, scope, ended: JSON.stringify(end) });
  }
}
