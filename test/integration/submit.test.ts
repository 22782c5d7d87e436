/**
 * Submits of one client share transactions: who waits for whom, what a refused one costs the others, and what is told when the connection
 * is lost at the commit. The reader is stopped, so that what is accepted stays as it was written.
 */
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { Client, type RegisteredWorkflow } from "../../src/engine/client/client.ts";
import { Database } from "../../src/postgres/database.ts";
import { RedisConnection } from "../../src/redis/connection.ts";
import type { Partition } from "../../src/redis/partition.ts";
import { startEngine, type TestEngine } from "../support/engine.ts";
import { type Link, startLink } from "../support/link.ts";
import { redisUrl } from "../support/redis.ts";
import { until } from "../support/until.ts";

let engine: TestEngine;
let client: Client;
let sql: Database;
let workflow: RegisteredWorkflow;
let partition: Partition;
const document = (name: string, more: object = {}) => ({
  name,
  nodes: [{ id: "a", type: "function", config: { function_name: "noop" } }],
  edges: [],
  ...more,
});

beforeAll(async () => {
  engine = await startEngine({ workers: 0 });
  await engine.supervisor.stop();
  client = engine.client;
  sql = new Database(engine.settings.databaseUrl, { size: 8 });
  workflow = await client.register(document("grouped"));
  partition = engine.partition(await RedisConnection.open(redisUrl()));
  await partition.refresh();
});
afterAll(async () => {
  partition?.connection.close();
  await sql?.close();
  await engine?.stop();
});

interface Row {
  run_id: string;
  /** The transaction that wrote it. */
  transaction: string;
  idempotency_key: string | null;
  tags: string[];
}

/** Runs with this tag, in order of their ids. */
async function accepted(tag: string, database = sql): Promise<Row[]> {
  const { rows } = await database.query<Row & Record<string, unknown>>(
    "select run_id, xmin::text as transaction, idempotency_key, tags from hitzero.runs where $1 = any (tags) order by run_id",
    [tag],
  );
  return rows;
}
const transactionsOf = (rows: readonly Row[]) => new Set(rows.map(({ transaction }) => transaction)).size;
const entries = async () => (await partition.readJournal(0, 100_000)).length;

