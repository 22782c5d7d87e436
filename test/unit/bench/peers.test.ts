/** The comparison with other engines, as far as it needs none of them: arrivals, order, tables, chart, and how a peer is told. */
import { join, relative } from "node:path";
import { afterEach, expect, test } from "vitest";
import { listenForSignals } from "../../../bench/command.ts";
import { isReached } from "../../../bench/goals.ts";
import type { Meter } from "../../../bench/meter.ts";
import { poissonArrivals, seeded } from "../../../bench/peers/arrivals.ts";
import { chartSvg } from "../../../bench/peers/chart.ts";
import { comparePeers } from "../../../bench/peers/command.ts";
import { compareThroughput, turns } from "../../../bench/peers/compare.ts";
import type { Engine } from "../../../bench/peers/engine.ts";
import { goalsOf } from "../../../bench/peers/goals.ts";
import { Lineup } from "../../../bench/peers/lineup.ts";
import { PEERS_FOLDER, Peer } from "../../../bench/peers/peer.ts";
import { type Comparison, comparisonText } from "../../../bench/peers/report.ts";
import { comparison } from "./comparison.ts";

const started: Peer[] = [];
afterEach(async () => {
  for (const peer of started.splice(0)) await peer.stop();
});

test("tables show medians with their spread, what hitzero makes of each peer, and who is missing", () => {
  const text = comparisonText(comparison());
  const row = (begin: string) =>
    text
      .split("\n")
      .find((line) => line.startsWith(`| ${begin}`))
      ?.split("|")
      .slice(2, -1)
      .map((cell) => cell.trim());
  expect(row("chains of 10 steps, steps/s")).toEqual([
    "4,000 (3,990–4,010)",
    "1,000 (990–1,010)",
    // It has no such sample: no number is made up.
    "–",
  ]);
  expect(row("hitzero against it")).toEqual(["", "4.00 ×", ""]);
  expect(row("BullMQ flows")).toEqual(["0.25 (0.25–0.25)", "0.50 (0.50–0.50)", "0.30 (0.30–0.30)"]);
  expect(row("chains of 10 steps, hitzero")).toEqual(["10.0", "20.0", "30.0", "40.0", "–", "100"]);
  expect(row("chains of 10 steps, BullMQ flows")).toEqual(["10.0", "20.0", "30.0", "–", "–", "60.0"]);
  expect(row("50 %: 200 runs/s")).toEqual(["8.00 (8.00–8.00)", "20.0 (20.0–20.0)", "31.0", "40.0"]);
  expect(text).not.toContain("1 → 50 → 1");
  expect(text).toContain("**restate was not measured**: there is no restate-server for sunos");
  expect(text).toContain("**dbos failed during one-step runs**: it ended (1): out of connections");
  expect(text).toContain("each sample sized to take 4 s");
});

test("what is to be reached stands beside what was found, as far as it was measured", () => {
  const found = goalsOf(comparison()).map(({ what, found }) => [what, found]);
  expect(found).toEqual([
    ["chains: rate against BullMQ flows", 4],
    ["one-step runs: rate against BullMQ flows", 0.5],
    ["hop, idle: p50 against BullMQ flows, 3 series", 2],
    ["hop, idle: p99 against BullMQ flows, 3 series", 2],
    ["CPU of a chain step, all processes", 100],
  ]);
  expect(goalsOf(comparison()).map(isReached)).toEqual([true, false, false, false, false]);
  const text = comparisonText(comparison());
  expect(text).toContain("| chains: rate against BullMQ flows | 4.00 × | ≥ 4 × | 6 × | reached |");
  expect(text).toContain("| CPU of a chain step, all processes | 100 µs | ≤ 43 µs | 32 µs | **missed** |");
});

test("a quick comparison, and one in memory, say so wherever they are shown", () => {
  const { surroundings, plan, ...rest } = comparison();
  const quick: Comparison = {
    ...rest,
    surroundings: { ...surroundings, on_disk: false },
    plan: { ...plan, quick: true },
  };
  expect(comparisonText(quick)).toContain("measures badly");
  expect(comparisonText(quick)).toContain("flushes cost nothing here");
  expect(chartSvg(quick)).toContain("measures badly");
});

