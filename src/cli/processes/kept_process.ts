/**
 * A worker or supervisor as a child process that is kept alive.
 *
 * Owns: the process. It is a process group of its own, so that the terminal's Ctrl-C reaches only the parent, which ends the
 * children in order. It has a channel to the parent: when the parent dies, however it dies, the channel closes and the
 * child ends. A child that dies by itself is started again, each time after a longer pause.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { HitzeroError } from "../../base/errors.ts";
import { pause } from "../../base/wait.ts";
import type { ReadyMessage } from "../shell/lifetime.ts";
import { LastWords } from "./last_words.ts";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/** A child that lived this long has earned a short pause again. */
const SETTLED_MS = 30_000;

export interface KeptProcessOptions {
  /** For the user: `worker 1`. */
  name: string;
  /** Arguments of hitzero's own command line. */
  args: readonly string[];
  /** Working folder; this process's unless given. */
  cwd?: string;
  /** Added to this process's environment. Secrets go here, as arguments can be seen by others. */
  env: Readonly<Record<string, string>>;
  /** Receives each line that the child prints. */
  onOutput: (name: string, line: string) => void;
  /** Receives words on deaths and restarts. */
  onNotice: (line: string) => void;
  /** Receives the path or URL of each module that the child imports. */
  onModule?: (module: string) => void;
  /** Pauses before restarts grow up to this, milliseconds. Default 15,000. */
  longestPauseMs?: number;
  /** Told when one that served ended by itself: its worker's id, and how it ended, with what it printed last. */
  onDeath?: (worker: string, words: string) => void;
}

/** What Node says of modules. */
interface ModulesMessage {
  "watch:import"?: unknown[];
  "watch:require"?: unknown[];
}

export class KeptProcess {
  readonly name: string;
  readonly #options: KeptProcessOptions;
  readonly #stopping = new AbortController();
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #worker = "";
  #words = new LastWords();
  #keeping: Promise<void> | undefined;

  constructor(options: KeptProcessOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Starts it; resolves once it serves.
   * @throws HitzeroError CHILD_NOT_STARTED when it ends before
   */
  async start(): Promise<ReadyMessage> {
    const { ready, ended } = this.#spawn();
    const message = await Promise.race([ready, ended.then((end) => end)]);
    if (typeof message === "object") {
      this.#keeping = this.#keep(ended);
      return message;
    }
    throw new HitzeroError("CHILD_NOT_STARTED", `${this.name} ended at its start (${message})`, {
      hint: "What it said stands above.",
      exitCode: message === "exit code 2" ? 2 : message === "exit code 3" ? 3 : 1,
    });
  }

  /** Has it end in order, and waits for that. May be called again. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    if (this.#isRunning) this.#child?.kill("SIGTERM");
    await this.#keeping;
    await this.#ended;
  }

  /** Ends it at once, with everything it started. */
  kill(): void {
    this.#stopping.abort();
    if (!this.#isRunning || this.#child?.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, "SIGKILL");
    } catch {
      // It ended between the look and the signal.
    }
  }

  get #isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async #keep(first: Promise<string>): Promise<void> {
    let ended = first;
    let startedAt = performance.now();
    let pauseMs = FIRST_PAUSE_MS;
    while (true) {
      const end = await ended;
      if (this.#stopping.signal.aborted) return;
      const words = this.#words.text;
      if (this.#worker !== "") this.#options.onDeath?.(this.#worker, words === "" ? end : `${end}: ${words}`);
      if (performance.now() - startedAt > SETTLED_MS) pauseMs = FIRST_PAUSE_MS;
      this.#options.onNotice(
        `${this.name} ended unexpectedly (${end}); it is started again in ${pauseMs / 1_000} s`,
      );
      await pause(pauseMs, this.#stopping.signal);
      if (this.#stopping.signal.aborted) return;
      pauseMs = Math.min(pauseMs * 2, this.#options.longestPauseMs ?? LONGEST_PAUSE_MS);
      startedAt = performance.now();
      const next = this.#spawn();
      ended = next.ended;
      void next.ready.then(() => this.#options.onNotice(`${this.name} serves again`));
    }
  }

  /** `ended` resolves with a description of the end. */
  #spawn(): { ready: Promise<ReadyMessage>; ended: Promise<string> } {
    const { args, env, cwd, name, onOutput, onModule } = this.#options;
    // From source, node runs with `--import tsx`, which it looks for from the working folder; the child's may be another.
    const nodeArgs = process.execArgv.map((arg) => (arg === "tsx" ? import.meta.resolve("tsx") : arg));
    const child = spawn(process.execPath, [...nodeArgs, process.argv[1] as string, ...args], {
      // Node then tells its parent which modules it loads, as it does for its own --watch.
      env: { ...process.env, ...env, ...(onModule ? { WATCH_REPORT_DEPENDENCIES: "1" } : {}) },
      ...(cwd === undefined ? {} : { cwd }),
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    this.#child = child;
    this.#worker = "";
    this.#words = new LastWords();
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream as Readable }).on("line", (line) => {
        this.#words.hear(line);
        onOutput(name, line);
      });
    }
    const ready = new Promise<ReadyMessage>((resolve) => {
      child.on("message", (message: Partial<ReadyMessage> & ModulesMessage) => {
        for (const module of [...(message["watch:import"] ?? []), ...(message["watch:require"] ?? [])])
          if (typeof module === "string") onModule?.(module);
        if (!message.ready) return;
        this.#worker = message.id ?? "";
        resolve(message as ReadyMessage);
      });
    });
    const ended = new Promise<string>((resolve) => {
      // `close` comes when all output is read, too; an error comes instead when there was no process at all.
      child.once("error", (error) => resolve(error.message));
      child.once("close", (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    this.#ended = ended.then(() => {});
    return { ready, ended };
  }
}
