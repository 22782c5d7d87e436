/**
 * The leases of what a worker holds: listed every third of a lease, they are renewed.
 *
 * Owns: for how long what is held of a partition may be counted on. An execution whose lease is gone was given to another: its handler is
 * told to stop. So are all of a partition when Redis was out of reach for a lease.
 */
import type { Log } from "../../base/log.ts";
import { Patience } from "../../base/patience.ts";
import type { Partition } from "../../redis/partition.ts";
import { renewLeases } from "../../redis/scripts/renew.ts";
import type { Executions } from "./executions.ts";
import type { FencedOut } from "./fenced_out.ts";
import { callOff, lookAround } from "./interruptions.ts";
import type { Lane } from "./lane.ts";
import type { Liveness } from "./liveness.ts";
import type { ReadyStreams } from "./ready_streams.ts";
import type { SuspectTurns } from "./suspects.ts";

export interface LeasesOptions {
  workerId: string;
  leaseMs: number;
  log: Log;
  streams: ReadyStreams;
  suspects: SuspectTurns;
  fencedOut: FencedOut;
  /** The thread that renews what this worker is known by. */
  liveness: Pick<Liveness, "renews">;
  /** The worker is told to stop. */
  stopping: AbortSignal;
  /** A call to a partition failed. */
  onFailed: (partition: Partition, error: unknown) => void;
}

export class Leases {
  readonly #options: LeasesOptions;
  readonly #executions: Executions;
  readonly #patience = new Map<Lane, Patience>();

  constructor(executions: Executions, options: LeasesOptions) {
    this.#executions = executions;
    this.#options = options;
  }

  /** Lists what is held of a partition; returns what is held no more. */
  async list(lane: Lane): Promise<string[]> {
    const { workerId, leaseMs, streams, suspects, fencedOut, liveness, stopping, onFailed } = this.#options;
    const { partition } = lane;
    const ofSuspects = await streams.ofSuspects();
    const { since } = lane;
    const listing = {
      worker: workerId,
      leaseMs,
      held: this.#executions.keptOf(lane),
      suspects: ofSuspects.filter((stream) => stream.partition === partition),
      since,
      leaves: stopping.aborted,
      alone: suspects.performed,
    };
    try {
      const { keys } = partition;
      const answer = await renewLeases(partition, listing);
      fencedOut.taken(partition.number);
      liveness.renews(partition.number, keys);
      suspects.listed(partition.number, answer.suspects);
      return answer.lost;
    } catch (error) {
      onFailed(partition, error);
      throw error;
    }
  }

  /** Renews the leases of all tokens held of a partition. */
  async renew(lane: Lane): Promise<void> {
    const lost = await this.list(lane).catch(() => undefined);
    if (lost !== undefined) this.heardFrom(lane);
    const { running } = this.#executions;
    for (const slot of lost?.length ? running : []) {
      if (!lost?.includes(slot.kept)) continue;
      const place = { run_id: slot.runId, node: slot.nodeIndex };
      this.#options.log.warn(place, "the lease of an execution is lost");
      callOff(slot, "lost");
    }
    await lookAround(running, lane).catch(() => {});
  }

  /** The leases are good for a while. */
  heardFrom(lane: Lane): void {
    const patience =
      this.#patience.get(lane) ?? new Patience(this.#options.leaseMs, () => this.#letGoOf(lane));
    this.#patience.set(lane, patience);
    patience.begin();
  }

  close(): void {
    for (const patience of this.#patience.values()) patience.end();
  }

  /** For a whole lease Redis was not reached: what is held may be another's by now. Only time in which this loop turned counts. */
  #letGoOf(lane: Lane): void {
    const { number } = lane.partition;
    const { waiting, performing } = this.#executions;
    const here = performing.filter(({ partition }) => partition === number);
    const executions = here.length + waiting.filter(({ partition }) => partition === number).length;
    if (executions === 0) return;
    this.#options.log.warn(
      { partition: number, executions },
      "Redis was out of reach for a lease: handlers are told to stop, and what they held is left to others",
    );
    this.#executions.leaveWaiting(lane);
    for (const slot of here) callOff(slot, "lost");
  }
}
