/** A worker's process whose handler never comes back: the thread behind liveness.ts ends it. Arguments: Redis, worker, two keys. */
import { Liveness } from "../../dist/engine/liveness.js";

const [redisUrl, workerId, workers, lastWords] = process.argv.slice(2);
const log = { warn: () => {}, error: console.error };
const liveness = new Liveness({
  ...{ redisUrl, workerId, keys: [{ workers, lastWords }], log },
  ...{ leaseMs: 300, concurrency: 2, graceMs: 700 },
});
const held = (runId) => ({
  runId,
  nodeIndex: 0,
  scope: "",
  ir: { nodes: [{ id: `node_of_${runId}`, timeout_ms: 100 }] },
});
liveness.begin(held("innocent"), "default|n|innocent|1|digest|0||1|1|nonce");
const guilty = liveness.begin(held("guilty"), "default|n|guilty|1|digest|0||1|1|nonce");
// The thread connects meanwhile.
setTimeout(() => {
  liveness.call(guilty, () => {
    for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });
}, 50);
