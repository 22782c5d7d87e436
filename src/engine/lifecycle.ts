/**
 * The life of a process that serves the engine: it starts once, stops once, and gives signs of life in between. A second call of either
 * answers as the first; one that was stopped does not start again.
 */
import { hostname } from "node:os";
import type { Database } from "../postgres/database.ts";
import { heartbeat, type Registration, signOff } from "../postgres/registry.ts";
import { alreadyStopped } from "./already_stopped.ts";
import { HEARTBEAT_MS } from "./limits.ts";
import { VERSION } from "./version.ts";

interface Life {
  /** Its name in the registry. */
  id: string;
  start(): Promise<void>;
  /** `stopping` is aborted by now, and nothing starts any more. */
  stop(): Promise<void>;
}

export class Lifecycle {
  readonly #life: Life;
  readonly #stopping = new AbortController();
  #started: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(life: Life) {
    this.#life = life;
  }

  /** Aborted when it is told to stop. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** @throws HitzeroError ALREADY_STOPPED, or what the start of this life does */
  start(): Promise<void> {
    this.#started ??= this.#stopped ? Promise.reject(alreadyStopped(this.#life.id)) : this.#life.start();
    return this.#started;
  }

  /** Stops at once, by `end` instead of `stop` and whatever is under way. A stop that comes later answers as this does. */
  abandon(end: () => Promise<void>): Promise<void> {
    this.#stopping.abort();
    this.#stopped = end();
    return this.#stopped;
  }

  /** A stop may come while it still starts: it waits for that. */
  stop(): Promise<void> {
    this.#stopped ??= (async () => {
      this.#stopping.abort();
      await this.#started?.catch(() => {});
      await this.#life.stop();
    })();
    return this.#stopped;
  }
}

/** Signs of life in the registry. One that is missed is made up for by the next. */
export class Heart {
  readonly #database: Database;
  readonly #registration: Registration;
  #timer: NodeJS.Timeout | undefined;

  constructor(database: Database, registration: Omit<Registration, "host" | "pid" | "version">) {
    this.#database = database;
    this.#registration = { ...registration, host: hostname(), pid: process.pid, version: VERSION };
  }

  /** Enters the process. @throws what Postgres refuses */
  async begin(): Promise<void> {
    const beat = () => heartbeat(this.#database, this.#registration);
    await beat();
    this.#timer = setInterval(() => void beat().catch(() => {}), HEARTBEAT_MS);
  }

  /** No more signs: to others the process ended without a word. */
  cease(): void {
    clearInterval(this.#timer);
  }

  /** Signs the process off, if it is to be had. */
  async end(): Promise<void> {
    this.cease();
    await signOff(this.#database, this.#registration.workerId).catch(() => {});
  }
}
