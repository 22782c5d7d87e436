/**
 * The thread behind liveness.ts: renews what tells others that the workers of this process live, also while their event loop is blocked,
 * and ends the process when that loop will not turn again. Plain JavaScript, as Node alone loads it (docs/adr/0014).
 *
 * Owns: one connection for each worker. It renews, never creates: a record that is gone stays gone. While Redis is away it tries again.
 */
import { writeSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { Redis } from "ioredis";

const LONGEST_CHECK_MS = 1_000;
/** Last words that Redis does not take in this time are in the log alone. */
const LAST_WORDS_MS = 3_000;

const monotonic = () => {
  const [seconds, nanos] = process.hrtime();
  return seconds * 1e3 + nanos / 1e6;
};

class Watch {
  constructor({ url, workerId, leaseMs, graceMs, table, layout }) {
    Object.assign(this, { workerId, keys: [], leaseMs, graceMs, layout });
    this.words = new Int32Array(table);
    this.times = new Float64Array(table);
    this.bytes = Buffer.from(table);
    this.redis = new Redis(url, {
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      connectTimeout: 5_000,
      commandTimeout: Math.max(leaseMs / 3, 1_000),
      retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 5), 1_000),
    });
    this.redis.on("error", () => {});
    this.timers = [
      setInterval(() => void this.renew(), leaseMs / 3),
      setInterval(() => void this.check(), Math.min(leaseMs / 3, LONGEST_CHECK_MS)),
    ];
  }

  close() {
    for (const timer of this.timers) clearInterval(timer);
    this.redis.disconnect();
  }

  get turnedAt() {
    return this.times[this.layout.turnedAt];
  }

  /** What is performed: the kept token, the node's id, and until when it may take. */
  *performed() {
    const { slots, firstSlot, slotBytes, textAt } = this.layout;
    for (let slot = 0; slot < slots; slot += 1) {
      const at = firstSlot + slot * slotBytes;
      const deadline = this.times[at / 8];
      if (deadline === 0) continue;
      const length = this.words[at / 4 + 2];
      const [node, kept] = this.bytes.toString("latin1", at + textAt, at + textAt + length).split("\n");
      yield { slot, kept, node, deadline };
    }
  }

  async renew() {
    if (this.redis.status !== "ready" || this.renewing) return;
    this.renewing = true;
    try {
      const [seconds, micros] = await this.redis.time();
      const until = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000) + this.leaseMs;
      await Promise.all(this.keys.map(({ workers }) => this.redis.zadd(workers, "XX", until, this.workerId)));
      const { turnedAt } = this;
      if (monotonic() - turnedAt < this.leaseMs / 3 || this.noted === turnedAt || this.ending) return;
      // Should the process die now, it is known what had begun; the worker's next listing takes that back.
      await this.leave({ begun: [...this.performed()].map(({ kept }) => kept) });
      this.noted = turnedAt;
    } catch {
      // Silent, a replica by now, or starting: another connection leads to whatever is there.
      this.redis.disconnect(true);
    } finally {
      this.renewing = false;
    }
  }

  /** Writes down what goes on, beside the record of the worker. */
  leave(words) {
    const text = JSON.stringify(words);
    return Promise.all(
      this.keys.map(async ({ workers, lastWords }) => {
        const isKnown = (await this.redis.zscore(workers, this.workerId)) !== null;
        if (isKnown) await this.redis.hset(lastWords, this.workerId, text);
      }),
    );
  }

  /** Tells of the end that the process is about to come to. */
  async say(text) {
    this.ending = true;
    const begun = [...this.performed()].map(({ kept }) => kept);
    const limit = performance.now() + LAST_WORDS_MS;
    while (performance.now() < limit) {
      try {
        return await this.leave({ text, begun });
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  async check() {
    if (this.ending) return;
    const now = monotonic();
    const { turnedAt } = this;
    if (now - turnedAt < this.graceMs) return;
    const performed = [...this.performed()];
    const overdue = performed.find(({ deadline }) => turnedAt < deadline && deadline + this.graceMs < now);
    if (!overdue) return;
    const entered = performed.find(({ slot }) => slot === this.words[this.layout.entered] - 1);
    const { kept, node } = entered ?? overdue;
    // Behind the queue (token.ts, encodeLease).
    const runId = kept.split("|")[1];
    const seconds = Math.round((now - turnedAt) / 1_000);
    const alone = entered !== undefined || performed.length === 1;
    const text = `the event loop did not turn for ${seconds} s: node ${node} of run ${runId} ${
      alone ? "blocks it" : `or one of ${performed.length - 1} others blocks it`
    }, beyond its timeout_ms`;
    const line = {
      level: 50,
      time: new Date().toISOString(),
      last_words: true,
      run_id: runId,
      node_id: node,
    };
    writeSync(
      2,
      `${JSON.stringify({ ...line, worker: this.workerId, msg: `${text}; the process is ended` })}\n`,
    );
    await this.say(text);
    process.kill(process.pid, "SIGKILL");
  }
}

const watches = new Map();

parentPort.on("message", async ({ watch, unwatch, say, renew }) => {
  if (say) {
    await watches.get(say.workerId)?.say(say.text);
    Atomics.store(say.said, 0, 1);
    Atomics.notify(say.said, 0);
  }
  if (watch) watches.set(watch.workerId, new Watch(watch));
  const renewed = watches.get(renew?.workerId);
  if (renewed) renewed.keys = renew.keys;
  watches.get(unwatch)?.close();
  watches.delete(unwatch);
});
