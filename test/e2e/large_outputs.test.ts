/** Outputs that come to more together than a supervisor's memory: a whole backlog of them is recorded, a few at a time. */
import { afterAll, expect, test } from "vitest";
import { startEngine } from "../support/engine.ts";
import { fn } from "../support/flow.ts";
import { until, withinLimit } from "../support/until.ts";
import { killAll, startCli } from "./cli.ts";

afterAll(() => killAll());

const OUTPUTS = 8;
const BYTES = 15_000_000;
/** Megabytes; enough to begin with, and for a batch. */
const HEAP_MB = 128;

test("a backlog of large outputs is recorded by a supervisor that has no room for it", async () => {
  let made = 0;
  const large = ({ data }: { data: { n: number } }) => {
    made += 1;
    return String(data.n).repeat(BYTES);
  };
  const engine = await startEngine({ handlers: { large }, concurrency: 2 });
  try {
    const { client, database, settings, supervisor, workers } = engine;
    await supervisor.stop();
    const workflow = await client.register({ name: "large", nodes: [fn("a", "large")], edges: [] });
    const runIds: string[] = [];
    for (let n = 0; n < OUTPUTS; n += 1)
      runIds.push(...(await client.submit(workflow, { input: { n } })).runIds);
    await until(() => made === OUTPUTS, "all are performed");
    await workers[0]?.stop();

    const small = startCli(["supervisor"], {
      env: {
        HITZERO_REDIS_URL: settings.redisUrl,
        HITZERO_DATABASE_URL: settings.databaseUrl,
        HITZERO_NAMESPACE: settings.namespace,
        NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}`,
      },
    });
    const died = small.ended.then(({ code, stderr }) => ({ code, stderr: stderr.slice(-2_000) }));
    const recorded = client.waitAll(runIds, { signal: withinLimit() });
    expect(await Promise.race([recorded, died])).toEqual({ COMPLETED: OUTPUTS });
    const { rows } = await database.query(
      `select left(output #>> '{}', 1) as first, length(output #>> '{}') as length from hitzero.runs order by 1`,
    );
    expect(rows).toEqual(Array.from({ length: OUTPUTS }, (_, n) => ({ first: String(n), length: BYTES })));
    small.signal("SIGTERM");
    expect((await died).code).toBe(0);
  } finally {
    await engine.stop();
  }
});
