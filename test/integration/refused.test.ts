/** What the recorder cannot write is set aside alone: its run ends, everybody else's goes on. The journal is written by hand. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { StateChange } from "../../src/engine/reader/record_types.ts";
import { stateChannel } from "../../src/redis/keys.ts";
import { loadIR } from "../../src/redis/scripts/load_ir.ts";
import { type HandJournal, startHandJournal } from "../support/hand_journal.ts";
import { until } from "../support/until.ts";

let journal: HandJournal;
beforeAll(async () => {
  journal = await startHandJournal();
});
afterAll(() => journal?.stop());

const DOCUMENT = {
  name: "by_hand",
  nodes: [
    { id: "a", type: "function", config: { function_name: "f" } },
    { id: "b", type: "function", config: { function_name: "f" } },
  ],
  edges: [{ from: "a", to: "b" }],
};
const HANDED = { node: 0, scope: "", attempt: 1, delivery: 1 };
const DETAIL = { worker: "w", started_at: 10, ended_at: 20, from: [] };
const json = JSON.stringify;
const event = (name: string, body: object, ...more: string[]) => [name, json(body), ...more];
const started = (id: string) => event("s", { id, g: 1, q: 1, activated: [[0, ""]] });
const completed = (id: string, q: number, node = 1, output = 'j"fine"', more: object = { zero: "C" }) =>
  event(
    "f",
    { id, g: 1, q, ...HANDED, node, outcome: "C", arrivals: "=", ...more },
    ...["d", json(DETAIL), "o", output],
  );

const runOf = async (runId: string) => journal.engine.client.getRun(runId);
const refusalsOf = async (runId: string | null) =>
  (
    await journal.engine.database.query(
      "select * from hitzero.refused_entries where run_id is not distinct from $1 order by refused_id",
      [runId],
    )
  ).rows;
const offset = async () =>
  (
    await journal.engine.database.query<{ recorded_seq: number }>(
      "select recorded_seq from hitzero.partitions",
    )
  ).rows[0]?.recorded_seq;

describe("one event at fault", () => {
  test("in an entry of four runs: three are recorded whole, the fourth ends as RECORD_REFUSED and is cleared away", async () => {
    const { client, database } = journal.engine;
    const runIds = await journal.accept(DOCUMENT, 4);
    const bad = runIds[1] as string;
    const { keys } = journal.partition;
    await journal.connection.redis.hset(keys.run(bad), "s", "R");
    await journal.connection.redis.set(keys.blob(bad, "1.n.1"), "[]");
    const listener = await journal.connection.duplicate();
    const changes: StateChange[] = [];
    listener.redis.on("message", (_channel, text) => changes.push(JSON.parse(text)));
    await listener.redis.subscribe(stateChannel(bad));
    await journal.append(runIds.map(started));
    const seq = await journal.append(
      runIds.map((id) => completed(id, 2, 0, id === bad ? 'j"\\u0000"' : 'j"fine"', {})),
    );
    // Its later steps would leave a gap: they are only counted.
    await journal.append(runIds.map((id) => completed(id, 3, 1, id === bad ? "b1.n.1" : 'j"end"')));
    await journal.drain();
    expect(await client.waitAll(runIds)).toEqual({ COMPLETED: 3, FAILED: 1 });
    expect(await runOf(bad)).toMatchObject({
      status: "FAILED",
      error: { code: "RECORD_REFUSED", node_id: "a", message: expect.stringContaining("22P05") },
    });
    expect(await refusalsOf(bad)).toMatchObject([
      {
        ...{ partition: 0, epoch: 1, seq, node_id: "a", scope: "", code: "RECORD_REFUSED", later_events: 1 },
        raw: expect.stringContaining("u0000"),
        reason: expect.stringContaining("22P05"),
      },
    ]);
    const nodes = await client.listNodes(bad);
    expect(nodes.map(({ node_id, status }) => [node_id, status]).sort()).toEqual([
      ["a", "CANCELLED"],
      ["b", "CANCELLED"],
    ]);
    const events = await client.listEvents(bad);
    expect(events.map(({ event_type }) => event_type)).toEqual(["run_started", "run_failed"]);
    const whole = await client.listNodes(runIds[2] as string);
    expect(whole.map(({ node_id, output }) => [node_id, output]).sort()).toEqual([
      ["a", "fine"],
      ["b", "end"],
    ]);
    expect(await journal.connection.redis.exists(keys.run(bad), keys.blob(bad, "1.n.1"))).toBe(0);
    expect(await journal.connection.redis.exists(keys.tombstone(bad))).toBe(1);
    await until(() => changes.some(({ new_state }) => new_state === "FAILED"), "its end is announced");
    expect(changes.at(-1)).toMatchObject({ previous_state: "RUNNING", reason: "RECORD_REFUSED" });
    const { rows } = await database.query("select last_refusal from hitzero.partitions");
    expect(rows[0]?.last_refusal).toContain(bad);
    listener.close();
  });

  test("wakes the parent of its run, and cancels its children", async () => {
    const [parent, bad, child] = (await journal.accept(DOCUMENT, 3)) as [string, string, string];
    const link =
      "update hitzero.runs set parent_run_id = $2, parent_node_id = 'a', parent_scope = '' where run_id = $1";
    await journal.engine.database.query(link, [bad, parent]);
    await journal.engine.database.query(link, [child, bad]);
    await journal.append([started(parent), started(bad), completed(bad, 2, 1, "j{")]);
    const { keys } = journal.partition;
    const ir = (await journal.runs.irOf(parent)) as NonNullable<
      Awaited<ReturnType<typeof journal.runs.irOf>>
    >;
    await loadIR(journal.partition, ir.digest, ir.ir);
    await journal.connection.redis.hset(
      keys.run(parent),
      ...["c", "1,1,1,", "s", "R", "d", ir.digest, "p0", "c", "n0", "A:x:1:1::"],
    );
    await journal.drain();
    expect((await runOf(bad)).status).toBe("FAILED");
    expect(await journal.connection.redis.hget(keys.run(parent), "p0")).toContain("RECORD_REFUSED");
    const { rows } = await journal.engine.database.query(
      "select kind from hitzero.commands where run_id = $1",
      [child],
    );
    expect(rows).toEqual([{ kind: "cancel" }]);
  });

  test("is a key that is taken, as after Redis was rewound", async () => {
    const [twice, other] = (await journal.accept(DOCUMENT, 2)) as [string, string];
    await journal.append([started(twice), started(other)]);
    await journal.append([completed(twice, 1), completed(other, 2)]);
    await journal.drain();
    expect((await runOf(twice)).error).toMatchObject({ code: "RECORD_REFUSED" });
    expect((await runOf(other)).status).toBe("COMPLETED");
  });

  test("is a final status that the record does not take: the run does not hang, and is not announced as completed", async () => {
    const [paused, other] = (await journal.accept(DOCUMENT, 2)) as [string, string];
    await journal.append([started(paused), started(other)]);
    await journal.drain();
    await journal.engine.database.query("update hitzero.runs set status = 'PAUSED' where run_id = $1", [
      paused,
    ]);
    await journal.append([completed(paused, 2), completed(other, 2)]);
    await journal.drain();
    expect((await runOf(paused)).error).toMatchObject({
      code: "RECORD_REFUSED",
      message: expect.stringContaining("FINAL_REFUSED"),
    });
    expect((await runOf(other)).status).toBe("COMPLETED");
  });

  test("a reader that dies between the commit and the clean-up leaves it to the next one", async () => {
    const [bad] = (await journal.accept(DOCUMENT, 1)) as [string];
    await journal.append([started(bad), completed(bad, 2, 1, "j{")]);
    await journal.drain();
    const { keys } = journal.partition;
    await journal.connection.redis.hset(keys.run(bad), "s", "R");
    await journal.takeOver();
    expect(await journal.connection.redis.exists(keys.run(bad))).toBe(0);
    expect(await journal.drain()).toEqual([]);
  });
});

/** Every place of a value that is no object, as a path. */
function* leaves(value: unknown, path: (string | number)[] = []): Generator<(string | number)[]> {
  yield path;
  if (typeof value !== "object" || value === null) return;
  for (const [key, item] of Object.entries(value))
    yield* leaves(item, [...path, Array.isArray(value) ? Number(key) : key]);
}

