/** Who writes the record takes turns: what one decides by, another does not change before it is committed. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Ledger } from "../../src/engine/reader/ledger.ts";
import { Database } from "../../src/postgres/database.ts";
import { type PartitionRow, takeLease } from "../../src/postgres/partitions.ts";
import { createTestDatabase } from "../support/database.ts";

let database: Database;
let drop: () => Promise<void>;
let ledger: Ledger;

beforeAll(async () => {
  const created = await createTestDatabase();
  database = new Database(created.url);
  drop = () => created.drop();
  ledger = new Ledger((await takeLease(database, 0, "reader", 600_000)) as PartitionRow, database);
});
afterAll(async () => {
  await database.close();
  await drop();
});

const onRecord = async () =>
  (await database.query<{ seq: number }>("select recorded_seq as seq from hitzero.partitions")).rows[0]?.seq;

test("the second begins when the first is committed, and writes on from there", async () => {
  const said: string[] = [];
  let go = () => {};
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const first = ledger.inTurn(async (commit) => {
    await gate;
    await commit(async () => void said.push("first"), { seq: 7, call: "seven" });
  });
  const second = ledger.inTurn(async (commit) => {
    said.push(`after ${ledger.row.recorded_seq}`);
    await commit(async () => void said.push("second"));
  });
  go();
  await Promise.all([first, second]);
  expect(said).toEqual(["first", "after 7", "second"]);
  expect([await onRecord(), ledger.row.recorded_call]).toEqual([7, "seven"]);
});

test("one that fails leaves the record where it was, and the next its turn", async () => {
  const broken = ledger.inTurn((commit) =>
    commit(() => Promise.reject(new Error("broken")), { seq: 9, call: "nine" }),
  );
  const next = ledger.inTurn(async (commit) => commit(async () => ledger.row.recorded_seq));
  await expect(broken).rejects.toThrow();
  expect([await next, await onRecord()]).toEqual([7, 7]);
});
