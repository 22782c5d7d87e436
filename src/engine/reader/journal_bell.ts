import type { RedisConnection } from "../../redis/connection.ts";
import type { Partition } from "../../redis/partition.ts";

/** Waits, on a connection of its own, until the journal goes on or somebody rings (`nudgeReader`). */
export class JournalBell {
  readonly #blocking: RedisConnection;
  readonly #partition: Partition;
  #rung = true;
  #lastNudge = "0-0";
  #blockingId: number | undefined;

  constructor(blocking: RedisConnection, partition: Partition) {
    this.#blocking = blocking;
    this.#partition = partition;
  }

  /** Did somebody ring since this was asked last? Of the time before the first wait it is not known: yes. */
  takeRing(): boolean {
    const rung = this.#rung;
    this.#rung = false;
    return rung;
  }

  /** An idle Redis looks only ten times a second whether a blocked read is over: this process counts the time by itself. */
  async wait(recorded: number, limitMs: number, stopping: AbortSignal): Promise<void> {
    this.#blockingId ??= await this.#blocking.redis.client("ID");
    if (stopping.aborted) return;
    const id = this.#blockingId;
    const { redis } = this.#partition.connection;
    const unblock = () => void redis.client("UNBLOCK", id).catch(() => {});
    const timer = setTimeout(unblock, limitMs);
    stopping.addEventListener("abort", unblock);
    try {
      await this.#read(recorded, limitMs);
    } finally {
      clearTimeout(timer);
      stopping.removeEventListener("abort", unblock);
    }
  }

  async #read(recorded: number, limitMs: number): Promise<void> {
    const { keys, epoch } = this.#partition;
    const streams = [keys.journal(epoch), keys.nudge];
    const positions = [`${recorded}-0`, this.#lastNudge];
    const reply = await this.#blocking.redis.xread(
      ...(["COUNT", 1, "BLOCK", Math.ceil(limitMs), "STREAMS", ...streams, ...positions] as [
        "COUNT",
        number,
        "BLOCK",
        number,
        "STREAMS",
        ...string[],
      ]),
    );
    for (const [key, entries] of reply ?? []) {
      if (key !== keys.nudge) continue;
      this.#rung = true;
      this.#lastNudge = entries.at(-1)?.[0] ?? this.#lastNudge;
    }
  }
}
