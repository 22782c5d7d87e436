/** The benchmark counts right. What it measures is no matter of tests. */
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { bench } from "../../bench/command.ts";
import { LARGE_SCENARIOS } from "../../bench/large.ts";
import { QUICK, type Results, SCENARIOS } from "../../bench/measure.ts";
import { percentile, spreadOf } from "../../bench/statistics.ts";
import { makeFolder } from "./cli.ts";
import { processesIn } from "./processes.ts";

/** The command without a process of its own; what it measures are processes. */
async function run(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  let [stdout, stderr] = ["", ""];
  const code = await bench(
    args,
    { write: (text) => (stdout += text) },
    { write: (text) => (stderr += text) },
  );
  return { code, stdout, stderr };
}

test("a quick benchmark finds every row on record and leaves nothing behind", {
  timeout: 180_000,
}, async () => {
  const folder = await makeFolder();
  const { code, stdout, stderr } = await run(["--quick", "--json", "--dir", folder]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const results = JSON.parse(stdout) as Results;
  expect(results.plan).toMatchObject({ ...QUICK, workers: 1, scenarios: [...SCENARIOS] });
  expect(results.throughput.map(({ name, counted }) => [name, counted])).toEqual([
    ["chain", [rows(QUICK.chainRuns, 10)]],
    ["fan", [rows(QUICK.fanRuns, 52)]],
    ["single", [rows(QUICK.singleRuns, 1)]],
    ["map-small", [rows(QUICK.mapRuns, 103, 1)]],
    ["map-large", [rows(1, QUICK.mapItems + 3, 1)]],
  ]);
  expect(results.latency.map(({ name, hops }) => [name, hops])).toEqual([
    ["handed_over", 9 * QUICK.latencyRuns],
    ["streamed", 9 * QUICK.latencyRuns],
  ]);
  expect(results.total).toEqual(everything());
  expect(results.surroundings.redis).toMatchObject({ appendonly: "yes", "maxmemory-policy": "noeviction" });
  expect(results.surroundings.postgres).toMatchObject({ fsync: "on", synchronous_commit: "on" });
  const { items, iterations, itemsOfEach, nodes, timers } = QUICK.limits;
  expect(results.limits?.cases.map((one) => [one.name, one.status, one.executions, one.keys_left])).toEqual([
    ["limit-items", "COMPLETED", items + 3, 0],
    ["limit-iterations", "COMPLETED", iterations * (itemsOfEach + 3) + 1, 0],
    ["limit-fan", "COMPLETED", nodes + 2, 0],
    ...["chain", "wide", "mesh"].map((shape) => [`limit-skip-${shape}`, "COMPLETED", nodes + 1, 0]),
    ["limit-items-cancelled", "CANCELLED", expect.any(Number), 0],
    ["limit-waits-cancelled", "CANCELLED", nodes, 0],
    ["limit-signals-cancelled", "CANCELLED", nodes, 0],
  ]);
  expect(results.limits?.timers.waits).toBe(timers);
  const { definitionBytes, inputBytes, outputBytes, nodes: length } = QUICK.payload;
  expect(results.payload.map((one) => [one.nodes, one.output_bytes])).toEqual([
    [length, outputBytes],
    [length, inputBytes],
  ]);
  for (const one of results.payload) {
    expect(Math.abs(one.definition_bytes - definitionBytes)).toBeLessThanOrEqual(length);
    expect(one.redis_received.median).toBeGreaterThan(one.input_bytes);
  }
  expect(results.sizes?.token_bytes).toBeGreaterThan(50);
  expect(readdirSync(folder)).toEqual([]);
  expect(processesIn(folder)).toEqual([]);
});

test("a step is measured in a large workflow, beside open runs and above a history that is as long as asked for", {
  timeout: 180_000,
}, async () => {
  const folder = await makeFolder();
  const { code, stdout, stderr } = await run([
    "--quick",
    "--json",
    "--dir",
    folder,
    "--share",
    "0.5",
    "--scenario",
    ...LARGE_SCENARIOS,
  ]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const { large, plan } = JSON.parse(stdout) as Results;
  const { chainRuns, nodes, nodeRuns, openRuns, recordedSteps } = plan.large;
  expect([nodes, openRuns, recordedSteps]).toEqual(
    [QUICK.large.nodes, QUICK.large.openRuns, QUICK.large.recordedSteps].map((whole) => whole / 2),
  );
  expect(large?.small.counted).toEqual([rows(chainRuns, 10)]);
  // Runs that stay open, and those that were copied, are not counted as any sample's.
  expect(large?.cases.map(({ title, measured }) => [title, measured.counted])).toEqual([
    [`chains of ${nodes} nodes`, [rows(nodeRuns, nodes)]],
    [`beside ${openRuns} open runs`, [rows(chainRuns, 10)]],
    ["after 1,000 recorded steps", [rows(chainRuns, 10)]],
  ]);
  expect(stderr).toContain(`${openRuns} of ${openRuns} runs wait for a signal`);
  expect(stderr).toContain("1,000 of 1,000 steps are copied into the record");
  expect(readdirSync(folder)).toEqual([]);
});

test("a wrong flag is refused before anything starts", async () => {
  const { code, stderr } = await run(["--scenario", "everything"]);
  expect(code).not.toBe(0);
  expect(stderr).toContain(
    "Allowed choices are chain, fan, single, map, latency, sizes, payload, limits, large-nodes",
  );
});

test("spreads and percentiles", () => {
  expect(spreadOf([3, 1, 2])).toEqual({ min: 1, median: 2, max: 3 });
  expect(spreadOf([4, 1, 2, 3])).toEqual({ min: 1, median: 2.5, max: 4 });
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect([percentile(hundred, 50), percentile(hundred, 99), percentile([7], 99)]).toEqual([50, 99, 7]);
});

/** Each run has an event at its begin and its end besides those of its nodes, and one for each map that waits. */
function rows(runs: number, steps: number, maps = 0) {
  return { runs, node_executions: runs * steps, events: runs * (steps + 2 + maps) };
}

/** Warm-ups (a quarter; of latency as many as are measured) and samples. */
function everything() {
  const parts = [
    rows(QUICK.chainRuns * 1.25, 10),
    rows(Math.ceil(QUICK.fanRuns * 0.25) + QUICK.fanRuns, 52),
    rows(QUICK.singleRuns * 1.25, 1),
    rows(Math.ceil(QUICK.mapRuns * 0.25) + QUICK.mapRuns, 103, 1),
    rows(1, QUICK.mapItems + 3, 1),
    rows(2 * 2 * QUICK.latencyRuns, 10),
    rows(QUICK.sizeRuns, 10),
    rows(2, QUICK.payload.nodes),
  ];
  return parts.reduce((sum, part) => ({
    runs: sum.runs + part.runs,
    node_executions: sum.node_executions + part.node_executions,
    events: sum.events + part.events,
  }));
}
