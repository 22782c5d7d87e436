/** The work that some code does, counted: never in time, which a busy machine stretches. */
import { Session } from "node:inspector";

/**
 * Counts calls of JavaScript functions, in all modules together. Loops count by what they call; what is done inside a built-in
 * function does not. Everything is slow while one is open.
 */
export class WorkCounter {
  readonly #session = new Session();

  constructor() {
    this.#session.connect();
    this.#session.post("Profiler.enable");
    this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
  }

  /** Calls during `work`. */
  callsIn(work: () => void): number {
    this.#take();
    work();
    return this.#take();
  }

  close(): void {
    this.#session.post("Profiler.stopPreciseCoverage");
    this.#session.disconnect();
  }

  /** Calls since the last time. */
  #take(): number {
    let total = 0;
    this.#session.post("Profiler.takePreciseCoverage", (_error, { result }) => {
      for (const { functions } of result)
        for (const { ranges } of functions) for (const { count } of ranges) total += count;
    });
    return total;
  }
}
