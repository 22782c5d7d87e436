/** The command of `npm run bench:peers`: parses flags, installs the peers, measures, prints. */
import { writeFile } from "node:fs/promises";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { DEFAULT_CONCURRENCY } from "../../src/engine/limits.ts";
import { requireBuild } from "../build.ts";
import { listenForSignals, type Output, wholeNumber } from "../command.ts";
import { Meter } from "../meter.ts";
import { Rig } from "../rig.ts";
import { surroundingsOf } from "../surroundings.ts";
import { chartSvg } from "./chart.ts";
import { type ComparedThroughput, compareHops, compareThroughput, idleCpu } from "./compare.ts";
import { type Engine, TITLES, WORKS, type Work } from "./engine.ts";
import { Hitzero } from "./hitzero.ts";
import { installPeers } from "./install.ts";
import { measureOpenLoop } from "./open_loop.ts";
import { PEERS, type PeerName, startPeers } from "./peers.ts";
import { type Comparison, comparisonText } from "./report.ts";

const SCENARIOS = [...WORKS, "hop", "open"] as const;
type Scenario = (typeof SCENARIOS)[number];

interface Flags {
  quick?: boolean;
  json?: boolean;
  svg?: string;
  only: readonly PeerName[];
  scenario: readonly Scenario[];
  samples?: number;
  concurrency: number;
  dir?: string;
}

const FULL = {
  samples: 5,
  runs: { chain: 4_000, fan: 400, single: 10_000 } satisfies Record<Work, number>,
  latencyRuns: 200,
  openRuns: 4_000,
  openSeconds: 10,
  idleMs: 5_000,
};
/** Shows that everything works; the numbers mean little. */
const QUICK = {
  samples: 2,
  runs: { chain: 40, fan: 8, single: 100 } satisfies Record<Work, number>,
  latencyRuns: 5,
  openRuns: 40,
  openSeconds: 1,
  idleMs: 500,
};

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
    .option("--json", "print one JSON document instead of Markdown")
    .option("--svg <file>", "also write a chart there")
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

/** Measures; the caller stops the rig. */
async function compare(
  rig: Rig,
  flags: Flags,
  engines: Engine[],
  onNotice: (line: string) => void,
): Promise<Comparison> {
  const plan = flags.quick ? QUICK : FULL;
  const samples = flags.samples ?? plan.samples;
  const wanted = (scenario: Scenario) => flags.scenario.includes(scenario);
  const surroundings = await surroundingsOf(rig);
  await rig.startWorkers();
  const hitzero = new Hitzero(rig);
  engines.push(hitzero);
  const missing = await startPeers(flags.only, rig, flags.concurrency, engines);
  for (const { name, reason } of missing) onNotice(`${name} is left out: ${reason}`);
  const meter = await Meter.of(rig);
  const idle = await idleCpu(engines, meter, plan.idleMs);
  const throughput: ComparedThroughput[] = [];
  for (const work of WORKS.filter(wanted)) {
    onNotice(`${plan.runs[work]} runs, ${TITLES[work]}: ${samples} times after a warm-up, engines in turn`);
    throughput.push(...(await compareThroughput(engines, meter, work, plan.runs[work], samples)));
  }
  if (wanted("hop")) onNotice("hop, idle");
  const hops = wanted("hop") ? await compareHops(engines, rig, plan.latencyRuns, samples) : [];
  // Alone: the peers would only take from what it may have.
  for (const engine of engines) await engine.stop();
  const open = wanted("open")
    ? await measureOpenLoop(rig, { runs: plan.openRuns, seconds: plan.openSeconds, samples }, onNotice)
    : undefined;
  await hitzero.checkAll(open?.submitted ?? { runs: 0, steps: 0 });
  const { chain, fan, single } = plan.runs;
  return {
    surroundings,
    plan: {
      ...{ samples, workers: 1, concurrency: flags.concurrency, quick: flags.quick === true },
      ...{ chainRuns: chain, fanRuns: fan, singleRuns: single, latencyRuns: plan.latencyRuns },
    },
    engines: engines.map(({ name, title, version }) => ({ name, title, version })),
    missing,
    throughput,
    hops,
    open_loop: open?.openLoop ?? null,
    idle_cpu: idle,
  };
}

async function compared(flags: Flags, stderr: Output): Promise<Comparison> {
  const onNotice = (line: string) => stderr.write(`${line}\n`);
  requireBuild(onNotice);
  installPeers(onNotice);
  const interruption = listenForSignals();
  const engines: Engine[] = [];
  const rig = await Rig.start({
    ...{ workers: 1, concurrency: flags.concurrency, onNotice },
    ...(flags.dir === undefined ? {} : { parent: flags.dir }),
  });
  try {
    const measuring = compare(rig, flags, engines, onNotice);
    measuring.catch(() => {});
    return await Promise.race([measuring, rig.failed, interruption.rejects]);
  } finally {
    for (const engine of engines) await engine.stop();
    await rig.stop();
    interruption.dispose();
  }
}

/** Runs the comparison; returns the exit code. */
export async function comparePeers(argv: readonly string[], stdout: Output, stderr: Output): Promise<number> {
  try {
    const flags = parse(argv, stdout, stderr);
    const comparison = await compared(flags, stderr);
    if (flags.svg !== undefined) await writeFile(flags.svg, chartSvg(comparison));
    stdout.write(`${flags.json ? JSON.stringify(comparison, null, 2) : comparisonText(comparison)}\n`);
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    stderr.write(`the comparison failed: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}
