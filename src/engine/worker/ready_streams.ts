/**
 * The streams from which a worker takes tokens: those of its queues and, while there are such, those of functions that it offers. Suspects lie
 * in streams of their own, in the same two kinds.
 *
 * Owns: which function streams there are, as read last. What is out of date costs time only: a token lies longer.
 */
import { listFunctionStreams } from "../../redis/function_streams.ts";
import { type FunctionStream, SETTLE_QUEUE } from "../../redis/keys.ts";
import type { Partition } from "../../redis/partition.ts";
import type { ReadyStream } from "../../redis/ready.ts";
import type { Offers } from "./offers.ts";

/** An announcement that was missed costs this long. */
const LOOK_MS = 5_000;

export class ReadyStreams {
  readonly #partitions: readonly Partition[];
  readonly #queues: readonly string[];
  readonly #offers: Offers;
  /** By partition, in their order. */
  #functions: Promise<readonly FunctionStream[][]> = Promise.resolve([]);
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** What `list` answers as long as nothing is looked up anew. */
  #listed: { functions: readonly FunctionStream[][]; streams: readonly ReadyStream[] } | undefined;

  constructor(partitions: readonly Partition[], queues: readonly string[], offers: Offers) {
    this.#partitions = partitions;
    this.#queues = queues;
    this.#offers = offers;
  }

  /** There may be others by now. */
  forget(): void {
    this.#lookedAt = Number.NEGATIVE_INFINITY;
  }

  /** Those of all partitions, but for those of suspects. */
  async list(): Promise<readonly ReadyStream[]> {
    const functions = await this.#look();
    if (this.#listed?.functions === functions) return this.#listed.streams;
    const streams = this.#partitions.flatMap((partition, index) =>
      [
        ...[SETTLE_QUEUE, ...this.#queues].map((queue) => ({ queue })),
        ...(functions[index] ?? []).filter(({ suspects }) => !suspects),
      ].map((place) => ({ ...place, partition })),
    );
    this.#listed = { functions, streams };
    return streams;
  }

  /** Those of suspects, which are read by themselves. */
  async ofSuspects(): Promise<readonly ReadyStream[]> {
    const functions = await this.#look();
    return this.#partitions.flatMap((partition, index) =>
      [
        ...this.#queues.map((queue) => ({ queue, suspects: true })),
        ...(functions[index] ?? []).filter(({ suspects }) => suspects),
      ].map((place) => ({ ...place, partition })),
    );
  }

  /** Function streams of which this worker reads. Calls that come meanwhile share a look; one that fails is none. */
  #look(): Promise<readonly FunctionStream[][]> {
    const now = performance.now();
    if (now - this.#lookedAt < LOOK_MS) return this.#functions;
    this.#lookedAt = now;
    const looking = Promise.all(this.#partitions.map((partition) => this.#of(partition)));
    this.#functions = looking;
    looking.catch(() => {
      if (this.#functions === looking) this.forget();
    });
    return looking;
  }

  async #of(partition: Partition): Promise<FunctionStream[]> {
    const functions = await listFunctionStreams(partition);
    return functions.filter(
      ({ queue, functionName }) => this.#queues.includes(queue) && this.#offers.has(functionName),
    );
  }
}
