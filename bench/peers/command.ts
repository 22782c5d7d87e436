/** The command of `npm run bench:peers`: parses flags, installs the peers, measures, prints. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { DEFAULT_CONCURRENCY } from "../../src/engine/limits.ts";
import { requireBuild } from "../build.ts";
import { listenForSignals, type Output, wholeNumber } from "../command.ts";
import { Meter } from "../meter.ts";
import { Rig } from "../rig.ts";
import { surroundingsOf } from "../surroundings.ts";
import { chartSvg } from "./chart.ts";
import { compareHops, compareThroughput, idleCpu, type Progress, type SampleSize } from "./compare.ts";
import { WORKS, type Work } from "./engine.ts";
import { Hitzero } from "./hitzero.ts";
import { installPeers } from "./install.ts";
import { Lineup } from "./lineup.ts";
import { measureOpenLoop } from "./open_loop.ts";
import { PEERS, type PeerName, startPeers } from "./peers.ts";
import { type Comparison, comparisonText } from "./report.ts";

const SCENARIOS = [...WORKS, "hop", "open"] as const;
type Scenario = (typeof SCENARIOS)[number];

interface Flags {
  quick?: boolean;
  json?: boolean;
  out?: string;
  only: readonly PeerName[];
  scenario: readonly Scenario[];
  samples?: number;
  seconds?: number;
  concurrency: number;
  dir?: string;
}

interface PeerPlan {
  samples: number;
  sizes: Record<Work, SampleSize>;
  sampleSeconds: number | null;
  latencyRuns: number;
  openRuns: number;
  openSeconds: number;
  idleMs: number;
}

const FULL: PeerPlan = {
  samples: 5,
  sizes: {
    chain: { runs: 200, most: 20_000 },
    fan: { runs: 20, most: 4_000 },
    single: { runs: 500, most: 50_000 },
  },
  sampleSeconds: 4,
  latencyRuns: 200,
  openRuns: 4_000,
  openSeconds: 10,
  idleMs: 5_000,
};
/** Shows that everything works; the numbers mean little. */
const QUICK: PeerPlan = {
  samples: 2,
  sizes: { chain: { runs: 40, most: 40 }, fan: { runs: 8, most: 8 }, single: { runs: 100, most: 100 } },
  sampleSeconds: null,
  latencyRuns: 5,
  openRuns: 40,
  openSeconds: 1,
  idleMs: 500,
};
/** A peer failed: the results are those of the others. */
const PEER_FAILED = 2;

function planOf(flags: Flags): PeerPlan {
  const plan = flags.quick ? QUICK : FULL;
  return {
    ...plan,
    samples: flags.samples ?? plan.samples,
    sampleSeconds: flags.seconds ?? plan.sampleSeconds,
  };
}

/** Names separated by commas. */
function peerNames(text: string): PeerName[] {
  const names = text.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !(PEERS as readonly string[]).includes(name));
  if (unknown === undefined) return names as PeerName[];
  throw new InvalidArgumentError(
    `There is no ${unknown || "peer without a name"}: give some of ${PEERS.join(",")}.`,
  );
}

function parse(argv: readonly string[], stdout: Output, stderr: Output): Flags {
  return new Command("npm run bench:peers --")
    .description(
      "Measures hitzero beside other engines: the same work, the same servers, in turn, in one run.",
    )
    .option("--quick", "a short one: shows that all engines work, measures badly")
    .option("--only <names>", `some of ${PEERS.join(",")}; hitzero is always measured`, peerNames, [...PEERS])
    .addOption(new Option("--scenario <names...>", "only these").choices(SCENARIOS).default(SCENARIOS, "all"))
    .option("--samples <count>", `measurements of each (default ${FULL.samples})`, wholeNumber(100))
    .option(
      "--concurrency <count>",
      "steps that a worker performs at once",
      wholeNumber(1_000),
      DEFAULT_CONCURRENCY,
    )
    .option("--seconds <count>", `length of a sample (default ${FULL.sampleSeconds})`, wholeNumber(60))
    .option("--json", "print one JSON document instead of Markdown")
    .option("--out <folder>", "also write peers.md, peers.json and peers.svg there, after each scenario anew")
    .option(
      "--dir <folder>",
      "where the throw-away folder is made (default: the system's for temporary files)",
    )
    .addHelpText("after", "\nbench/peers/README.md says what is compared, and how.")
    .configureOutput({ writeOut: (text) => stdout.write(text), writeErr: (text) => stderr.write(text) })
    .exitOverride()
    .parse(argv, { from: "user" })
    .opts<Flags>();
}

