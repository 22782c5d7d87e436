/**
 * Tells others that a worker lives, also while a handler blocks its event loop (docs/adr/0014).
 *
 * Owns: a thread (liveness_thread.mjs), one for all workers of this process, and a table in shared memory of what each worker performs, so
 * that the thread can name it when this loop cannot. A crash of the thread leaves what a worker renews by itself. The thread keeps no
 * process alive.
 */
import { Worker as Thread } from "node:worker_threads";
import type { Log } from "../../base/log.ts";

/** The loop notes this often that it turns. */
const TURN_MS = 250;
/** A loop that did not turn for so long was blocked: it is logged. */
const BLOCKED_MS = 1_000;
/** As many executions are named at most when it is not known which of them blocked. */
const MOST_NAMED = 10;
/** A process that is about to end waits no longer for its last words to be written down. */
const LAST_WORDS_MS = 3_500;
/** A thread without workers is kept for so long: the next worker finds it. */
const KEPT_MS = 5_000;

/** Of a table: bytes before the first slot, and of a slot: time (float64), length of the text (int32), text. */
const FIRST_SLOT = 64;
const SLOT_BYTES = 1_024;
const TEXT_AT = 16;
/** Float64 at 0: when the loop last turned. Int32 at 2: the slot whose handler was just called, and 1; 0: none. */
const TURNED_AT = 0;
const ENTERED = 2;

export interface LivenessOptions {
  redisUrl: string;
  workerId: string;
  leaseMs: number;
  /** Executions at once. */
  concurrency: number;
  /** The process is ended when its loop has not turned for so long since the timeout of an execution that it performs. */
  graceMs: number;
  log: Log;
}

/** Of a partition: the records of live workers, and what is left of dead ones. */
export interface RecordKeys {
  workers: string;
  lastWords: string;
}

/** Milliseconds by a clock that all threads share. */
function monotonic(): number {
  const [seconds, nanos] = process.hrtime();
  return seconds * 1e3 + nanos / 1e6;
}

/** An execution, as far as it is told of here. */
export interface Watched {
  readonly runId: string;
  readonly scope: string;
  readonly node: { readonly id: string; readonly timeout_ms: number };
  /** Its token as leases name it. */
  readonly kept: string;
  /** Its row of the table; -1: none. */
  seat: number;
}

export class Liveness {
  readonly #options: LivenessOptions;
  readonly #times: Float64Array;
  readonly #words: Int32Array;
  readonly #text: Buffer;
  readonly #free: number[];
  /** By their rows. */
  readonly #performed: (Watched | undefined)[] = [];
  /** The first that are over since the loop last turned: what is held here lives on, with all that it has. */
  #over: Watched[] = [];
  /** Its call did not come back for long, since the loop last turned. */
  #culprit: Watched | undefined;
  readonly #timer: NodeJS.Timeout;
  readonly #thread: ReturnType<typeof joinThread>;
  /** Of each partition of which the worker has a record, by its number. */
  readonly #records = new Map<number, RecordKeys>();

  constructor(options: LivenessOptions) {
    this.#options = options;
    const { concurrency, redisUrl, workerId, leaseMs, graceMs, log } = options;
    const table = new SharedArrayBuffer(FIRST_SLOT + concurrency * SLOT_BYTES);
    this.#times = new Float64Array(table);
    this.#words = new Int32Array(table);
    this.#text = Buffer.from(table);
    this.#free = Array.from({ length: concurrency }, (_, index) => concurrency - 1 - index);
    this.#times[TURNED_AT] = monotonic();
    this.#timer = setInterval(() => this.#turn(), TURN_MS).unref();
    const layout = {
      turnedAt: TURNED_AT,
      entered: ENTERED,
      slots: concurrency,
      firstSlot: FIRST_SLOT,
      slotBytes: SLOT_BYTES,
      textAt: TEXT_AT,
    };
    const watch = { url: redisUrl, workerId, leaseMs, graceMs, table, layout };
    this.#thread = joinThread(watch, log);
  }