describe("calls that are under way together", () => {
  test("share a transaction, and a call that starts their runs; the first waits for nobody", async () => {
    const before = await entries();
    const calls = Array.from({ length: 101 }, (_none, index) =>
      client.submit(workflow, { input: { index }, tags: ["together", `number "${index}"`, "\\{,}"] }),
    );
    const submissions = await Promise.all(calls);
    const rows = await accepted("together");
    expect(rows).toHaveLength(101);
    expect(transactionsOf(rows)).toBe(2);
    expect(await entries()).toBe(before + 2);
    expect(submissions.every(({ existing, waiting }) => !existing && waiting === 0)).toBe(true);
    // Ids sort by time: in the order of the calls.
    expect(submissions.flatMap(({ runIds }) => runIds)).toEqual(rows.map(({ run_id }) => run_id));
    expect(rows.map(({ tags }) => tags)).toEqual(
      rows.map((_row, index) => ["together", `number "${index}"`, "\\{,}"]),
    );
    const inputs = await sql.query(
      "select input from hitzero.runs where 'together' = any (tags) order by run_id",
    );
    expect(inputs.rows).toEqual(rows.map((_row, index) => ({ input: { index } })));
  });

  test("one after the other, each has its own", async () => {
    for (let index = 0; index < 3; index += 1) await client.submit(workflow, { tags: ["alone"] });
    expect(transactionsOf(await accepted("alone"))).toBe(3);
  });

  test("many runs of one call are accepted 1,000 and started 100 at a time", async () => {
    const before = await entries();
    const { runIds, waiting } = await client.submit(workflow, { count: 2_050, tags: ["counted"] });
    const rows = await accepted("counted");
    expect(rows.map(({ run_id }) => run_id)).toEqual(runIds);
    expect(transactionsOf(rows)).toBe(3);
    expect(await entries()).toBe(before + 21);
    expect(waiting).toBe(0);
  });

  test("large inputs make groups of their own", async () => {
    const input = "x".repeat(900_000);
    const calls = Array.from({ length: 9 }, () => client.submit(workflow, { input, tags: ["large"] }));
    calls.push(client.submit(workflow, { input, count: 5, tags: ["large"] }));
    await Promise.all(calls);
    const rows = await accepted("large");
    expect(rows).toHaveLength(14);
    // 1, 4, 4, 4 and 1: 4 MB in each.
    expect(transactionsOf(rows)).toBe(5);
  });

  test("a refused one fails alone", async () => {
    const checked = await client.register(
      document("checked", { input_schema: { type: "object", required: ["n"] } }),
    );
    await client.submit(workflow, { input: 1, idempotencyKey: "used" });
    const tags = ["refused"];
    // A version that no column holds: Postgres refuses the statement for its sake.
    const impossible = { ...workflow, version: 2 ** 40 };
    const calls = [
      client.submit(workflow, { tags }),
      client.submit(workflow, { tags, idempotencyKey: "fresh" }),
      client.submit(workflow, { tags, input: 2, idempotencyKey: "used" }),
      client.submit(checked, { tags, input: {} }),
      client.submit(impossible, { tags }),
      client.submit(checked, { tags, input: { n: 1 } }),
      client.submit(workflow, { tags, input: 1, idempotencyKey: "used" }),
      client.submit(workflow, { tags, idempotencyKey: "e".repeat(10_000) }),
    ];
    const results = await Promise.allSettled(calls);
    expect(results.map((one) => (one.status === "fulfilled" ? one.value.existing : one.reason.code))).toEqual(
      [false, false, "IDEMPOTENCY_CONFLICT", "INVALID_INPUT", "22003", false, true, "BAD_TEXT"],
    );
    expect(await accepted("refused")).toHaveLength(3);
  });
});

describe("one idempotency key", () => {
  test("in many calls of two clients makes one run", async () => {
    const other = await Client.connect(engine.settings);
    const options = { input: { n: 1 }, idempotencyKey: "same", tags: ["same"] };
    const calls = Array.from({ length: 40 }, (_none, index) =>
      (index % 2 === 0 ? client : other).submit(workflow, options),
    );
    const submissions = await Promise.all(calls);
    const rows = await accepted("same");
    expect(rows).toHaveLength(1);
    expect(new Set(submissions.flatMap(({ runIds }) => runIds))).toEqual(new Set([rows[0]?.run_id]));
    expect(submissions.filter(({ existing }) => !existing)).toHaveLength(1);
    await other.close();
  });

  test("in two calls of one group with different inputs: the first has it", async () => {
    const [, first, second] = await Promise.allSettled([
      client.submit(workflow),
      client.submit(workflow, { input: 1, idempotencyKey: "two" }),
      client.submit(workflow, { input: 2, idempotencyKey: "two" }),
    ]);
    expect(first).toMatchObject({ status: "fulfilled", value: { existing: false } });
    expect(second).toMatchObject({ status: "rejected", reason: { code: "IDEMPOTENCY_CONFLICT" } });
  });
});

/** A promise that whoever holds it resolves. */
function promised<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

/** A transaction made by hand, which claims keys. */
async function beginByHand({ waits }: { waits: boolean }) {
  const begun = promised<(key: string) => Promise<unknown>>();
  const ending = promised<void>();
  const over = sql
    .transaction(async (session) => {
      // Of two that wait for each other it is the other one that Postgres ends.
      await session.query("set local deadlock_timeout = '60s'");
      if (!waits) await session.query("set local lock_timeout = '100ms'");
      begun.resolve((key) =>
        session.query(
          "insert into hitzero.idempotency_keys (idempotency_key, input_digest, run_id) values ($1, 'by hand', gen_random_uuid())",
          [key],
        ),
      );
      await ending.promise;
      throw new Error("undone");
    })
    .catch(() => {});
  const undo = async () => {
    ending.resolve();
    await over;
  };
  onTestFinished(undo);
  return { claim: await begun.promise, undo };
}

