/**
 * BullMQ: `node bullmq.mjs worker|submitter flows|by_hand REDIS_URL CONCURRENCY`.
 *
 * `flows`: a run is a tree of jobs, parents after their children. A job can have one parent only, so that the first of
 * 1 → 50 → 1 adds the rest when it is performed. `by_hand`: the worker adds the next job when one has ended; a crash between
 * the two loses or repeats it. Jobs are removed when they are done: BullMQ keeps no history here.
 */
import { FlowProducer, Queue, Worker } from "bullmq";
import { CHAIN_LENGTH, countEnd, FAN_WIDTH, fail, serve, stamp } from "./link.mjs";

const [role, mode, url, concurrency] = process.argv.slice(2);
const QUEUE = `bench-${mode.replace("_", "-")}`;
const JOBS_AT_ONCE = 500;
const FLOWS_AT_ONCE = 50;
/** The job whose end is the end of its run. */
const LAST = "last";
const opts = { removeOnComplete: true };
const connection = { url, maxRetriesPerRequest: null };

const job = (name, data = {}, children = undefined) => ({
  ...{ name, queueName: QUEUE, data, opts },
  ...(children ? { children } : {}),
});

function chainFlow() {
  let flow = job("step");
  for (let length = 2; length <= CHAIN_LENGTH; length += 1)
    flow = job(length === CHAIN_LENGTH ? LAST : "step", {}, [flow]);
  return flow;
}

const fanFlow = () =>
  job(
    LAST,
    {},
    Array.from({ length: FAN_WIDTH }, () => job("step")),
  );

async function inBatches(count, size, add) {
  for (let done = 0; done < count; done += size) await add(Math.min(size, count - done));
}

const many = (count, make) => Array.from({ length: count }, make);

async function work() {
  const queue = new Queue(QUEUE, { connection });
  const flows = new FlowProducer({ connection });
  const perform = async ({ name, data }) => {
    stamp();
    if (name === "first") await flows.add(fanFlow());
    if (name === "next") {
      const step = data.step + 1;
      await queue.add(step === CHAIN_LENGTH ? LAST : "next", { step }, opts);
    }
    return { count: 1 };
  };
  const worker = new Worker(QUEUE, perform, { connection, concurrency: Number(concurrency) });
  worker.on("completed", ({ name }) => {
    if (name === LAST) countEnd();
  });
  worker.on("failed", (_job, error) => fail(error));
  worker.on("error", fail);
  await worker.waitUntilReady();
  serve(() => {});
}

async function submitter() {
  const queue = new Queue(QUEUE, { connection });
  const flows = new FlowProducer({ connection });
  await queue.waitUntilReady();
  const addJobs = (name, runs, data) =>
    inBatches(runs, JOBS_AT_ONCE, (size) => queue.addBulk(many(size, () => ({ name, data, opts }))));
  serve((kind, runs) => {
    if (kind === "single") return addJobs(LAST, runs, {});
    if (kind === "fan") return addJobs("first", runs, {});
    if (mode === "by_hand") return addJobs("next", runs, { step: 1 });
    return inBatches(runs, FLOWS_AT_ONCE, (size) => flows.addBulk(many(size, chainFlow)));
  });
}

await (role === "worker" ? work() : submitter());
