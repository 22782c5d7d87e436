/** How long a command that serves or waits runs: until a signal, or until the process that started it is gone. */
import { HitzeroError } from "../../base/errors.ts";
import { pause, unlessAborted } from "../../base/wait.ts";

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
type EndSignal = keyof typeof EXIT_CODES;

/** `npx` passes on a Ctrl-C that the terminal sends to both: what comes this soon after the first signal is the same one. */
const ECHO_MS = 250;

/** What a signal finds under way has this long to end in order, milliseconds; a server that does not answer keeps nobody longer. */
const FAREWELL_MS = 1_000;

/** Exit code of a command that a signal cut short, as shells have it. */
export function exitCodeOf(signal: EndSignal): (typeof EXIT_CODES)[EndSignal] {
  return EXIT_CODES[signal];
}

/**
 * Answers as `work` does, which a signal ends in order. When it cannot, for want of a server, the signal is what the command ended by.
 * @throws HitzeroError INTERRUPTED, with the signal's exit code
 */
export async function unlessInterrupted<T>(lifetime: Lifetime, work: Promise<T>): Promise<T> {
  const late = lifetime.end.then(async (signal) => {
    await pause(FAREWELL_MS);
    throw interrupted(signal, `what was under way did not end within ${FAREWELL_MS} ms`);
  });
  try {
    return await Promise.race([work, late]);
  } catch (error) {
    const away = error instanceof HitzeroError && error.exitCode === 3;
    if (away && lifetime.ended) throw interrupted(lifetime.ended, error.message, error);
    throw error;
  }
}

function interrupted(signal: EndSignal, why: string, cause?: unknown): HitzeroError {
  return new HitzeroError("INTERRUPTED", `${signal} came while this waited: ${why}`, {
    hint: "What was accepted goes on: see it with `npx hitzero run list` when the server is back.",
    exitCode: exitCodeOf(signal),
    cause,
  });
}

/** Starts a worker or supervisor. False: a signal came first, and the start is given up, whether a server answers or not. */
export async function startUnlessEnded(
  service: { start(): Promise<void>; stop(): Promise<void> },
  lifetime: Lifetime,
): Promise<boolean> {
  let started = false;
  await unlessAborted(
    service.start().then(() => {
      started = true;
    }),
    lifetime.signal,
  );
  if (!started) await Promise.race([service.stop().catch(() => {}), pause(FAREWELL_MS)]);
  return started;
}

interface LifetimeOptions {
  /** A second signal ends the process at once; this is called before. */
  onSecond?: () => void;
}

export class Lifetime {
  /** Resolves with the first signal; `SIGTERM` also stands for a parent that is gone. */
  readonly end: Promise<EndSignal>;
  readonly #ending = new AbortController();
  #resolve: (signal: EndSignal) => void = () => {};
  #first: { signal: EndSignal; at: number } | undefined;
  readonly #release: () => void;

  constructor(options: LifetimeOptions = {}) {
    this.end = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const onSignal = (signal: EndSignal) => {
      if (this.#first && performance.now() - this.#first.at > ECHO_MS) {
        options.onSecond?.();
        process.exit(EXIT_CODES[signal]);
      }
      this.#finish(signal);
    };
    const onDisconnect = () => this.#finish("SIGTERM");
    const signals = Object.keys(EXIT_CODES) as EndSignal[];
    for (const signal of signals) process.on(signal, onSignal);
    process.on("disconnect", onDisconnect);
    if (hasParent() && !process.connected) onDisconnect();
    this.#release = () => {
      for (const signal of signals) process.off(signal, onSignal);
      process.off("disconnect", onDisconnect);
    };
  }

  /** Aborted when the end has come. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** The signal that came, if one did. */
  get ended(): EndSignal | undefined {
    return this.#first?.signal;
  }

  /** Signals have their usual effect again. */
  release(): void {
    this.#release();
  }

  #finish(signal: EndSignal): void {
    if (this.#first) return;
    this.#first = { signal, at: performance.now() };
    this.#ending.abort();
    this.#resolve(signal);
  }
}

/** What a child of `up` tells it once it serves. */
export interface ReadyMessage {
  ready: true;
  id: string;
  functions: string[];
}

/** Was this process started by `up` or `demo` (or by a process manager with a channel)? */
export function hasParent(): boolean {
  return process.send !== undefined;
}

export function tellParent(message: ReadyMessage): void {
  if (process.connected) process.send?.(message);
}
