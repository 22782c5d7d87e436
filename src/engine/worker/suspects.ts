/**
 * Suspects: executions that several workers were lost with. They are performed one at a time, with nothing else in the process, so that
 * whichever kills its process is charged with that and no other is (docs/adr/0015).
 *
 * Owns: whose turn it is in one worker, the suspects' or all others'. Invariant: the turn changes only when the worker holds nothing.
 */

/** Who performs the suspects of a worker's queues: itself; itself, and nothing else ever; or somebody who is told that there are some. */
export type SuspectsPolicy = "here" | "only" | (() => void);

export class SuspectTurns {
  readonly #policy: SuspectsPolicy;
  /** By partition, as listed last. */
  readonly #waiting = new Map<number, number>();
  /** It is the suspects' turn. */
  alone = false;
  /** Kept token of the suspect that is performed. */
  performed = "";

  constructor(policy: SuspectsPolicy) {
    this.#policy = policy;
  }

  /** It is never anybody else's turn. */
  get always(): boolean {
    return this.#policy === "only";
  }

  listed(partition: number, suspects: number): void {
    this.#waiting.set(partition, suspects);
    if (suspects > 0 && typeof this.#policy === "function") this.#policy();
  }

  /** How many tokens may be read now, of those whose turn it is; 0: none until something that is held is over. */
  room(concurrency: number, taken: number): number {
    const waiting = [...this.#waiting.values()].some((count) => count > 0);
    const due = this.#policy === "only" || (this.#policy === "here" && waiting);
    if ((due || this.alone) && taken > 0) return 0;
    this.alone = due;
    this.performed = "";
    return due ? 1 : concurrency - taken;
  }

  /** No suspect waits, whatever was listed. */
  none(): void {
    this.#waiting.clear();
  }
}
