import { expect, test } from "vitest";
import { EventPacks, type EventRecord, PACKED_BYTES } from "../../../src/postgres/packed_events.ts";

const packEvents = (records: readonly EventRecord[]) => {
  const packs = new EventPacks();
  for (const record of records) packs.add(record);
  return packs.finish();
};

const event = (runId: string, seq: number, more: Partial<EventRecord> = {}): EventRecord => ({
  runId,
  seq,
  level: "INFO",
  eventType: "node_completed",
  nodeId: "a",
  scope: "",
  at: 1_000 + seq,
  message: `event ${seq}`,
  data: { journal: 7 },
  ...more,
});
const numbers = (events: readonly EventRecord[]) =>
  packEvents(events).map(({ runId, firstSeq, lastSeq, events }) => [
    runId,
    firstSeq,
    lastSeq,
    JSON.parse(events).length,
  ]);

test("the events of a run and batch are one row, in their order", () => {
  const events = [event("r", 1, { eventType: "run_started" }), event("s", 4), event("r", 2), event("r", 3)];
  expect(packEvents(events)).toEqual([
    {
      ...{ runId: "r", firstSeq: 1, lastSeq: 3, lastAt: 1_003, kinds: [] },
      events: JSON.stringify([
        ["INFO", "run_started", "a", "", 1_001, "event 1", { journal: 7 }],
        ["INFO", "node_completed", "a", "", 1_002, "event 2", { journal: 7 }],
        ["INFO", "node_completed", "a", "", 1_003, "event 3", { journal: 7 }],
      ]),
    },
    expect.objectContaining({ runId: "s", firstSeq: 4, lastSeq: 4 }),
  ]);
});

test("where a number is missing another row begins, as the numbers within a row are counted", () => {
  expect(numbers([event("r", 1), event("r", 2), event("r", 5), event("r", 6)])).toEqual([
    ["r", 1, 2, 2],
    ["r", 5, 6, 2],
  ]);
});

test("a row holds 1,000 events", () => {
  const many = Array.from({ length: 1_001 }, (_none, index) =>
    event("r", index + 1, { message: "", data: {} }),
  );
  expect(packEvents(many).map(({ firstSeq, lastSeq }) => [firstSeq, lastSeq])).toEqual([
    [1, 1_000],
    [1_001, 1_001],
  ]);
});

test("a row holds 64 KB, or one event that is larger", () => {
  const message = "é".repeat(1_000);
  const many = Array.from({ length: 200 }, (_none, index) => event("r", index + 1, { message }));
  const rows = packEvents([
    ...many,
    event("r", 201, { message: "x".repeat(2 * PACKED_BYTES) }),
    event("r", 202),
  ]);
  expect(rows.map(({ events }) => Buffer.byteLength(events) <= PACKED_BYTES)).toEqual(
    rows.map(({ firstSeq }) => firstSeq !== 201),
  );
  expect(rows.flatMap(({ events }) => JSON.parse(events))).toHaveLength(202);
  expect(
    rows.map(({ firstSeq, lastSeq }) => lastSeq - firstSeq + 1).reduce((sum, count) => sum + count),
  ).toBe(202);
  expect(rows.length).toBeLessThan(12);
});

test("what queries look for in an event is among the kinds of its row, once", () => {
  const [row] = packEvents([
    event("r", 1, { data: { halted: "fail_fast" } }),
    event("r", 2, { data: { buries: true, command: undefined } }),
    event("r", 3, { eventType: "run_resumed", data: { halted: "cancel" } }),
  ]);
  expect(row?.kinds).toEqual(["halted", "buries", "run_resumed"]);
});

test("runs that start and complete without more ado are kept short, and no others", () => {
  const run = (seq: number, eventType: string, message: string, data: object) =>
    event("r", seq, { eventType, nodeId: null, scope: null, message, data: { journal: 7, ...data } });
  const [row] = packEvents([
    run(1, "run_started", "the run started", { activated: [[0, ""]] }),
    run(2, "run_completed", "the run completed", { more: 1 }),
    run(3, "run_completed", "the run completed at last", {}),
    run(4, "run_completed", "the run completed", {}),
  ]);
  expect(row?.kinds).toEqual([]);
  expect(JSON.parse(row?.events ?? "")).toEqual([
    [1_001, 7, [[0, ""]]],
    ["INFO", "run_completed", null, null, 1_002, "the run completed", { journal: 7, more: 1 }],
    ["INFO", "run_completed", null, null, 1_003, "the run completed at last", { journal: 7 }],
    [1_004, 7],
  ]);
});