const untilSomebodyWaits = () =>
  until(
    async () =>
      (
        await sql.query(
          "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%idempotency_keys%'",
        )
      ).rows.length > 0,
    "a submit waits for a key",
  );

describe("a transaction by hand that claims keys", () => {
  test("meets groups that claim theirs in order", async () => {
    const hand = await beginByHand({ waits: false });
    await hand.claim("order m");
    const calls = [
      client.submit(workflow),
      ...["z", "m", "a"].map((key) => client.submit(workflow, { idempotencyKey: `order ${key}` })),
    ];
    await untilSomebodyWaits();
    // The group has not come to it, as it waits for the one before.
    await hand.claim("order z");
    await hand.undo();
    expect((await Promise.all(calls)).map(({ existing }) => existing)).toEqual([false, false, false, false]);
  });

  test("and wants what a group has: the deadlock is Postgres's to end, and the group is repeated", async () => {
    const deadlocks = async () =>
      (
        await sql.query<{ deadlocks: number }>(
          "select deadlocks from pg_stat_database where datname = current_database()",
        )
      ).rows[0]?.deadlocks ?? 0;
    const before = await deadlocks();
    const hand = await beginByHand({ waits: true });
    await hand.claim("dead b");
    const tags = ["dead"];
    const calls = [
      client.submit(workflow),
      ...["a", "b"].map((key) => client.submit(workflow, { tags, idempotencyKey: `dead ${key}` })),
    ];
    await untilSomebodyWaits();
    await hand.claim("dead a");
    await hand.undo();
    await Promise.all(calls);
    expect((await accepted("dead")).map(({ idempotency_key }) => idempotency_key)).toEqual([
      "dead a",
      "dead b",
    ]);
    await until(async () => (await deadlocks()) > before, "Postgres counts a deadlock");
  });

  test("and keeps one: only who wants that waits", async () => {
    const hand = await beginByHand({ waits: true });
    await hand.claim("kept");
    const done: string[] = [];
    const submit = async (name: string, idempotencyKey?: string) => {
      await client.submit(workflow, { tags: ["kept"], ...(idempotencyKey ? { idempotencyKey } : {}) });
      done.push(name);
    };
    const calls = [
      submit("first", "kept"),
      submit("without a key"),
      submit("another", "other"),
      submit("again", "kept"),
    ];
    await until(() => done.length === 2, "the others are accepted");
    expect(done.sort()).toEqual(["another", "without a key"]);
    calls.push(submit("later"));
    await until(() => done.length === 3, "and who comes later");
    await hand.undo();
    await Promise.all(calls);
    expect(await accepted("kept")).toHaveLength(4);
  });
});