function withValue(root: unknown, [key, ...rest]: (string | number)[], value: unknown): unknown {
  if (key === undefined) return value;
  const copy = Array.isArray(root) ? [...root] : { ...(root as object) };
  (copy as Record<string | number, unknown>)[key] = withValue(
    (root as Record<string | number, unknown>)[key],
    rest,
    value,
  );
  return copy;
}

const HOSTILE = [null, "a\u0000b", 1.79e308, [[1e9, "", 1]]];

describe("entries with every field hostile", () => {
  const PARTS: Record<
    string,
    (id: string) => [name: string, body: object, detail?: object, output?: string]
  > = {
    started: (id) => ["s", { id, g: 1, q: 2, activated: [[0, "", [1]]], paused: true }],
    running: (id) => ["n", { id, g: 1, node: 0, scope: "", attempt: 1, worker: "w", started_at: 5 }],
    commanded: (id) => [
      "c",
      { id, g: 1, q: 2, kind: "signal", seq: 1, name: "n", fate: "taken", node: 0, scope: "" },
    ],
    redelivered: (id) => ["l", { id, g: 1, q: 2, ...HANDED }],
    retrying: (id) => [
      "r",
      { id, g: 1, q: 2, ...HANDED, due: 99 },
      { ...DETAIL, error: { code: "E", message: "m", stack: "s", attempt: 1, worker: "w" } },
    ],
    parked: (id) => [
      "p",
      { id, g: 1, q: 2, ...HANDED, park: "c", due: 99 },
      {
        ...DETAIL,
        items: { total: 1, blobs: ["i0.0"] },
        child: { run_id: crypto.randomUUID(), workflow: "by_hand", version: 1, digest: "d", input: "{}" },
      },
    ],
    settled: (id) => [
      "w",
      {
        id,
        g: 1,
        q: 2,
        skipped: [[0, "", "unless", 1]],
        cancelled: [[1, "", 1, 0]],
        zero: "X",
        halted: "cancel",
      },
    ],
    finished: (id) => [
      "f",
      { id, g: 1, q: 2, ...HANDED, outcome: "F", arrivals: "X", zero: "F", unhandled: 0, unhandled_at: "" },
      { ...DETAIL, faults: [{ edge: 0, message: "m" }] },
      'j{"a":1}',
    ],
  };
  const fieldsOf = (part: ReturnType<(typeof PARTS)[string]>): string[] => {
    const [name, body, detail, output] = part;
    if (detail === undefined && name !== "w") return [name, json(body)];
    return [name, json(body), "d", detail === undefined ? "" : json(detail), "o", output ?? ""];
  };

  test("the reader never stops, and who is innocent in the same entry completes", async () => {
    const cases: ((id: string) => { fields: string[]; head?: string[] })[] = [];
    for (const part of Object.values(PARTS)) {
      const [, body, detail] = part("");
      for (const [index, root] of [body, detail].entries()) {
        for (const [number, path] of [...leaves(root)].entries()) {
          if (root === undefined || path[0] === "id") continue;
          // Each field gets one of the hostile values, in turn.
          const value = HOSTILE[number % HOSTILE.length];
          cases.push((id) => {
            const own = part(id);
            own[index + 1] = withValue(own[index + 1], path, value) as object;
            return { fields: fieldsOf(own) };
          });
        }
      }
    }
    const finished = (id: string) => fieldsOf((PARTS.finished as (typeof PARTS)[string])(id));
    const replaced = (at: number, value: string) => (id: string) => ({
      fields: finished(id).map((field, index) => (index === at ? value : field)),
    });
    cases.push(
      ...[
        replaced(1, "{"),
        replaced(1, "null"),
        replaced(3, "{"),
        replaced(5, "j{"),
        replaced(5, 'j"\\ud800"'),
      ],
      ...[replaced(5, "bno such blob"), replaced(5, "?"), replaced(0, "z")],
      (id) => ({ fields: finished(id).slice(0, 2) }),
      (id) => ({ fields: finished(id), head: ["call", "a\u0000b", "at", "1000"] }),
    );
    const lost = [
      ["call", "x", "at", "soon"],
      ["call", "x", "at", "1e300"],
      ["at", "1000"],
    ];
    const hostile = await journal.accept(DOCUMENT, cases.length + lost.length);
    const innocent = await journal.accept(DOCUMENT, cases.length);
    for (const list of [hostile, innocent]) await journal.append(list.map(started));
    for (const [index, make] of cases.entries()) {
      const { fields, head } = make(hostile[index] as string);
      await journal.append([completed(innocent[index] as string, 2), fields], head);
    }
    // What has no time, or is no entry at all, takes along whoever is in it.
    let last = 0;
    for (const [index, head] of lost.entries()) {
      last = await journal.append([finished(hostile[cases.length + index] as string)], head);
    }
    await journal.drain();
    expect(await offset()).toBe(last);
    const { rows } = await journal.engine.database.query<{
      status: string;
      refused: boolean;
      code: string | null;
      count: number;
    }>(
      `select status, error ->> 'code' as code, exists (select 1 from hitzero.refused_entries f where f.run_id = r.run_id) as refused,
         count(*) from hitzero.runs r where run_id = any ($1::uuid[]) group by 1, 2, 3`,
      [hostile],
    );
    for (const { status, refused, code } of rows) {
      expect({ refused, ended: status === "FAILED" && code === "RECORD_REFUSED" }).toEqual({
        refused,
        ended: refused,
      });
    }
    const counted = rows.reduce((sum, { refused, count }) => sum + (refused ? count : 0), 0);
    expect(counted).toBeGreaterThan(cases.length / 3);
    const fine = await journal.engine.database.query(
      "select status, count(*) from hitzero.runs where run_id = any ($1::uuid[]) group by status",
      [innocent],
    );
    expect(fine.rows).toEqual([{ status: "COMPLETED", count: innocent.length }]);
  });
});

