/** A whole engine while this machine's wall clock is set forwards and back again and again: nothing of it goes by that clock. */
import { afterEach, expect, test, vi } from "vitest";
import { RedisConnection } from "../../src/redis/connection.ts";
import { startEngine } from "../support/engine.ts";
import { edges, fn } from "../support/flow.ts";
import { redisUrl } from "../support/redis.ts";
import { until, withinLimit } from "../support/until.ts";

const HOUR = 3_600_000;
/** From what the clock really says. */
const STEPS = [HOUR, -HOUR, 0, -8_000, 30 * 24 * HOUR, 0];
const LEASE_MS = 1_000;
const WAIT_MS = 300;
const FAR_MS = 600_000;

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** The wall clock of this process, for all who read it. */
function setWallClock(): { offset: number } {
  const clock = { offset: 0 };
  const Real = Date;
  class SetDate extends Real {
    constructor(...given: [number?]) {
      if (given.length === 0) super(Real.now() + clock.offset);
      else super(...(given as [number]));
    }
    static override now(): number {
      return Real.now() + clock.offset;
    }
  }
  vi.stubGlobal("Date", SetDate);
  closers.push(() => vi.unstubAllGlobals());
  return clock;
}

test("leases are kept, timers and retries come neither early nor late, and no time limit strikes", async () => {
  const clock = setWallClock();
  const performed: string[] = [];
  const times = new Map<string, number>();
  const gates: (() => void)[] = [];
  type Context = { runId: string; nodeId: string; attempt: number };
  const note = ({ runId, nodeId }: Context) => {
    times.set(`${runId}/${nodeId}`, performance.now());
  };
  const handlers = {
    long: async ({ nodeId, attempt }: Context) => {
      performed.push(`${nodeId} ${attempt}`);
      await new Promise<void>((resolve) => gates.push(resolve));
    },
    flaky: (context: Context) => {
      note(context);
      if (context.attempt === 1) throw new Error("not yet");
    },
    echo: note,
  };
  const engine = await startEngine({ handlers, leaseMs: LEASE_MS });
  closers.push(() => engine.stop());
  const { client } = engine;
  const connection = await RedisConnection.open(redisUrl());
  closers.push(() => connection.close());
  const partition = engine.partition(connection);
  await partition.refresh();

  const [long, far, short] = [
    await client.register({
      name: "long",
      nodes: [fn("held", "long", {}, { timeout_ms: FAR_MS }), fn("after")],
      edges: edges("held -> after"),
      timeout_ms: FAR_MS,
    }),
    await client.register({
      name: "far",
      nodes: [
        { id: "wait", type: "wait", config: { duration_ms: FAR_MS } },
        { id: "ask", type: "signal", config: { name: "go", timeout_ms: FAR_MS } },
        fn("again", "flaky", {}, { retry: { max_attempts: 2, backoff_ms: FAR_MS, jitter: false } }),
      ],
      edges: [],
    }),
    await client.register({
      name: "short",
      nodes: [
        fn("again", "flaky", {}, { retry: { max_attempts: 2, backoff_ms: WAIT_MS, jitter: false } }),
        { id: "wait", type: "wait", config: { duration_ms: WAIT_MS } },
        fn("after"),
      ],
      edges: edges("again -> wait -> after"),
      timeout_ms: 60_000,
    }),
  ];
  const [held] = (await client.submit(long)).runIds as [string];
  await until(() => gates.length === 1, "the long one is performed");
  const [waiting] = (await client.submit(far)).runIds as [string];
  const leaseEnd = async () => {
    const [, score] = await connection.redis.zrange(partition.keys.leases, 0, 0, "WITHSCORES");
    return Number(score);
  };
  await until(
    async () => (await connection.redis.zcard(partition.keys.leases)) === 1,
    "it alone has a lease",
  );

  for (const step of STEPS) {
    clock.offset = step;
    const [runId] = (await client.submit(short)).runIds as [string];
    const before = await leaseEnd();
    const run = await client.wait(runId, { signal: withinLimit() });
    expect([step, run.status]).toEqual([step, "COMPLETED"]);
    const [again, after] = [times.get(`${runId}/again`) as number, times.get(`${runId}/after`) as number];
    // Not early: by less than clocks may differ.
    expect(after - again).toBeGreaterThan(WAIT_MS - 50);
    await until(async () => (await leaseEnd()) > before + LEASE_MS, "its lease was renewed for another");
  }
  expect(performed).toEqual(["held 1"]);
  expect((await client.listNodes(waiting)).map(({ node_id, status }) => [node_id, status]).sort()).toEqual([
    ["again", "RETRYING"],
    ["ask", "WAITING"],
    ["wait", "WAITING"],
  ]);
  for (const open of gates) open();
  expect((await client.wait(held, { signal: withinLimit() })).status).toBe("COMPLETED");
  expect((await client.listNodes(held))[0]).toMatchObject({ attempt: 1, retry_count: 0 });
  await client.cancel(waiting);
  expect((await client.wait(waiting, { signal: withinLimit() })).status).toBe("CANCELLED");
});