/** Writes what is known so far: who ends a long comparison keeps it. */
async function write(folder: string, comparison: Comparison): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "peers.json"), `${JSON.stringify(comparison, null, 2)}\n`);
  await writeFile(join(folder, "peers.md"), `${comparisonText(comparison)}\n`);
  await writeFile(join(folder, "peers.svg"), chartSvg(comparison));
}

/** Measures; the caller stops the rig and the peers. */
async function compare(rig: Rig, flags: Flags, lineup: Lineup, progress: Progress): Promise<Comparison> {
  const plan = planOf(flags);
  const { samples, sampleSeconds, latencyRuns } = plan;
  const wanted = (scenario: Scenario) => flags.scenario.includes(scenario);
  const surroundings = await surroundingsOf(rig);
  await rig.startWorkers();
  const hitzero = new Hitzero(rig);
  lineup.add(hitzero);
  const missing = await startPeers(flags.only, rig, flags.concurrency, lineup);
  for (const { name, reason } of missing) progress(`${name} is left out: ${reason}`);
  const meter = await Meter.of(rig);
  const comparison: Comparison = {
    surroundings,
    plan: {
      ...{ samples, workers: 1, concurrency: flags.concurrency, quick: flags.quick === true },
      ...{ sampleSeconds, latencyRuns },
    },
    engines: lineup.all.map(({ name, title, version }) => ({ name, title, version })),
    missing,
    failed: lineup.failures,
    throughput: [],
    hops: [],
    open_loop: null,
    idle_cpu: await idleCpu(lineup.engines, meter, plan.idleMs),
  };
  const keep = () => (flags.out === undefined ? undefined : write(flags.out, comparison));
  for (const work of WORKS.filter(wanted)) {
    const size = { ...plan.sizes[work], ...(sampleSeconds === null ? {} : { seconds: sampleSeconds }) };
    comparison.throughput.push(...(await compareThroughput(lineup, meter, work, size, samples, progress)));
    await keep();
  }
  if (wanted("hop")) comparison.hops = await compareHops(lineup, rig, latencyRuns, samples, progress);
  // Alone: the peers would only take from what it may have.
  await lineup.stop();
  const open = wanted("open")
    ? await measureOpenLoop(rig, { runs: plan.openRuns, seconds: plan.openSeconds, samples }, progress)
    : undefined;
  comparison.open_loop = open?.openLoop ?? null;
  progress("counting all rows");
  await hitzero.checkAll(open?.submitted ?? { runs: 0, steps: 0 });
  await keep();
  return comparison;
}

async function compared(flags: Flags, stderr: Output): Promise<Comparison> {
  const begun = performance.now();
  const progress = (line: string) =>
    stderr.write(`${((performance.now() - begun) / 1_000).toFixed(0).padStart(4)} s  ${line}\n`);
  requireBuild(progress);
  installPeers(progress);
  const interruption = listenForSignals();
  const lineup = new Lineup(progress);
  const rig = await Rig.start({
    ...{ workers: 1, concurrency: flags.concurrency, onNotice: progress },
    ...(flags.dir === undefined ? {} : { parent: flags.dir }),
  });
  try {
    const measuring = compare(rig, flags, lineup, progress);
    measuring.catch(() => {});
    return await Promise.race([measuring, rig.failed, interruption.rejects]);
  } finally {
    await lineup.stop();
    await rig.stop();
    interruption.dispose();
  }
}

/** Runs the comparison; returns the exit code. */
export async function comparePeers(argv: readonly string[], stdout: Output, stderr: Output): Promise<number> {
  try {
    const flags = parse(argv, stdout, stderr);
    const comparison = await compared(flags, stderr);
    stdout.write(`${flags.json ? JSON.stringify(comparison, null, 2) : comparisonText(comparison)}\n`);
    return comparison.failed.length === 0 ? 0 : PEER_FAILED;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    stderr.write(`the comparison failed: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}