test("bars of the chart are as long as their medians, within the picture, and text is escaped", () => {
  const svg = chartSvg(comparison());
  const bars = [
    ...svg.matchAll(/<rect x="146" y="[\d.]+" width="([\d.]+)" height="18" fill="#[\da-f]+"\/>/g),
  ].map(([, width]) => Number(width));
  // Two panels of rates, two of latencies, two bars each.
  expect(bars).toHaveLength(8);
  expect((bars[0] as number) / (bars[1] as number)).toBeCloseTo(4, 1);
  expect((bars[4] as number) / (bars[5] as number)).toBeCloseTo(2, 1);
  const ends = [...svg.matchAll(/<(?:line|rect)[^>]* (?:x2|width)="([\d.]+)"/g)].map(([, x]) => Number(x));
  expect(Math.max(...ends)).toBeLessThanOrEqual(720);
  expect(svg).toContain(">1,000 (hitzero 4.00 ×)<");
  // What a step costs: hitzero has four processes here, BullMQ three; the pieces of a bar are side by side.
  const pieces = [
    ...svg.matchAll(/<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"[^>]* class="piece"/g),
  ].map((found) => found.slice(1).map(Number)) as [number, number, number][];
  expect(pieces).toHaveLength(7);
  for (const [x, y, width] of pieces.slice(0, 3))
    expect(pieces.some((next) => next[1] === y && Math.abs(next[0] - x - width) < 0.2)).toBe(true);
  expect(svg).toContain("Intel &#60;x&#62;");
  expect(svg).not.toContain("NaN");
});

test("a panel without samples is left out of the chart", () => {
  const svg = chartSvg({ ...comparison(), hops: [] });
  expect(svg).not.toContain("idle engine");
  expect(svg).toContain("one-step runs");
});

test("runs arrive as often as the rate says, at irregular times, and again so for the same seed", () => {
  const arrivals = poissonArrivals(1_000, 20, seeded(7));
  expect(arrivals).toEqual(poissonArrivals(1_000, 20, seeded(7)));
  // 20,000 expected; five standard deviations are 707.
  expect(Math.abs(arrivals.length - 20_000)).toBeLessThan(707);
  expect(arrivals).toEqual([...arrivals].sort((a, b) => a - b));
  expect(arrivals.at(-1)).toBeLessThan(20_000);
  const gaps = arrivals.slice(1).map((at, index) => at - (arrivals[index] as number));
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
  // Exponential gaps vary as much as their mean; a fixed rate's would not vary.
  expect(deviation / mean).toBeGreaterThan(0.9);
  expect(deviation / mean).toBeLessThan(1.1);
});

test("each round begins with another engine", () => {
  const rounds = [0, 1, 2, 3].map((round) => turns(["a", "b", "c"], round).join(""));
  expect(rounds).toEqual(["abc", "bca", "cab", "abc"]);
});

/** A peer made of the script beside this file. */
async function quickPeer(role: string, limitMs?: number): Promise<Peer> {
  const options = {
    ...{ name: "quick", title: "Quick", version: "1", works: ["chain", "single"] as const },
    script: relative(PEERS_FOLDER, join(import.meta.dirname, "quick_peer.mjs")),
    roles: [{ part: "worker" as const, args: [role] }],
    submitter: "worker" as const,
  };
  const peer = await Peer.start(options, limitMs);
  started.push(peer);
  return peer;
}

test("a peer is told to run, counts its ends, and tells when each step of a lone chain was entered", async () => {
  const peer = await quickPeer("worker");
  expect(peer.processes.worker).toHaveLength(1);
  for (let sample = 0; sample < 3; sample += 1) {
    await peer.prepare("single", 5);
    const { seconds, submitSeconds } = await peer.run();
    expect(Math.min(seconds, submitSeconds)).toBeGreaterThan(0);
  }
  const hops = await peer.hops();
  expect(hops).toHaveLength(9);
  expect(Math.min(...hops)).toBeGreaterThanOrEqual(0);
});

test("a peer that ends at its start, or never reports an end, is named with what it did", async () => {
  await expect(quickPeer("dying")).rejects.toThrow("Quick (worker) ended while it was measured (1)");
  await expect(quickPeer("mute", 200)).rejects.toThrow(
    "Quick did not report the end of 1 × chain within 0.2 s",
  );
});

test("a peer that dies in the middle is named with its last words and left out; hitzero's fault ends the comparison", async () => {
  const said: string[] = [];
  const lineup = new Lineup((line) => said.push(line));
  const [peer, other] = [await quickPeer("mortal"), await quickPeer("worker")];
  for (const engine of [peer, other]) lineup.add(engine);
  const run = async (engine: Peer) => {
    await engine.prepare("single", 1);
    return engine.run();
  };
  expect(await lineup.attempt(peer, "a song", () => run(peer))).toBeUndefined();
  expect(await lineup.attempt(other, "a song", () => run(other))).toMatchObject({
    seconds: expect.any(Number),
  });
  expect(lineup.engines).toEqual([other]);
  expect(lineup.all).toEqual([peer, other]);
  const reason = "Quick (worker) ended while it was measured (3): this is all I have to say";
  expect(lineup.failures).toEqual([{ name: "quick", during: "a song", reason }]);
  expect(said).toEqual([`quick failed during a song, and is left out from here: ${reason}`]);
  const own = { ...other, name: "hitzero", failed: new Promise<never>(() => {}) } as unknown as Peer;
  await expect(lineup.attempt(own, "x", () => Promise.reject(new Error("a row is missing")))).rejects.toThrow(
    "a row is missing",
  );
});

/** An engine of which each run takes so long, however slowly it begins. */
function engineOf(name: string, secondsPerRun: number, asked: number[]): Engine {
  let runs = 0;
  return {
    ...{ name, title: name, version: "1", works: ["chain"], processes: {} },
    failed: new Promise<never>(() => {}),
    prepare: async (_work, count) => {
      runs = count;
      asked.push(count);
    },
    run: async () => {
      const cold = asked.length === 1 ? 10 : 1;
      return { seconds: runs * secondsPerRun * cold, submitSeconds: 0 };
    },
    check: async () => {},
    hops: async () => [],
    stop: async () => {},
  };
}

test("a sample takes as long as asked for, by the rate of an engine that is warm", async () => {
  const meter = { servers: { redis: process.pid, postgres: process.pid } } as Meter;
  const lineup = new Lineup(() => {});
  const [slow, fast]: [number[], number[]] = [[], []];
  lineup.add(engineOf("slow", 0.1, slow));
  lineup.add(engineOf("fast", 0.000_1, fast));
  const size = { runs: 10, seconds: 4, most: 1_000_000 };
  const found = await compareThroughput(lineup, meter, "chain", size, 2, () => {});
  // It took 10 s at first and 1 s then.
  expect(slow).toEqual([10, 10, 40, 40]);
  expect(found[0]).toMatchObject({ engine: "slow", runs: 40, seconds: { median: expect.closeTo(4) } });
  expect(fast.slice(-2)).toEqual([40_000, 40_000]);
  expect(fast.slice(0, 3)).toEqual([10, 80, 640]);
  const few: number[] = [];
  const alone = new Lineup(() => {});
  alone.add(engineOf("fast", 0.000_1, few));
  await compareThroughput(alone, meter, "chain", { ...size, most: 700 }, 1, () => {});
  expect(few.at(-1)).toBe(700);
});

test("an unknown peer is refused before anything is installed or started", async () => {
  let said = "";
  const output = { write: (text: string) => (said += text) };
  expect(await comparePeers(["--only", "bullmq,celery"], output, output)).not.toBe(0);
  expect(said).toContain("There is no celery: give some of bullmq,dbos,restate.");
});

test("the echo of a Ctrl-C, which npm and tsx pass on, is still heard after the first, and ends nothing by itself", async () => {
  const before = process.listenerCount("SIGINT");
  const { rejects, dispose } = listenForSignals();
  try {
    process.emit("SIGINT", "SIGINT");
    await expect(rejects).rejects.toThrow("interrupted by SIGINT");
    // Without a listener the next one would kill the process, and leave its servers behind.
    expect(process.listenerCount("SIGINT")).toBe(before + 1);
    process.emit("SIGINT", "SIGINT");
  } finally {
    dispose();
  }
  expect(process.listenerCount("SIGINT")).toBe(before);
});