  /** The worker has a record in this partition, under these keys: it is to be renewed. */
  renews(partition: number, { workers, lastWords }: RecordKeys): void {
    if (this.#records.get(partition)?.workers === workers) return;
    this.#records.set(partition, { workers, lastWords });
    this.#thread.renew([...this.#records.values()]);
  }

  /** An execution begins. */
  begin(one: Watched): void {
    // More executions than rows are none that a worker performs at once.
    const seat = this.#free.pop() ?? -1;
    one.seat = seat;
    if (seat < 0) return;
    this.#performed[seat] = one;
    const { id, timeout_ms } = one.node;
    const at = FIRST_SLOT + seat * SLOT_BYTES;
    const text = `${id}\n${one.kept}`;
    this.#words[at / 4 + 2] = this.#text.write(text, at + TEXT_AT, SLOT_BYTES - TEXT_AT, "latin1");
    this.#times[at / 8] = monotonic() + timeout_ms;
  }

  /** Calls a handler: should the loop not turn before it comes back, it is the one that blocks. */
  call<T, Given extends unknown[]>(one: Watched, work: (...given: Given) => T, ...given: Given): T {
    const before = performance.now();
    this.#words[ENTERED] = one.seat + 1;
    try {
      return work(...given);
    } finally {
      this.#words[ENTERED] = 0;
      if (performance.now() - before > BLOCKED_MS) this.#culprit = one;
    }
  }

  end(one: Watched): void {
    if (one.seat < 0) return;
    this.#performed[one.seat] = undefined;
    if (this.#over.length < MOST_NAMED) this.#over.push(one);
    this.#times[(FIRST_SLOT + one.seat * SLOT_BYTES) / 8] = 0;
    this.#free.push(one.seat);
    one.seat = -1;
  }

  /** Has the thread write down how the process is about to end; returns when it has, or it takes too long. */
  say(text: string): void {
    const said = new Int32Array(new SharedArrayBuffer(4));
    this.#thread.say(text, said);
    Atomics.wait(said, 0, 0, LAST_WORDS_MS);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#thread.leave();
  }

  #turn(): void {
    const now = monotonic();
    const blockedMs = now - (this.#times[TURNED_AT] as number);
    if (blockedMs > BLOCKED_MS + TURN_MS) this.#report(blockedMs);
    this.#times[TURNED_AT] = now;
    this.#over = [];
    this.#culprit = undefined;
  }

  #report(blockedMs: number): void {
    const present = [...this.#over, ...this.#performed.filter((one) => one !== undefined)];
    const suspects = this.#culprit ? [this.#culprit] : present.slice(0, MOST_NAMED);
    const named = suspects.map(({ runId, node, scope }) => ({
      run_id: runId,
      node_id: node.id,
      ...(scope === "" ? {} : { scope }),
    }));
    const seconds = Math.round(blockedMs / 100) / 10;
    const facts = named.length === 1 ? { ...named[0], seconds } : { seconds, performed: named };
    this.#options.log.warn(facts, "the event loop was blocked: see docs/cpu_heavy_work.md");
  }
}

let thread: Thread | undefined;
let workers = 0;
let ending: NodeJS.Timeout | undefined;

/** Has the thread watch a worker until that leaves. */
function joinThread(watch: { workerId: string }, log: Log) {
  workers += 1;
  clearTimeout(ending);
  thread ??= startThread(log);
  const joined = thread;
  joined.postMessage({ watch });
  const say = (text: string, said: Int32Array) =>
    joined.postMessage({ say: { workerId: watch.workerId, text, said } });
  const renew = (keys: readonly RecordKeys[]) =>
    joined.postMessage({ renew: { workerId: watch.workerId, keys } });
  const leave = () => {
    joined.postMessage({ unwatch: watch.workerId });
    workers -= 1;
    if (workers > 0) return;
    clearTimeout(ending);
    ending = setTimeout(() => {
      const idle = thread;
      thread = undefined;
      void idle?.terminate();
    }, KEPT_MS).unref();
  };
  return { leave, say, renew };
}

function startThread(log: Log): Thread {
  // Without the flags of this process: they may be for loading TypeScript, which costs more than all that the thread does.
  const started = new Thread(new URL("./liveness_thread.mjs", import.meta.url), { execArgv: [] });
  started.unref();
  started.on("error", (error) => {
    if (thread === started) thread = undefined;
    log.error({ error: String(error) }, "the thread that renews leases of a blocked worker ended");
  });
  return started;
}
