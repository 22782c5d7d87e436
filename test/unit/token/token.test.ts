import { expect, test } from "vitest";
import { decodeJournalEntry, encodePlain } from "../../../src/token/journal.ts";
import {
  isFinalRunStatus,
  mayNodeBecome,
  mayRunBecome,
  NODE_STATUSES,
  RUN_STATUSES,
} from "../../../src/token/lifecycle.ts";
import { decodeToken } from "../../../src/token/token.ts";

test("tokens are read as scripts write them", () => {
  expect(decodeToken("n|run|2|digest|7|poll:3/each:17|1|4|nonce")).toEqual({
    kind: "execution",
    runId: "run",
    generation: 2,
    digest: "digest",
    node: 7,
    scope: "poll:3/each:17",
    attempt: 1,
    delivery: 4,
    nonce: "nonce",
  });
  expect(decodeToken("s|run|1|digest|w12.abc")).toEqual({
    kind: "settle",
    runId: "run",
    generation: 1,
    digest: "digest",
    work: "w12.abc",
  });
});

test.each(["", "n|run", "x|run|1|digest|w", "n|run|1|digest|7||1|1|", "s|run|1|digest|"])(
  "%j is no token",
  (text) => {
    expect(decodeToken(text)).toBeUndefined();
  },
);

test("an entry is read with its steps in order", () => {
  const step = {
    id: "r",
    g: 1,
    q: 2,
    node: 0,
    scope: "",
    attempt: 1,
    delivery: 1,
    outcome: "C",
    arrivals: "=t",
  };
  const detail = { worker: "w", started_at: 1, ended_at: 2, from: [3] };
  const entry = decodeJournalEntry("17-0", [
    ...["call", "nonce", "at", "5"],
    ...["s", JSON.stringify({ id: "q", g: 1, q: 1, activated: [[0, ""]] })],
    ...[
      "f",
      JSON.stringify({ ...step, skipped: [[2, "", "upstream_failed", 0]] }),
      "d",
      JSON.stringify(detail),
      "o",
      'j{"a":1}',
    ],
    ...["w", JSON.stringify({ id: "r", g: 1, q: 4, zero: "F", unhandled: 0 }), "d", "", "o", ""],
  ]);
  expect(entry).toMatchObject({ seq: 17, call: "nonce", at: 5 });
  expect(entry.events.map(({ kind }) => kind)).toEqual(["started", "finished", "settled"]);
  expect(entry.events[1]).toMatchObject({
    output: 'j{"a":1}',
    detail,
    step: { skipped: [[2, "", "upstream_failed", 0]] },
  });
});

test("a plain execution is read as its worker wrote it, with what the script adds before", () => {
  const detail = { worker: "host|1", started_at: 5, ended_at: 7, from: [3, 4] };
  const plain = { runId: "r", generation: 1, node: 2, scope: "m:0", arrivals: "=t", detail };
  const text = `9|5:2,3 6:@m:1|C|${encodePlain(plain)}`;
  const { events } = decodeJournalEntry("1-0", ["call", "n", "at", "5", "k", text, "", "j1"]);
  const activated = [
    [5, "m:0", [2, 3]],
    [6, "m:1"],
  ];
  const step = {
    id: "r",
    g: 1,
    q: 9,
    node: 2,
    scope: "m:0",
    arrivals: "=t",
    attempt: 1,
    delivery: 1,
    outcome: "C",
    zero: "C",
  };
  expect(events).toEqual([
    { kind: "finished", output: "j1", detail, step: { ...step, activated, skipped: [], cancelled: [] } },
  ]);
});

test.each(["", "9|||r|1|2", "x|||r|1|2||=|5|7||w", "9|||r|1|2||=|7|5||w"])(
  "%j is no plain execution",
  (text) => {
    const entry = () => decodeJournalEntry("1-0", ["call", "n", "at", "5", "k", text, "", "j1"]);
    expect(entry).toThrow(/broken invariant/);
  },
);

test.each([[["at", "5"]], [["call", "n", "at", "5", "z", "{}"]]])(
  "what is no entry is a broken invariant: %j",
  (fields) => {
    expect(() => decodeJournalEntry("1-0", fields)).toThrow(/broken invariant/);
  },
);

test("final is final", () => {
  const finals = RUN_STATUSES.filter(isFinalRunStatus);
  expect(finals).toEqual(["COMPLETED", "FAILED", "CANCELLED"]);
  for (const from of finals) for (const to of RUN_STATUSES) expect(mayRunBecome(from, to)).toBe(false);
  for (const to of NODE_STATUSES) expect(mayNodeBecome("SKIPPED", to)).toBe(false);
  expect(mayRunBecome("PENDING", "CANCELLED")).toBe(true);
  expect(mayRunBecome("PENDING", "COMPLETED")).toBe(false);
});
