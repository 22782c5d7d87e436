/** Large outputs are stored beside a run, and read again only by who does not have them. */
import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { startEngine } from "../support/engine.ts";
import { edges, fn } from "../support/flow.ts";
import { startPrivateRedis } from "../support/redis.ts";
import { withinLimit } from "../support/until.ts";

test("a large output that a worker hands over to itself is not read back: the recorder reads it once", async () => {
  const server = await startPrivateRedis();
  const redis = new Redis(server.url);
  const monitor = await redis.monitor();
  const reads: string[] = [];
  monitor.on("monitor", (_time: string, [command, key]: string[]) => {
    if (/^get$/i.test(command ?? "") && key?.includes(":blob:")) reads.push(key);
  });
  const text = "x".repeat(100_000);
  const engine = await startEngine({
    redisUrl: server.url,
    handlers: {
      grow: ({ data }: { data: { n: number; text?: string } }) => {
        if (data.n > 0 && data.text !== text) throw new Error("the predecessor's output is another one");
        return { n: data.n + 1, text };
      },
    },
  });
  try {
    const workflow = await engine.client.register({
      name: "large",
      nodes: ["a", "b", "c", "d", "e"].map((id) => fn(id, "grow")),
      edges: edges("a -> b -> c -> d -> e"),
    });
    const { runIds } = await engine.client.submit(workflow, { input: { n: 0 } });
    const run = await engine.client.wait(runIds[0] as string, { signal: withinLimit() });
    expect(run).toMatchObject({ status: "COMPLETED", output: { n: 5, text } });
    expect(new Set(reads).size).toBe(5);
    expect(reads).toHaveLength(5);
  } finally {
    await engine.stop();
    monitor.disconnect();
    redis.disconnect();
    await server.stop();
  }
});
