/** Roles and databases may set what each session begins with; behind a pooler nobody can set it back. Nothing here depends on it. */
import { afterEach, expect, test } from "vitest";
import { examine } from "../../src/cli/doctor/examine.ts";
import { resolveSettings } from "../../src/engine/settings.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { edges, fn } from "../support/flow.ts";
import { until, withinLimit } from "../support/until.ts";

const HOSTILE = {
  intervalstyle: "sql_standard",
  timezone: "Asia/Kathmandu",
  bytea_output: "escape",
  standard_conforming_strings: "off",
  extra_float_digits: "-15",
  search_path: "nowhere",
  default_transaction_isolation: "serializable",
  array_nulls: "off",
  quote_all_identifiers: "on",
};

let engine: TestEngine | undefined;
afterEach(async () => {
  await engine?.stop();
  engine = undefined;
});

const document = {
  name: "settings",
  nodes: [
    fn("first", "echo"),
    { id: "ask", type: "approval", config: { name: "ask" } },
    fn("last", "slow"),
    fn("never", "echo", {}, { trigger_rule: "one_failed" }),
  ],
  edges: edges("first -> ask -> last", "first -> never"),
};
const handlers = {
  echo: ({ data }: { data: unknown }) => data,
  slow: () => new Promise((resolve) => setTimeout(() => resolve("done"), 150)),
};

test.each(["SQL, DMY", "German, DMY", "Postgres, MDY"])(
  "DateStyle %s and all the rest",
  async (datestyle) => {
    const begun = Date.now() - 1_000;
    engine = await startEngine({ handlers, databaseSettings: { ...HOSTILE, datestyle } });
    const { client, settings } = engine;
    const workflow = await client.register(document);
    const { runIds } = await client.submit(workflow, { count: 3 });
    const [approved, cancelled, paused] = runIds as [string, string, string];
    expect(await client.getRun(approved)).toMatchObject({ idempotency_key: null });
    const asks = (runId: string) =>
      until(
        async () => (await client.listNodes(runId)).some(({ status }) => status === "WAITING"),
        "an approval waits",
      );
    await Promise.all(runIds.map(asks));

    await client.signal(approved, { name: "ask", payload: null, by: "ann" });
    await client.cancel(cancelled);
    await client.pause(paused);
    await until(async () => (await client.getRun(paused)).status === "PAUSED", "a run pauses");
    await client.cancel(paused);
    const ends = await Promise.all(runIds.map((runId) => client.wait(runId, { signal: withinLimit() })));
    expect(ends.map(({ status }) => status)).toEqual(["COMPLETED", "CANCELLED", "CANCELLED"]);

    const isRecent = (date: Date | null) => expect(date?.getTime()).toBeGreaterThan(begun);
    for (const run of await client.listRuns()) {
      isRecent(run.submitted_at);
      isRecent(run.started_at);
      isRecent(run.completed_at);
    }
    const nodes = await client.listNodes(approved);
    for (const node of nodes.filter(({ status }) => status === "COMPLETED")) {
      isRecent(node.started_at);
      expect(Number.isFinite(node.duration_ms)).toBe(true);
    }
    const last = nodes.find(({ node_id }) => node_id === "last");
    expect(last?.duration_ms).toBeGreaterThan(149);
    expect(last?.duration_ms).not.toBe(200); // As a float of one digit would read.
    const answer = nodes.find(({ node_id }) => node_id === "ask")?.output as { at: string } | undefined;
    isRecent(new Date(answer?.at ?? 0));
    for (const event of await client.listEvents(approved)) isRecent(event.at);
    for (const start of await client.listStarts(approved, ["last"])) isRecent(start.started_at);
    const { rows } = await client.summarizeNodes(approved, 0);
    isRecent(rows[0]?.started_at ?? null);
    const [listed] = await client.listWorkflows();
    isRecent(new Date(listed?.versions[0]?.created_at as string));
    const { checks } = await examine({ ...resolveSettings({}), ...settings });
    // The servers of tests are made for speed.
    const ofWork = checks.filter(({ area }) => area !== "redis" && area !== "postgres");
    expect(ofWork.filter(({ status }) => status === "fail")).toEqual([]);
  },
);
