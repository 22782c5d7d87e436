/** While a batch is written the next one is read; it counts only if the first one comes on record. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { type HandJournal, startHandJournal } from "../support/hand_journal.ts";

const DOCUMENT = {
  name: "by_hand",
  nodes: [{ id: "a", type: "function", config: { function_name: "f" } }],
  edges: [],
};
const started = (id: string) => ["s", JSON.stringify({ id, g: 1, q: 1, activated: [[0, ""]] })];
const completed = (id: string, output: string) => [
  "f",
  JSON.stringify({
    ...{ id, g: 1, q: 2, node: 0, scope: "", attempt: 1, delivery: 1, outcome: "C", arrivals: "", zero: "C" },
  }),
  ...["d", JSON.stringify({ worker: "w", started_at: 10, ended_at: 20, from: [] }), "o", output],
];

let journal: HandJournal;
/** Where each read began, and how far the record was then. */
let reads: { from: number; recorded: number }[];
beforeEach(async () => {
  journal = await startHandJournal();
  journal.pace.limit = 3;
  journal.pace.most = 3;
  reads = [];
  const { partition } = journal;
  const read = partition.readJournal.bind(partition);
  partition.readJournal = (from, count) => {
    reads.push({ from, recorded: journal.ledger.row.recorded_seq });
    return read(from, count);
  };
});
afterEach(() => journal?.stop());

const events = async () =>
  (await journal.engine.database.query("select run_id, seq from hitzero.event_log order by 1, 2")).rows;
const statusOf = async (runId: string) => (await journal.engine.client.getRun(runId)).status;

test("a reader that lags reads the next entries before those before them are on record, and each once", async () => {
  const runIds = (await journal.accept(DOCUMENT, 10)).sort();
  for (const id of runIds) await journal.append([started(id)]);
  expect(await journal.drain()).toEqual([3, 3, 3, 1]);
  expect(reads.filter(({ from, recorded }) => from > recorded).length).toBeGreaterThanOrEqual(2);
  expect(await events()).toEqual(runIds.map((run_id) => ({ run_id, seq: 1 })));
});

test("what was read ahead and came short is filled up with what came since", async () => {
  const runIds = await journal.accept(DOCUMENT, 7);
  for (const id of runIds.slice(0, 4)) await journal.append([started(id)]);
  const first = await journal.recorder.recordNext();
  expect(first.entries).toBe(3);
  for (const id of runIds.slice(4)) await journal.append([started(id)]);
  expect((await journal.recorder.recordNext()).entries).toBe(3);
  expect(await journal.drain()).toEqual([1]);
  expect(await events()).toHaveLength(7);
});

test("what was read ahead of a batch that fails is thrown away", async () => {
  const [bad, ...others] = (await journal.accept(DOCUMENT, 5)) as [string, ...string[]];
  await journal.append([started(bad)]);
  await journal.append([completed(bad, "j{")]);
  for (const id of others) await journal.append([started(id)]);
  for (const id of others) await journal.append([completed(id, "j1")]);
  await journal.drain();
  expect(await statusOf(bad)).toBe("FAILED");
  for (const id of others) expect(await statusOf(id)).toBe("COMPLETED");
  const ofOthers = (await events()).filter(({ run_id }) => run_id !== bad);
  expect(ofOthers.map(({ seq }) => seq)).toEqual(others.flatMap(() => [1, 2, 3]));
});
