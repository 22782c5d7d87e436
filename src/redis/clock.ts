/** Redis's clock as this process estimates it: its own monotonic clock, and an offset that is measured again and again. */

/** By how much two clocks part, as a share of the time that went by; more than real ones do. */
const DRIFT = 0.001;

export class RedisClock {
  #offsetMs = 0;
  /** By how much the offset was wrong at most when it was measured. */
  #errorMs = Number.POSITIVE_INFINITY;
  #measuredAt = 0;

  /** Milliseconds since 1970. Steps of this machine's wall clock do not show in it. */
  now(): number {
    return Math.round(performance.now() + this.#offsetMs);
  }

  /** What was known is of another server. */
  forget(): void {
    this.#errorMs = Number.POSITIVE_INFINITY;
  }

  /**
   * Reads the server's TIME. A reading is wrong by half of what it took at most; it counts when it is better than what is known by now, or
   * shows that the server's clock was set. Answers that bound, in milliseconds.
   */
  async measure(readTime: () => Promise<[seconds: number, micros: number]>): Promise<number> {
    const asked = performance.now();
    const [seconds, micros] = await readTime();
    const heard = performance.now();
    const errorMs = (heard - asked) / 2;
    const offsetMs = Number(seconds) * 1_000 + Number(micros) / 1_000 - (asked + heard) / 2;
    const knownWithin = this.#errorMs + (heard - this.#measuredAt) * DRIFT;
    const wasSet = Math.abs(offsetMs - this.#offsetMs) > errorMs + knownWithin;
    if (errorMs <= knownWithin || wasSet) {
      this.#offsetMs = offsetMs;
      this.#errorMs = errorMs;
      this.#measuredAt = heard;
    }
    return errorMs;
  }
}
