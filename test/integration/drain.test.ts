/** A worker that is told to stop ends, whatever becomes of its calls; what it leaves behind is found again. */
import { afterEach, expect, test, vi } from "vitest";
import { Worker } from "../../src/engine/worker/worker.ts";
import { handlersOf } from "../../src/handlers/load.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import { PartitionKeys } from "../../src/redis/keys.ts";
import { Partition } from "../../src/redis/partition.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { type PrivateRedis, startPrivateRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";

let engine: TestEngine;
let redis: PrivateRedis | undefined;
afterEach(async () => {
  vi.restoreAllMocks();
  if (redis) await resumed(redis);
  await engine.stop();
  await redis?.stop();
  redis = undefined;
});

/** What befalls Redis, and its end. */
interface Outage {
  begin: (redis: PrivateRedis) => Promise<void>;
  end: (redis: PrivateRedis) => Promise<void>;
}

async function resumed({ pid }: PrivateRedis): Promise<void> {
  process.kill(pid, "SIGCONT");
}

const gates: ((output: string) => void)[] = [];
const handlers = handlersOf({ gate: () => new Promise<string>((resolve) => gates.push(resolve)) });

/** A run whose handler is at its gate in this worker. */
async function atGate(leaseMs: number): Promise<{ worker: Worker; runId: string }> {
  gates.length = 0;
  const worker = new Worker({ ...engine.settings, handlers, leaseMs });
  await worker.start();
  const nodes = [{ id: "a", type: "function", config: { function_name: "gate" } }];
  const workflow = await engine.client.register({ name: "drain", nodes, edges: [] });
  const { runIds } = await engine.client.submit(workflow, {});
  await until(() => gates.length === 1, "the handler is at its gate");
  return { worker, runId: runIds[0] as string };
}

test("a call that keeps failing is given up; its token is left to its lease", async () => {
  engine = await startEngine({ workers: 0 });
  const { worker } = await atGate(600_000);
  vi.spyOn(Partition.prototype, "callStep").mockRejectedValue(new Error("ERR Error running script"));
  const stopped = worker.stop();
  gates[0]?.("done");
  await stopped;
  const connection = await RedisConnection.open(engine.settings.redisUrl);
  expect(await connection.redis.zcard(new PartitionKeys(engine.settings.namespace, 0, "1").leases)).toBe(1);
  connection.close();
});

test("a call that fails for a while before the stop is made again, and succeeds", async () => {
  engine = await startEngine({ workers: 0 });
  const { worker, runId } = await atGate(600_000);
  const advance = vi.spyOn(Partition.prototype, "callStep");
  for (let times = 0; times < 3; times += 1) advance.mockRejectedValueOnce(new Error("BUSY"));
  gates[0]?.("done");
  await worker.stop();
  expect((await engine.client.wait(runId)).status).toBe("COMPLETED");
});

const stand: Outage = { begin: async ({ pid }) => void process.kill(pid, "SIGSTOP"), end: resumed };
const crash: Outage = { begin: (redis) => redis.kill9(), end: (redis) => redis.restart() };

test.each([
  ["is gone", crash, "done"],
  ["is gone before a large output is stored", crash, "x".repeat(100_000)],
  ["stands still before a large output is stored", stand, "x".repeat(100_000)],
])(
  "Redis %s: the drain ends one lease later; what was performed is performed again",
  async (_what, outage, output) => {
    redis = await startPrivateRedis(["appendfsync always"]);
    engine = await startEngine({ workers: 0, redisUrl: redis.url });
    const { worker, runId } = await atGate(1_000);
    await outage.begin(redis);
    const stopped = worker.stop();
    gates[0]?.(output);
    await stopped;
    await outage.end(redis);
    const second = new Worker({ ...engine.settings, handlers });
    await second.start();
    await until(() => gates.length === 2, "it was handed out again");
    gates[1]?.(output);
    expect(await engine.client.wait(runId)).toMatchObject({ status: "COMPLETED", output });
    await second.stop();
  },
);

test("a drain waits for a handler that takes longer than a lease", async () => {
  engine = await startEngine({ workers: 0 });
  const { worker, runId } = await atGate(300);
  const stopped = worker.stop();
  const begun = Date.now();
  await until(() => Date.now() - begun > 1_000, "three leases have passed");
  gates[0]?.("done");
  await stopped;
  expect((await engine.client.wait(runId)).status).toBe("COMPLETED");
  expect(gates).toHaveLength(1);
});

test("a drain has a deadline: what handlers do not end then is performed again, in the same attempt", async () => {
  engine = await startEngine({ workers: 0 });
  const begun: string[] = [];
  const again = () => begun.length > 3;
  const told = (signal: AbortSignal) => new Promise((resolve) => signal.addEventListener("abort", resolve));
  const bySignal = handlersOf({
    ends: async ({ signal }: { signal: AbortSignal }) => {
      begun.push("ends");
      await told(signal);
      return "in time";
    },
    gives_up: async ({ signal, attempt }: { signal: AbortSignal; attempt: number }) => {
      begun.push("gives_up");
      if (again()) return attempt;
      await told(signal);
      throw signal.reason;
    },
    ignores: async ({ attempt }: { attempt: number }) => {
      begun.push("ignores");
      return again() ? attempt : new Promise(() => {});
    },
  });
  const first = new Worker({ ...engine.settings, handlers: bySignal, leaseMs: 500, drainTimeoutMs: 100 });
  await first.start();
  const node = (name: string) => ({ id: name, type: "function", config: { function_name: name } });
  const nodes = ["ends", "gives_up", "ignores"].map(node);
  const workflow = await engine.client.register({ name: "late", nodes, edges: [] });
  const [runId] = (await engine.client.submit(workflow, {})).runIds as [string];
  await until(() => begun.length === 3, "all three are at work");
  await first.stop();
  const second = new Worker({ ...engine.settings, handlers: bySignal });
  await second.start();
  const run = await engine.client.wait(runId);
  expect(run).toMatchObject({ status: "COMPLETED", output: { ends: "in time", gives_up: 1, ignores: 1 } });
  expect(begun.slice(3).sort()).toEqual(["gives_up", "ignores"]);
  await second.stop();
});
