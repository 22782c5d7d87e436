/** The engines that are still measured: one of the peers that fails is named and left out from then on; the others go on. */
import type { Engine } from "./engine.ts";

/** A peer that failed, and when. */
export interface Failure {
  name: string;
  during: string;
  /** With the last words of its process. */
  reason: string;
}

export class Lineup {
  readonly #engines: Engine[] = [];
  readonly #all: Engine[] = [];
  readonly failures: Failure[] = [];
  readonly #onNotice: (line: string) => void;

  constructor(onNotice: (line: string) => void) {
    this.#onNotice = onNotice;
  }

  /** Those that have not failed. */
  get engines(): readonly Engine[] {
    return this.#engines;
  }

  /** Also those that failed: they may have been measured before. */
  get all(): readonly Engine[] {
    return this.#all;
  }

  add(engine: Engine): void {
    this.#engines.push(engine);
    this.#all.push(engine);
  }

  fail(name: string, during: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.failures.push({ name, during, reason });
    this.#onNotice(`${name} failed during ${during}, and is left out from here: ${reason}`);
  }

  /**
   * Has one engine do something; undefined when it failed, which ends it.
   * @throws what hitzero throws: without it there is nothing to compare with
   */
  async attempt<T>(engine: Engine, during: string, act: () => Promise<T>): Promise<T | undefined> {
    try {
      return await Promise.race([act(), engine.failed]);
    } catch (error) {
      if (engine.name === "hitzero") throw error;
      this.fail(engine.name, during, error);
      this.#engines.splice(this.#engines.indexOf(engine), 1);
      await engine.stop();
      return undefined;
    }
  }

  async stop(): Promise<void> {
    for (const engine of this.#all) await engine.stop();
  }
}
