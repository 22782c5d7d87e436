/**
 * DBOS: `node dbos.mjs DATABASE_URL CONCURRENCY`. It performs a workflow in the process that starts it, so that one process
 * submits and works. Every step and every result is a row in Postgres.
 */
import { DBOS } from "@dbos-inc/dbos-sdk";
import { CHAIN_LENGTH, countEnd, FAN_WIDTH, repeat, serve, stamp } from "./link.mjs";

const [systemDatabaseUrl, concurrency] = process.argv.slice(2);

const step = () =>
  DBOS.runStep(
    async () => {
      stamp();
      return { count: 1 };
    },
    { name: "step" },
  );

const works = {
  chain: async () => {
    for (let done = 0; done < CHAIN_LENGTH; done += 1) await step();
  },
  fan: async () => {
    await step();
    await Promise.all(Array.from({ length: FAN_WIDTH }, step));
    await step();
  },
  single: async () => {
    await step();
  },
};
const workflows = Object.fromEntries(
  Object.entries(works).map(([name, work]) => [name, DBOS.registerWorkflow(work, { name })]),
);

// As many connections as runs at once: fewer make it wait for them.
DBOS.setConfig({
  name: "bench",
  systemDatabaseUrl,
  systemDatabasePoolSize: Number(concurrency),
  runAdminServer: false,
  logLevel: "error",
});
await DBOS.launch();
serve((kind, runs) =>
  repeat(runs, Number(concurrency), async () => {
    // Not called as a method: DBOS would take the object for an instance of its own.
    const workflow = workflows[kind];
    await workflow();
    countEnd();
  }),
);
