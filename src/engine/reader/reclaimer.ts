import type { Log } from "../../base/log.ts";
import type { Database } from "../../postgres/database.ts";
import { readServices } from "../../postgres/registry.ts";
import type { OnRefused } from "../../redis/call_fault.ts";
import { listReadyStreams } from "../../redis/function_streams.ts";
import type { Partition } from "../../redis/partition.ts";
import { reclaimExpired } from "../../redis/scripts/reclaim.ts";
import { requeueUnclaimed } from "../../redis/scripts/requeue.ts";
import { tidyStreams } from "../../redis/scripts/tidy.ts";
import { GONE_UNCLAIMED } from "../limits.ts";
import { Rhythm, type Round, type Service, WHEN_IT_COMES } from "./service.ts";

interface ReclaimerOptions {
  /** Entries that a worker was given and did not claim within this time are put back, ms. */
  unclaimedMs: number;
  onRefused: OnRefused;
  log: Log;
}

/** Tokens of workers that are lost are handed out again, and what these left in Redis goes. Owns nothing. */
export class Reclaimer implements Service {
  readonly #partition: Partition;
  readonly #database: Database;
  readonly #options: ReclaimerOptions;
  /** A consumer that has not read for so long is of a worker that is gone. */
  readonly #goneMs: number;
  readonly #tidying: Rhythm;

  constructor(partition: Partition, database: Database, options: ReclaimerOptions) {
    this.#partition = partition;
    this.#database = database;
    this.#options = options;
    this.#goneMs = options.unclaimedMs * GONE_UNCLAIMED;
    this.#tidying = new Rhythm(this.#goneMs / 5, this.#goneMs / 5);
  }

  async look({ due }: Round): Promise<number> {
    if (due) await this.#reclaim();
    if (this.#tidying.comes()) await this.#tidy();
    return WHEN_IT_COMES;
  }

  async #reclaim(): Promise<void> {
    const { unclaimedMs, onRefused, log } = this.#options;
    const partition = this.#partition;
    const reclaimed = await reclaimExpired(partition, onRefused);
    let unclaimed = 0;
    for (const stream of await listReadyStreams(partition))
      unclaimed += await requeueUnclaimed(partition, stream, unclaimedMs, onRefused);
    if (reclaimed + unclaimed === 0) return;
    const facts = { partition: partition.number, reclaimed, unclaimed };
    log.warn(facts, "tokens of lost workers are handed out again");
  }

  async #tidy(): Promise<void> {
    const queues = (await this.#partition.queues()).map((queue) => ({ queue }));
    const services = await readServices(this.#database, queues);
    const unread = services.flatMap(({ queue, read }) => (read ? [] : [queue]));
    await tidyStreams(this.#partition, this.#goneMs, unread);
  }
}
