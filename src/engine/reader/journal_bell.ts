import type { RedisConnection } from "../../redis/connection.ts";
import type { Partition } from "../../redis/partition.ts";
import { RECORD_LOOK_MS } from "../limits.ts";

/**
 * Waits, on a connection of its own, until somebody rings (a script that journals what is not to wait, lua/lib/writes.lua, or a client that
 * commanded something), or for a while after the first entry that is not on record. Entries that nobody rings for lie until then: so a batch
 * takes what came together, and a run that is under way does not share its processor with the recording of each of its steps.
 */
export class JournalBell {
  readonly #blocking: RedisConnection;
  readonly #partition: Partition;
  readonly #lookMs: number;
  #rung = true;
  #lastNudge = "0-0";
  #blockingId: number | undefined;

  /** `lookMs`: how long an entry may lie. */
  constructor(blocking: RedisConnection, partition: Partition, lookMs = RECORD_LOOK_MS) {
    this.#blocking = blocking;
    this.#partition = partition;
    this.#lookMs = lookMs;
  }

  /** Did somebody ring since this was asked last? Of the time before the first wait it is not known: yes. */
  takeRing(): boolean {
    const rung = this.#rung;
    this.#rung = false;
    return rung;
  }

  /** Listens without waiting. */
  async hear(): Promise<void> {
    await this.#read([this.#partition.keys.nudge], [this.#lastNudge]);
  }

  async wait(recorded: number, limitMs: number, stopping: AbortSignal): Promise<void> {
    const { keys } = this.#partition;
    const until = performance.now() + limitMs;
    const streams = [keys.journal, keys.nudge];
    const hasEntry = await this.#block(streams, [`${recorded}-0`, this.#lastNudge], limitMs, stopping);
    if (this.#rung || !hasEntry) return;
    const leftMs = Math.min(this.#lookMs, until - performance.now());
    if (leftMs > 0) await this.#block([keys.nudge], [this.#lastNudge], leftMs, stopping);
  }

  /** An idle Redis looks only ten times a second whether a blocked read is over: this process counts the time by itself. */
  async #block(
    streams: string[],
    positions: string[],
    limitMs: number,
    stopping: AbortSignal,
  ): Promise<boolean> {
    this.#blockingId ??= await this.#blocking.redis.client("ID");
    if (stopping.aborted) return false;
    const id = this.#blockingId;
    const { redis } = this.#partition.connection;
    const unblock = () => void redis.client("UNBLOCK", id).catch(() => {});
    const timer = setTimeout(unblock, limitMs);
    stopping.addEventListener("abort", unblock);
    try {
      return await this.#read(streams, positions, limitMs);
    } finally {
      clearTimeout(timer);
      stopping.removeEventListener("abort", unblock);
    }
  }

  /** Answers whether the journal goes on. */
  async #read(streams: string[], positions: string[], blockMs?: number): Promise<boolean> {
    const block = blockMs === undefined ? [] : ["BLOCK", Math.ceil(blockMs)];
    const reply = await this.#blocking.redis.xread(
      ...(["COUNT", 1, ...block, "STREAMS", ...streams, ...positions] as [
        "COUNT",
        number,
        "STREAMS",
        ...string[],
      ]),
    );
    let hasEntry = false;
    for (const [key, entries] of reply ?? []) {
      if (key !== this.#partition.keys.nudge) hasEntry = true;
      else {
        this.#rung = true;
        this.#lastNudge = entries.at(-1)?.[0] ?? this.#lastNudge;
      }
    }
    return hasEntry;
  }
}
