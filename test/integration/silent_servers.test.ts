/** A whole engine whose servers fall silent: who cannot renew a lease lets go, what waits ends, and a stop is a stop. */
import { afterEach, expect, test } from "vitest";
import { Supervisor } from "../../src/engine/supervisor.ts";
import { startEngine } from "../support/engine.ts";
import { fn } from "../support/flow.ts";
import { startLink } from "../support/link.ts";
import { redisUrl } from "../support/redis.ts";
import { until, withinLimit } from "../support/until.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function linkTo(url: string) {
  const link = await startLink(url);
  closers.push(() => link.close());
  return link;
}

test("a supervisor that Postgres does not answer lets go of Redis; another goes on; it stops when it is told to", async () => {
  const engine = await startEngine({ handlers: { echo: () => "done" } });
  closers.push(() => engine.stop());
  const { client, settings, database } = engine;
  const [postgres, redis] = [await linkTo(settings.databaseUrl), await linkTo(redisUrl())];
  const cutOff = new Supervisor({ ...settings, databaseUrl: postgres.url, redisUrl: redis.url });
  closers.push(() => cutOff.stop());
  await cutOff.start();
  await engine.supervisor.stop();
  const readerId = async () =>
    (await database.query<{ reader_id: string }>("select reader_id from hitzero.partitions")).rows[0]
      ?.reader_id;
  await until(async () => (await readerId()) === cutOff.id && redis.open > 0, "it reads");

  postgres.silence("to_client");
  const standby = new Supervisor(settings);
  closers.push(() => standby.stop());
  await standby.start();
  const workflow = await client.register({ name: "cut_off", nodes: [fn("a")], edges: [] });
  const [runId] = (await client.submit(workflow)).runIds as [string];
  expect((await client.wait(runId, { signal: withinLimit() })).status).toBe("COMPLETED");
  expect(await readerId()).toBe(standby.id);
  await until(() => redis.open === 0, "nothing of it is left in Redis");

  redis.silence("to_client");
  await cutOff.stop();
  await until(() => postgres.open === 0, "nor in Postgres");
});
