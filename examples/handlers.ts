/**
 * Handlers of the example workflows (`examples/*.yaml`, `test_data/*.json`). Each exported function is a handler by its
 * name. All are deterministic: the same data, input and params give the same output, so a retry is harmless.
 */

/** What these handlers use of the context that the worker passes. */
interface Context {
  /** The predecessor's output, or an object by node id when there are several. */
  data: unknown;
  /** The run's input. */
  input: unknown;
  /** The node's `config.params`. */
  params?: unknown;
  /** Path of loop iterations and map items: `""` outside of bodies, `again:3` in a third iteration, `each:0` in the first item. */
  scope?: string;
  /** Inside a map's body: the item. */
  item?: unknown;
  /** Inside a loop's body: its iteration, from 1. */
  loop?: { iteration: number };
  /** Aborted on timeout, cancel and drain. */
  signal?: AbortSignal;
}

interface Order {
  id: string;
  amount: number;
  paid: boolean;
}

const ORDERS: readonly Order[] = [
  { id: "a-1", amount: 120, paid: true },
  { id: "a-2", amount: 35, paid: false },
  { id: "a-3", amount: 60, paid: true },
  { id: "a-4", amount: 5, paid: true },
];

const REFUNDS: readonly Order[] = [
  { id: "r-1", amount: 20, paid: true },
  { id: "r-2", amount: 3, paid: true },
];

/** Greets the name in the run's input, or the world. */
export async function greet({ input }: Context): Promise<{ greeting: string }> {
  const name = fieldOf(input, "name");
  return { greeting: `Hello, ${typeof name === "string" ? name : "world"}` };
}

/** Counts the letters of the text that it is given. */
export async function count_letters({ data }: Context): Promise<{ text: string; letters: number }> {
  const text = String(data ?? "");
  return { text, letters: text.replace(/\P{L}/gu, "").length };
}

/** The orders of a shop that does not exist; `input.limit` takes the first few. */
export async function fetch_orders({
  input,
}: Context): Promise<{ source: string; records: readonly Order[] }> {
  return { source: "orders", records: ORDERS.slice(0, numberOr(fieldOf(input, "limit"), ORDERS.length)) };
}

/** The refunds of the same shop. With `input.refunds_available: false` the answer is unusable: `records` is empty. */
export async function fetch_refunds({
  input,
}: Context): Promise<{ source: string; records: readonly Order[] }> {
  const available = fieldOf(input, "refunds_available") !== false;
  return { source: "refunds", records: available ? REFUNDS : [] };
}

/** Is the order (a map's item) paid? In the loop that asks, an unpaid one is from iteration `params.paid_after` on. */
export async function check_payment({ item, loop, params }: Context): Promise<Order> {
  const order = item as Order;
  return {
    ...order,
    paid: order.paid || (loop?.iteration ?? 1) >= numberOr(fieldOf(params, "paid_after"), 1),
  };
}

/** Pretends to write what it is given; reports where and how many entries. */
export async function store({ data, params }: Context): Promise<{ stored: number; target: string }> {
  const target = fieldOf(params, "target");
  return { stored: sizeOf(data), target: typeof target === "string" ? target : "memory" };
}

/** Splits `input.text` into words. */
export async function split_text({ input }: Context): Promise<{ words: string[] }> {
  const text = fieldOf(input, "text");
  return { words: typeof text === "string" ? text.split(/\s+/u).filter((word) => word !== "") : [] };
}

/** Number of words of the `split_text` before it. */
export async function count_words({ data }: Context): Promise<{ word_count: number }> {
  return { word_count: wordsOf(data).length };
}

/** The longest word of the `split_text` before it; the first one of several. */
export async function longest_word({ data }: Context): Promise<{ longest: string }> {
  const longer = (best: string, word: string): string => (word.length > best.length ? word : best);
  return { longest: wordsOf(data).reduce(longer, "") };
}

/** The applicant's score, from the run's input (85 if it gives none). */
export async function fetch_score({ input }: Context): Promise<{ applicant: string; score: number }> {
  const applicant = fieldOf(input, "applicant");
  return {
    applicant: typeof applicant === "string" ? applicant : "ada",
    score: numberOr(fieldOf(input, "score"), 85),
  };
}

/** Decides at once. */
export async function approve({ data }: Context): Promise<{ applicant: unknown; decision: string }> {
  return { applicant: fieldOf(data, "applicant"), decision: "approved" };
}

/** Hands the decision to a person. */
export async function send_to_review({ data }: Context): Promise<{ applicant: unknown; decision: string }> {
  return { applicant: fieldOf(data, "applicant"), decision: "review" };
}

/** Passes on the decision of whichever branch ran. */
export async function notify({ data }: Context): Promise<{ notified: boolean; decisions: unknown[] }> {
  return { notified: true, decisions: typeof data === "object" && data !== null ? Object.values(data) : [] };
}

/** Answers a source without records with one made-up record, so that what follows has something to work on. */
export async function handle_invalid(): Promise<Order[]> {
  return [{ id: "placeholder", amount: 0, paid: false }];
}

/** Starts a job that takes a while elsewhere. */
export async function start_job({ input }: Context): Promise<{ job: string }> {
  const job = fieldOf(input, "job");
  return { job: typeof job === "string" ? job : "job-1" };
}

/** Progress of that job: `params.percent_per_poll` more with each iteration of the loop that polls it. */
export async function poll_job({ params, scope }: Context): Promise<{ iteration: number; percent: number }> {
  const iteration = Number(/:(\d+)$/u.exec(scope ?? "")?.[1] ?? 1);
  const step = numberOr(fieldOf(params, "percent_per_poll"), 25);
  return { iteration, percent: Math.min(100, iteration * step) };
}

/** The job is done. */
export async function collect_result({ data }: Context): Promise<{ finished: true; last: unknown }> {
  return { finished: true, last: data };
}

/** The job did not end within the iterations allowed. */
export async function give_up({ data }: Context): Promise<{ finished: false; last: unknown }> {
  return { finished: false, last: data };
}

/**
 * Stands for a task of a recorded scientific workflow: lasts as long as the task did, times `input.time_scale`
 * (default 1; 0.001 turns seconds into milliseconds). The time is `params.runtime_ms`, or `params.runtime_s` seconds.
 * Rejects with the signal's reason when it is aborted.
 */
export async function simulate_task({
  params,
  input,
  signal,
}: Context): Promise<{ task: string; slept_ms: number }> {
  const recordedMs = numberOr(
    fieldOf(params, "runtime_ms"),
    numberOr(fieldOf(params, "runtime_s"), 0) * 1000,
  );
  const sleptMs = Math.round(recordedMs * numberOr(fieldOf(input, "time_scale"), 1));
  await sleep(sleptMs, signal);
  return { task: String(fieldOf(params, "task") ?? ""), slept_ms: sleptMs };
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function numberOr(value: unknown, fallback: number): number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : fallback;
}

function sizeOf(value: unknown): number {
  if (Array.isArray(value)) return value.length;
  return value === null || value === undefined ? 0 : 1;
}

function wordsOf(data: unknown): string[] {
  const words = fieldOf(data, "words");
  return Array.isArray(words) ? words.map(String) : [];
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
