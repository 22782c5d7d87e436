/**
 * The process in which a worker has its suspects performed, one at a time and with nothing else: whichever ends it is charged with that.
 *
 * Owns: that process. It is started when there are suspects, and anew only when it dies; its parent sees how.
 */
import { KeptProcess, type KeptProcessOptions } from "./kept_process.ts";

export class SuspectProcess {
  readonly #options: KeptProcessOptions;
  #child: KeptProcess | undefined;

  constructor(options: KeptProcessOptions) {
    this.#options = options;
  }

  /** There are suspects: starts it, unless it runs. One that does not start is tried again when they are seen again. */
  start(): void {
    if (this.#child) return;
    const child = new KeptProcess(this.#options);
    this.#child = child;
    child.start().catch((error: unknown) => {
      this.#options.onNotice(`${child.name} cannot be started: ${error}`);
      this.#child = undefined;
    });
  }

  /** Lets it end what it performs. */
  async stop(): Promise<void> {
    await this.#child?.stop();
  }

  kill(): void {
    this.#child?.kill();
  }
}
