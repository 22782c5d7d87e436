/** The command of `npm run bench`: parses flags, measures, prints. */
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { DEFAULT_CONCURRENCY, MAX_CONCURRENCY } from "../src/engine/limits.ts";
import { requireBuild } from "./build.ts";
import {
  ALL_SCENARIOS,
  FULL,
  measure,
  type Plan,
  QUICK,
  type Results,
  SCENARIOS,
  type Scenario,
} from "./measure.ts";
import { reportText } from "./report.ts";
import { Rig } from "./rig.ts";

export interface Output {
  write(text: string): unknown;
}

interface Flags {
  quick?: boolean;
  json?: boolean;
  workers: number;
  concurrency: number;
  samples?: number;
  scenario: readonly Scenario[];
  share: number;
  dir?: string;
  profile?: string;
}

export function wholeNumber(highest: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= 1 && value <= highest) return value;
    throw new InvalidArgumentError(`Give a whole number from 1 to ${highest}.`);
  };
}

function partOfOne(text: string): number {
  const value = Number(text);
  if (value > 0 && value <= 1) return value;
  throw new InvalidArgumentError("Give a number above 0, up to 1.");
}

function parse(argv: readonly string[], stdout: Output, stderr: Output): Flags {
  return new Command("npm run bench --")
    .description(
      "Measures hitzero on this machine: servers, supervisor and workers of its own, full history recorded.",
    )
    .option("--quick", "a short one: counts right, measures badly")
    .option("--json", "print one JSON document instead of tables")
    .option("--workers <count>", "worker processes", wholeNumber(64), 1)
    .option(
      "--concurrency <count>",
      "nodes that a worker performs at once",
      wholeNumber(MAX_CONCURRENCY),
      DEFAULT_CONCURRENCY,
    )
    .option("--samples <count>", `measurements of each scenario (default ${FULL.samples})`, wholeNumber(100))
    .addOption(
      new Option("--scenario <names...>", "only these")
        .choices(ALL_SCENARIOS)
        .default(SCENARIOS, "all that are not called large-…"),
    )
    .option("--share <part>", "of large-…: part of their full size, up to 1", partOfOne, 1)
    .option(
      "--dir <folder>",
      "where the throw-away folder is made (default: the system's for temporary files)",
    )
    .option("--profile <folder>", "write CPU profiles of workers and supervisor there")
    .addHelpText("after", "\nbench/README.md says how to read the numbers.")
    .configureOutput({ writeOut: (text) => stdout.write(text), writeErr: (text) => stderr.write(text) })
    .exitOverride()
    .parse(argv, { from: "user" })
    .opts<Flags>();
}

function planOf(flags: Flags): Plan {
  const { workers, concurrency, scenario, share } = flags;
  const counts = flags.quick ? QUICK : FULL;
  const { nodes, openRuns, recordedSteps } = counts.large;
  const part = (whole: number) => Math.ceil(whole * share);
  const large = {
    ...counts.large,
    ...{ nodes: part(nodes), openRuns: part(openRuns), recordedSteps: part(recordedSteps) },
  };
  return {
    ...counts,
    large,
    samples: flags.samples ?? counts.samples,
    workers,
    concurrency,
    scenarios: scenario,
  };
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;
/** A terminal sends Ctrl-C to all processes of the command, and `npm` and `tsx` pass it on: what comes this soon is the same one. */
const ECHO_MS = 1_000;

/** `rejects` at the first signal, so that the rig is stopped in order; a second one ends the process at once. */
export function listenForSignals(): { rejects: Promise<never>; dispose: () => void } {
  let interrupt: (error: Error) => void = () => {};
  let firstAt: number | undefined;
  const rejects = new Promise<never>((_resolve, reject) => {
    interrupt = reject;
  });
  rejects.catch(() => {});
  const onSignal = (signal: NodeJS.Signals) => {
    if (firstAt !== undefined && performance.now() - firstAt > ECHO_MS) process.exit(1);
    firstAt ??= performance.now();
    interrupt(new Error(`interrupted by ${signal}`));
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return {
    rejects,
    dispose: () => {
      for (const signal of SIGNALS) process.off(signal, onSignal);
    },
  };
}

async function measured(flags: Flags, stderr: Output): Promise<Results> {
  const onNotice = (line: string) => stderr.write(`${line}\n`);
  requireBuild(onNotice);
  const plan = planOf(flags);
  const interruption = listenForSignals();
  const rig = await Rig.start({
    workers: plan.workers,
    concurrency: plan.concurrency,
    onNotice,
    ...(flags.dir === undefined ? {} : { parent: flags.dir }),
    ...(flags.profile === undefined ? {} : { profiles: flags.profile }),
  });
  try {
    return await Promise.race([measure(rig, plan, onNotice), rig.failed, interruption.rejects]);
  } finally {
    await rig.stop();
    interruption.dispose();
  }
}

/** Runs the benchmark; answers the exit code. */
export async function bench(argv: readonly string[], stdout: Output, stderr: Output): Promise<number> {
  try {
    const flags = parse(argv, stdout, stderr);
    const results = await measured(flags, stderr);
    stdout.write(`${flags.json ? JSON.stringify(results, null, 2) : reportText(results)}\n`);
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    stderr.write(`the benchmark failed: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}
