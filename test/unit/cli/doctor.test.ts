import { expect, test } from "vitest";
import { periodChecks } from "../../../src/cli/doctor/periods.ts";
import { redisChecks } from "../../../src/cli/doctor/servers.ts";
import { type PartitionView, partitionChecks, processChecks } from "../../../src/cli/doctor/work.ts";
import type { RedisFacts } from "../../../src/redis/health.ts";

const FACTS: RedisFacts = {
  server: "Redis 7.2.0",
  appendOnly: true,
  appendFsync: "always",
  maxmemoryPolicy: "noeviction",
  usedMemory: 0,
  maxMemory: 0,
};
const statusOf = (facts: Partial<RedisFacts>, name: string) =>
  redisChecks({ ...FACTS, ...facts }, "here").find((check) => check.name === name)?.status;

test.each<[Partial<RedisFacts>, string, string | undefined]>([
  [{}, "role", undefined],
  [{ appendFsync: "everysec" }, "appendfsync", "ok"],
  [{ appendFsync: "no" }, "appendfsync", "fail"],
  [{ appendFsync: null }, "appendfsync", "warn"],
  [{ usedMemory: 74, maxMemory: 100 }, "memory", "ok"],
  [{ usedMemory: 75, maxMemory: 100 }, "memory", "warn"],
  [{ usedMemory: 90, maxMemory: 100 }, "memory", "fail"],
])("Redis with %j: %s is %s", (facts, name, status) => {
  expect(statusOf(facts, name)).toBe(status);
});

const view = (partition: number, row: object = {}, more: Partial<PartitionView> = {}): PartitionView => ({
  row: {
    partition,
    epoch: 1,
    recorded_seq: 10,
    timeline: "redis",
    reader_id: "supervisor",
    closed_reason: null,
    ...row,
  },
  meta: { layout: "1", installation: "mine", epoch: "1", timeline: "redis", seq: 12 },
  identity: "redis",
  installation: "mine",
  ...more,
});
const told = (...views: PartitionView[]) =>
  partitionChecks(views).map(({ status, message }) => `${status}: ${message}`);

test("partitions that are well share a line; each other one has its own", () => {
  expect(told(view(0), view(1))).toEqual([
    "ok: 2 partitions are open and read; the record is 2 entries behind",
  ]);
  expect(
    told(
      view(0),
      view(1, { reader_id: null }),
      view(2, {}, { identity: "another" }),
      view(3, { epoch: 2 }),
      view(4, { epoch: 0 }),
      view(
        5,
        {},
        { meta: { layout: "1", installation: "mine", epoch: "1", timeline: "redis", seq: 20_010 } },
      ),
      view(6, {}, { meta: { layout: "1", installation: "theirs", epoch: "7", timeline: "redis", seq: 1 } }),
    ),
  ).toEqual([
    "fail: no supervisor reads partition 1",
    "warn: Redis restarted; partition 2 is not open again yet",
    "fail: Redis does not hold partition 3 of epoch 2",
    "warn: partition 4 was never opened",
    "warn: the record of partition 5 is 20000 entries behind",
    "fail: Redis holds partition 6 of another database (theirs)",
    "ok: the other 1 is open and read; the record is 2 entries behind",
  ]);
});

test("a live worker that Redis has not heard of is named, unless it has just started", () => {
  const process = (worker_id: string, more: object = {}) => ({
    worker_id,
    kind: "worker" as const,
    host: "here",
    pid: 7,
    version: "1",
    queues: ["default"],
    silent_ms: 10,
    age_ms: 100_000,
    alive: true,
    ...more,
  });
  const supervisor = process("s", { kind: "supervisor", queues: [] });
  const reach = (inReach: string[] | undefined, ...workers: object[]) =>
    processChecks([supervisor, ...(workers as never[])], "1", inReach && new Set(inReach))
      .filter(({ name }) => name === "reach")
      .map(({ status, message }) => `${status}: ${message}`);
  expect(reach(["a"], process("a"), process("b"))).toEqual([
    "fail: 1 live worker of which this Redis has not heard for a lease: 7 on here",
  ]);
  expect(reach(["a", "b"], process("a"), process("b"))).toEqual([]);
  expect(reach([], process("b", { age_ms: 1_000 }))).toEqual([]);
  expect(reach([], process("b", { alive: false }))).toEqual([]);
  expect(reach(undefined, process("a"))).toEqual([]);
});

const WEEK_MS = 604_800_000;

test.each([
  [8 * WEEK_MS, "ok", /next 56 days$/],
  [WEEK_MS, "ok", /next 7 days$/],
  [WEEK_MS - 1, "warn", /next 6 days only$/],
  [3_600_000, "warn", /next 1 h 0 min only$/],
  [0, "fail", /kept in DEFAULT$/],
])("periods for another %d ms are %s", (aheadMs, status, message) => {
  expect(periodChecks({ aheadMs, crowded: [] }, WEEK_MS)).toEqual([
    expect.objectContaining({
      area: "schema",
      name: "periods",
      status,
      message: expect.stringMatching(message),
    }),
  ]);
});

test("tables with rows of no period are named, with what to do", () => {
  const crowded = ["blobs_default", "runs_default"];
  expect(periodChecks({ aheadMs: WEEK_MS, crowded }, WEEK_MS)[1]).toEqual(
    expect.objectContaining({
      status: "warn",
      message: expect.stringContaining("blobs_default, runs_default"),
      hint: expect.stringContaining("npx hitzero migrate"),
    }),
  );
});
