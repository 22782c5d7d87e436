/** The streams from which a worker takes tokens: those of its queues and, while there are such, those of functions that it offers. */
import { listFunctionStreams } from "../redis/function_streams.ts";
import { SETTLE_QUEUE } from "../redis/keys.ts";
import type { Partition } from "../redis/partition.ts";
import type { ReadyStream } from "../redis/ready.ts";
import type { Offers } from "./offers.ts";

/** An announcement that was missed costs this long. */
const LOOK_MS = 5_000;

export class ReadyStreams {
  readonly #partitions: readonly Partition[];
  readonly #queues: readonly string[];
  readonly #offers: Offers;
  #streams: ReadyStream[] = [];
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(partitions: readonly Partition[], queues: readonly string[], offers: Offers) {
    this.#partitions = partitions;
    this.#queues = queues;
    this.#offers = offers;
  }

  /** There may be others by now. */
  forget(): void {
    this.#lookedAt = Number.NEGATIVE_INFINITY;
  }

  async list(): Promise<readonly ReadyStream[]> {
    const now = performance.now();
    if (now - this.#lookedAt < LOOK_MS) return this.#streams;
    this.#lookedAt = now;
    this.#streams = (await Promise.all(this.#partitions.map((partition) => this.#of(partition)))).flat();
    return this.#streams;
  }

  /** Those of suspects, which are read by themselves. */
  ofSuspects(): readonly ReadyStream[] {
    return this.#partitions.flatMap((partition) =>
      this.#queues.map((queue) => ({ partition, queue, suspects: true })),
    );
  }

  async #of(partition: Partition): Promise<ReadyStream[]> {
    const functions = await listFunctionStreams(partition);
    return [
      ...[SETTLE_QUEUE, ...this.#queues].map((queue) => ({ partition, queue })),
      ...functions
        .filter(({ queue, functionName }) => this.#queues.includes(queue) && this.#offers.has(functionName))
        .map((stream) => ({ ...stream, partition })),
    ];
  }
}
