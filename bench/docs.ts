/**
 * `npm run bench:docs`: measures what `docs/performance.md` shows, and writes the figures there.
 *
 * A figure stands between `<!-- figures: NAME -->` and `<!-- end of NAME -->`. What was not measured keeps what is there.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command, Option } from "commander";
import { bench } from "./command.ts";
import { costFigures, costGoals, goalFigures, largeFigures, payloadFigures } from "./figures.ts";
import { LARGE_SCENARIOS } from "./large.ts";
import type { Results, Scenario } from "./measure.ts";
import { comparePeers } from "./peers/command.ts";
import { goalsOf } from "./peers/goals.ts";
import { type Comparison, openLoopTable, peerFigures } from "./peers/report.ts";

const DOCS = resolve(import.meta.dirname, "../docs");
const PARTS = ["peers", "bench", "large"] as const;
type Part = (typeof PARTS)[number];
const COST_SCENARIOS = ["chain", "fan", "single", "map", "latency", "payload"] as const satisfies Scenario[];

/** What was measured, as far as it was. */
export interface Measured {
  peers?: Comparison;
  bench?: Results;
  large?: Results;
}

/** The text with these figures in the places that it has for them. @throws Error when it has no such place */
export function withFigures(text: string, figures: Readonly<Record<string, string>>): string {
  return Object.entries(figures).reduce((all, [name, figure]) => {
    const [begin, end] = [`<!-- figures: ${name} -->`, `<!-- end of ${name} -->`];
    const [from, to] = [all.indexOf(begin), all.indexOf(end)];
    if (from < 0 || to < from)
      throw new Error(`there is no place for the figures of ${name}: ${begin} … ${end}`);
    return `${all.slice(0, from + begin.length)}\n\n${figure}\n\n${all.slice(to)}`;
  }, text);
}

/** Figures by the name of their place. */
export function figuresOf({ peers, bench: cost, large }: Measured): Record<string, string> {
  const found = [
    ...(peers ? goalsOf(peers) : []),
    ...(cost ? costGoals(cost) : []),
    ...(large ? costGoals(large) : []),
  ];
  // What a chain step costs is told beside the peers, too: once is enough.
  const goals = found.filter(({ what }, at) => found.findIndex((goal) => goal.what === what) === at);
  return {
    ...(peers && { peers: `![hitzero beside its peers](peers.svg)\n\n${peerFigures(peers)}` }),
    ...(peers?.open_loop && { "open loop": openLoopTable(peers) as string }),
    ...(cost && { cost: costFigures(cost) }),
    ...(cost && cost.payload.length > 0 && { payload: payloadFigures(cost.payload) }),
    ...(large?.large && { large: largeFigures({ ...large, large: large.large }) }),
    ...(goals.length > 0 && { goals: goalFigures(goals) }),
  };
}

interface Flags {
  results: string;
  measure: readonly Part[];
  quick?: boolean;
}

const flags = (argv: readonly string[]): Flags =>
  new Command("npm run bench:docs --")
    .description("Measures what docs/performance.md shows, and writes the figures there.")
    .option("--results <folder>", "where the results of each part are kept", "bench-results")
    .addOption(
      new Option(
        "--measure <parts...>",
        "only these; figures of the others are made of the results that are there",
      )
        .choices([...PARTS, "none"])
        .default([...PARTS]),
    )
    .option("--quick", "measures badly; shows that it works, and leaves docs as they are")
    .parse(argv, { from: "user" })
    .opts<Flags>();

/** Measures a part; returns the exit code. */
async function measurePart(part: Part, folder: string, more: readonly string[]): Promise<number> {
  process.stderr.write(`== ${part}\n`);
  if (part === "peers") return comparePeers(["--out", folder, ...more], { write: () => {} }, process.stderr);
  let json = "";
  const scenarios = ["--scenario", ...(part === "large" ? LARGE_SCENARIOS : COST_SCENARIOS)];
  const code = await bench(
    ["--json", ...scenarios, ...more],
    { write: (text) => (json += text) },
    process.stderr,
  );
  if (code === 0) writeFileSync(join(folder, `${part}.json`), json);
  return code;
}

async function main(): Promise<number> {
  const { results: folder, measure, quick } = flags(process.argv.slice(2));
  mkdirSync(folder, { recursive: true });
  let worst = 0;
  for (const part of PARTS.filter((one) => measure.includes(one)))
    worst = Math.max(worst, await measurePart(part, folder, quick ? ["--quick"] : []));
  const measured = Object.fromEntries(
    PARTS.flatMap((part) => {
      const file = join(folder, `${part}.json`);
      return existsSync(file) ? [[part, JSON.parse(readFileSync(file, "utf8"))]] : [];
    }),
  ) as Measured;
  const page = join(DOCS, "performance.md");
  const text = withFigures(readFileSync(page, "utf8"), figuresOf(measured));
  if (quick) process.stdout.write(text);
  else {
    writeFileSync(page, text);
    if (measured.peers) copyFileSync(join(folder, "peers.svg"), join(DOCS, "peers.svg"));
    process.stderr.write("docs/performance.md has the figures\n");
  }
  return worst;
}

if (process.argv[1] === import.meta.filename) process.exitCode = await main();