describe("a connection that is lost at the commit", () => {
  let link: Link;
  let far: Client;
  const giveUp = new AbortController();
  const HELD = 4_711;

  /** Each transaction that accepts runs waits at its commit for as long as the test likes. */
  async function holdCommits() {
    await sql.query(`create or replace function hold_commit() returns trigger language plpgsql as $$
      begin perform pg_advisory_xact_lock_shared(${HELD}); return null; end $$`);
    await sql.query(`create constraint trigger held after insert on hitzero.runs deferrable initially deferred
      for each row execute function hold_commit()`);
    const holding = promised<void>();
    const held = promised<void>();
    const over = sql.transaction(async (session) => {
      await session.query(`select pg_advisory_xact_lock(${HELD})`);
      held.resolve();
      await holding.promise;
    });
    await held.promise;
    const release = async () => {
      holding.resolve();
      await over;
    };
    onTestFinished(release);
    return release;
  }
  const waitingAtCommit = async () =>
    (
      await sql.query<{ pid: number }>(
        "select pid from pg_stat_activity where datname = current_database() and wait_event = 'advisory' and pid <> pg_backend_pid()",
      )
    ).rows.map(({ pid }) => pid);

  beforeAll(async () => {
    link = await startLink(engine.settings.databaseUrl);
    far = await Client.connect({ ...engine.settings, databaseUrl: link.url, signal: giveUp.signal });
  });
  afterEach(() => sql.query("drop trigger if exists held on hitzero.runs"));
  afterAll(async () => {
    await far?.close();
    await link?.close();
  });

  const submitAll = (tag: string) => [
    far.submit(workflow, { tags: [tag] }),
    far.submit(workflow, { tags: [tag] }),
    far.submit(workflow, { tags: [tag], idempotencyKey: tag }),
  ];

  test("that took effect: each is told so, and no run is made twice", async () => {
    const release = await holdCommits();
    const calls = submitAll("committed");
    await until(async () => (await waitingAtCommit()).length > 0, "a group is at its commit");
    link.silence("to_client");
    await release();
    await until(async () => (await accepted("committed")).length > 0, "it is committed");
    const first = (await accepted("committed")).map(({ run_id }) => run_id);
    link.speak();
    link.cut();
    const submissions = await Promise.all(calls);
    expect(submissions.every(({ existing }) => !existing)).toBe(true);
    const rows = (await accepted("committed")).map(({ run_id }) => run_id);
    expect(submissions.flatMap(({ runIds }) => runIds)).toEqual(rows);
    expect(rows).toEqual(expect.arrayContaining(first));
    expect(rows).toHaveLength(3);
  });

  test("of a group with keys that took effect: its keys are known to be its own", async () => {
    await Promise.all([far.submit(workflow), far.submit(workflow)]);
    const release = await holdCommits();
    const calls = [
      far.submit(workflow, { tags: ["keyed"], idempotencyKey: "keyed" }),
      far.submit(workflow, { tags: ["keyed"], idempotencyKey: "keyed" }),
    ];
    await until(async () => (await waitingAtCommit()).length > 0, "it is at its commit");
    link.silence("to_client");
    await release();
    await until(async () => (await accepted("keyed")).length > 0, "it is committed");
    link.speak();
    link.cut();
    const [own, same] = await Promise.all(calls);
    expect(own?.existing).toBe(false);
    expect(same).toEqual({ runIds: own?.runIds, existing: true, waiting: 0 });
    expect(await accepted("keyed")).toHaveLength(1);
  });

  test("that did not: it is repeated, under the same ids", async () => {
    const release = await holdCommits();
    const calls = submitAll("undone");
    await until(async () => (await waitingAtCommit()).length > 0, "a group is at its commit");
    for (const pid of await waitingAtCommit()) await sql.query("select pg_terminate_backend($1)", [pid]);
    await until(async () => (await waitingAtCommit()).length > 0, "it is there again");
    expect(await accepted("undone")).toEqual([]);
    await release();
    const submissions = await Promise.all(calls);
    const rows = (await accepted("undone")).map(({ run_id }) => run_id);
    expect(submissions.flatMap(({ runIds }) => runIds)).toEqual(rows);
    expect(rows).toHaveLength(3);
  });

  test("and does not come back while anybody waits: nothing is claimed, and the run is named", async () => {
    const release = await holdCommits();
    const call = far.submit(workflow, { tags: ["unknown"] });
    const refusal = call.catch((error: unknown) => error);
    await until(async () => (await waitingAtCommit()).length > 0, "it is at its commit");
    giveUp.abort();
    link.refuse();
    await release();
    await until(async () => (await accepted("unknown")).length > 0, "it is committed");
    const [row] = await accepted("unknown");
    expect(await refusal).toMatchObject({
      code: "SUBMIT_UNKNOWN",
      exitCode: 3,
      message: expect.stringContaining(`whether run ${row?.run_id} was accepted`),
    });
  });
});