test("what is announced was a change from what is on record", async () => {
  const [runId] = (await journal.accept(DOCUMENT, 1)) as [string];
  const listener = await journal.connection.duplicate();
  const heard: string[] = [];
  listener.redis.on("message", (_channel, text) => {
    const { node_id, previous_state, new_state } = JSON.parse(text) as StateChange;
    heard.push(`${node_id ?? "run"} ${previous_state} ${new_state}`);
  });
  await listener.redis.subscribe(stateChannel(runId));
  const own = { id: runId, g: 1, ...HANDED };
  const running = event("n", { ...own, worker: "w", started_at: 5 });
  const retrying = event("r", { ...own, q: 2, due: 99 }, ...["d", json(DETAIL), "o", ""]);
  const waiting = event("p", { ...own, q: 3, park: "w", due: 99 }, ...["d", json(DETAIL), "o", ""]);
  await journal.append([started(runId), running]);
  await journal.append([retrying]);
  await journal.drain();
  // Another reader knows no more than what is on record.
  await journal.takeOver();
  await journal.append([waiting]);
  await journal.drain();
  await journal.append([completed(runId, 4, 0, "j1", {})]);
  await journal.append([completed(runId, 5)]);
  await journal.drain();
  await until(() => heard.at(-1)?.startsWith("run RUNNING"), "its end is announced");
  expect(heard).toEqual([
    ...["run PENDING RUNNING", "a PENDING RUNNING", "a RUNNING RETRYING", "a RETRYING WAITING"],
    ...["a WAITING COMPLETED", "b PENDING COMPLETED", "run RUNNING COMPLETED"],
  ]);
  listener.close();
});

