/** Small workflows through one engine that the tests of a file share: its handlers, and short forms for what they submit and look at. */
import { afterAll, beforeAll, beforeEach } from "vitest";
import { startEngine, type TestEngine } from "./engine.ts";
import { until, withinLimit } from "./until.ts";

type Context = {
  nodeId: string;
  scope: string;
  data: { n?: number } | null;
  params: Record<string, unknown> & { ms: number };
  item?: number;
  index?: number;
  loop?: { iteration: number };
  signal: AbortSignal;
};

const placeOf = ({ nodeId, scope }: Context) => (scope === "" ? nodeId : `${nodeId}@${scope}`);

export const fn = (id: string, function_name = "echo", params: object = {}, more: object = {}) => ({
  id,
  type: "function",
  config: { function_name, params },
  ...more,
});

/** `a -> b -> c` are two edges. */
export const edges = (...texts: string[]) =>
  texts.flatMap((text) => {
    const path = text.split(" -> ");
    return path.slice(1).map((to, index) => ({ from: path[index], to }));
  });

/** Registers the hooks that start the engine and stop it; what was noted is forgotten before each test. */
export function useFlow() {
  /** Executions of `note` and `linger` in order. */
  const log: string[] = [];
  /** Executions of `gate` that are under way; calling one lets it end. */
  const gates = new Map<string, () => void>();
  /** Executions of `gate` that were told to stop. */
  const aborted: string[] = [];
  /** Executions of `inside` under way, and the most of them at once. */
  const inside = { now: 0, most: 0 };
  const handlers = {
    echo: ({ data }: Context) => data,
    count: ({ data, loop }: Context) => ({ n: (data?.n ?? 0) + 1, iteration: loop?.iteration ?? null }),
    value: ({ params }: Context) => params.value,
    note: (context: Context) => {
      log.push(placeOf(context));
      return context.data;
    },
    double: ({ item = 0 }: Context) => item * 2,
    fail_odd: ({ item = 0, index }: Context) => {
      if (item % 2 === 1) throw new Error(`item ${index} is odd`);
      return item;
    },
    fail: () => {
      throw new Error("it broke");
    },
    linger: async (context: Context) => {
      await new Promise((resolve) => setTimeout(resolve, context.params.ms));
      log.push(placeOf(context));
    },
    sleep: ({ params }: Context) => new Promise((resolve) => setTimeout(() => resolve(params.ms), params.ms)),
    inside: async () => {
      inside.now += 1;
      inside.most = Math.max(inside.most, inside.now);
      await new Promise((resolve) => setTimeout(resolve, 20));
      inside.now -= 1;
    },
    gate: (context: Context) =>
      new Promise<string>((resolve, reject) => {
        gates.set(placeOf(context), () => resolve("open"));
        context.signal.addEventListener("abort", () => {
          aborted.push(placeOf(context));
          reject(context.signal.reason);
        });
      }),
  };

  let engine: TestEngine;
  beforeAll(async () => {
    engine = await startEngine({ workers: 2, concurrency: 8, handlers });
  });
  /** What a failed test left behind would keep its worker from stopping. */
  const openGates = () => {
    for (const open of gates.values()) open();
    gates.clear();
  };
  afterAll(async () => {
    openGates();
    await engine?.stop();
  });
  beforeEach(() => {
    log.length = 0;
    aborted.length = 0;
    openGates();
    inside.most = 0;
  });

  async function submit(document: object, input: unknown = {}): Promise<string> {
    const workflow = await engine.client.register({ name: "flow", edges: [], ...document });
    return (await engine.client.submit(workflow, { input })).runIds[0] as string;
  }

  /** Its executions by `node` or `node@scope`. */
  async function rowsOf(runId: string) {
    const nodes = await engine.client.listNodes(runId);
    return Object.fromEntries(
      nodes.map((row) => [row.scope === "" ? row.node_id : `${row.node_id}@${row.scope}`, row]),
    );
  }

  async function statusesOf(runId: string): Promise<Record<string, string>> {
    return Object.fromEntries(Object.entries(await rowsOf(runId)).map(([key, { status }]) => [key, status]));
  }

  async function ended(runId: string) {
    const run = await engine.client.wait(runId, { signal: withinLimit() });
    const rows = await rowsOf(runId);
    const statuses = Object.fromEntries(Object.entries(rows).map(([key, { status }]) => [key, status]));
    return { run, statuses, rows };
  }

  return {
    log,
    gates,
    aborted,
    inside,
    submit,
    statusesOf,
    ended,
    run: async (document: object, input: unknown = {}) => ended(await submit(document, input)),
    get client() {
      return engine.client;
    },
    get engine() {
      return engine;
    },
    /** Waits until these executions have these statuses. */
    reaches: (runId: string, wanted: Record<string, string>) =>
      until(
        async () => {
          const seen = await statusesOf(runId);
          return Object.entries(wanted).every(([key, status]) => seen[key] === status);
        },
        `executions are ${JSON.stringify(wanted)}`,
      ),
  };
}
