import { expect, test } from "vitest";
import { mergeStarts, readRunEvents } from "../../../src/cli/run/events.ts";
import type { EventRow, StartRow } from "../../../src/postgres/events.ts";
import type { RunRow } from "../../../src/postgres/runs.ts";

const event = (seq: number, at: number, node_id: string | null, attempt?: number): EventRow => ({
  seq,
  level: "INFO",
  event_type: `event_${seq}`,
  node_id,
  scope: node_id === null ? null : "",
  at: new Date(at),
  message: "",
  data: attempt === undefined ? {} : { attempt },
});
const start = (node_id: string, at: number, attempt = 1): StartRow => ({
  node_id,
  scope: "",
  attempt,
  worker_id: "worker",
  started_at: new Date(at),
});
const told = (events: readonly EventRow[], starts: readonly StartRow[]) =>
  mergeStarts(events, starts).map(({ seq, node_id }) => seq ?? node_id);

test("a start stands before the first later event; those of nodes that run come last", () => {
  expect(told([event(1, 10, null), event(2, 30, "a", 1)], [start("a", 20), start("b", 40)])).toEqual([
    1,
    "a",
    2,
    "b",
  ]);
});

test("a worker's fast clock does not put a start behind its own end", () => {
  expect(told([event(1, 10, null), event(2, 30, "a", 1), event(3, 31, null)], [start("a", 99)])).toEqual([
    1,
    "a",
    2,
    3,
  ]);
});

test("the end of another attempt is not the start's own", () => {
  expect(told([event(1, 10, "a", 1), event(2, 50, "a", 2)], [start("a", 40, 2)])).toEqual([1, "a", 2]);
});

test("while one follows, a start is told once, though its outcome has another time for it", async () => {
  const looks: [status: string, events: EventRow[], starts: StartRow[]][] = [
    ["RUNNING", [event(1, 10, null)], [start("a", 20)]],
    ["COMPLETED", [event(2, 500, "a", 1), event(3, 500, null)], [start("a", 21)]],
  ];
  let look = -1;
  const client = {
    getRun: async () => {
      look += 1;
      return { status: looks[look]?.[0] } as RunRow;
    },
    listEvents: async () => looks[look]?.[1] ?? [],
    listStarts: async () => looks[look]?.[2] ?? [],
  };
  const seen: unknown[] = [];
  const signal = new AbortController().signal;
  for await (const page of readRunEvents(client, "run", { level: "INFO", follow: true, signal }))
    seen.push(...page.map(({ seq, node_id }) => seq ?? node_id));
  expect(seen).toEqual([1, "a", 2, 3]);
});