describe("a batch", () => {
  test("that takes a third of the lease keeps it meanwhile; the next one is half as large", async () => {
    const { database } = journal.engine;
    const runIds = await journal.accept(DOCUMENT, 8);
    let last = 0;
    for (const id of runIds) last = await journal.append([started(id)]);
    await database.query(
      `create function hitzero.linger() returns trigger language plpgsql as $$ begin perform pg_sleep(3.5); return null; end $$;
       create trigger linger after insert on hitzero.events_packed for each statement execute function hitzero.linger()`,
    );
    await database.query("update hitzero.partitions set lease_expires_at = now() + interval '1 second'");
    journal.pace.most = 200;
    const recording = journal.recorder.recordNext();
    await until(async () => {
      const { rows } = await database.query<{ renewed: boolean }>(
        "select lease_expires_at > now() + interval '5 seconds' and recorded_seq < $1 as renewed from hitzero.partitions",
        [last],
      );
      return rows[0]?.renewed;
    }, "the lease is renewed before the batch is over");
    expect((await recording).entries).toBe(8);
    expect(journal.pace.most).toBe(4);
    await database.query("drop function hitzero.linger() cascade");
    await journal.drain();
  });

  test("takes as many entries as their large outputs allow, and records the rest with the next", async () => {
    const runIds = await journal.accept(DOCUMENT, 3);
    const { keys } = journal.partition;
    // Large on its way, and small once it is there.
    const content = `"x"${" ".repeat(14 * 1024 * 1024)}`;
    await journal.append(runIds.map(started));
    await journal.drain();
    for (const id of runIds) {
      await journal.connection.redis.set(keys.blob(id, "1.n.1"), content);
      await journal.append([completed(id, 2, 1, "b1.n.1")]);
    }
    expect(await journal.drain()).toEqual([2, 1]);
    const { rows } = await journal.engine.database.query(
      "select distinct status, output from hitzero.runs where run_id = any ($1::uuid[])",
      [runIds],
    );
    expect(rows).toEqual([{ status: "COMPLETED", output: "x" }]);
  });
});
