/** A worker's process whose handler never comes back: the thread behind liveness.ts ends it. Arguments: Redis, worker, two keys. */
import { Liveness } from "../../dist/engine/worker/liveness.js";

const [redisUrl, workerId, workers, lastWords] = process.argv.slice(2);
const log = { warn: () => {}, error: console.error };
const liveness = new Liveness({
  ...{ redisUrl, workerId, log },
  ...{ leaseMs: 300, concurrency: 2, graceMs: 700 },
});
const watched = (runId) => ({
  runId,
  scope: "",
  node: { id: `node_of_${runId}`, timeout_ms: 100 },
  kept: `default|${runId}|1|0||1|1|nonce`,
});
liveness.renews(0, { workers, lastWords });
liveness.begin(watched("innocent"));
const guilty = watched("guilty");
liveness.begin(guilty);
// The thread connects meanwhile.
setTimeout(() => {
  liveness.call(guilty, () => {
    for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });
}, 50);
