/**
 * `npm run simulate -- --runs N --seed S [--faults] [--features all]`: random runs by the real engine, compared with the reference.
 * Tells how it gets on, and in the last line runs, faults and disagreements; exits 1 if there is any. Starts servers of its own.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError } from "commander";

interface Options {
  runs: number;
  seed: number;
  faults?: true;
  features?: string;
}

/** Lines of the campaign; all others are vitest's. */
const OWN = "simulation: ";
const root = fileURLToPath(new URL("../../", import.meta.url));

function count(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError("it must be a whole number");
  return value;
}

function environment({ runs, seed, faults, features }: Options): NodeJS.ProcessEnv {
  return {
    ...process.env,
    NO_COLOR: "1",
    HITZERO_SIMULATION_RUNS: String(runs),
    HITZERO_SIMULATION_SEED: String(seed),
    HITZERO_SIMULATION_FAULTS: String(faults === true),
    ...(features === undefined ? {} : { HITZERO_SIMULATION_FEATURES: features }),
  };
}

async function simulate(options: Options): Promise<void> {
  const args = ["vitest", "run", "--config", "test/simulation/simulate.vitest.config.ts"];
  const child = spawn("npx", args, {
    cwd: root,
    env: environment(options),
    stdio: ["ignore", "pipe", "inherit"],
  });
  const others: string[] = [];
  let last: string | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith(OWN)) others.push(line);
    else {
      last = line.slice(OWN.length);
      process.stdout.write(`${last}\n`);
    }
  }
  const code =
    child.exitCode ?? (await new Promise<number | null>((resolve) => child.once("close", resolve)));
  if (code === 0) return;
  // What agrees in the end failed otherwise.
  process.stderr.write(`${others.join("\n")}\n`);
  if (last !== undefined) process.stdout.write(`${last}\n`);
  process.exitCode = 1;
}

await new Command("simulate")
  .description("Random runs by the real engine, compared with the reference interpreter.")
  .option("--runs <n>", "how many", count, 1000)
  .option("--seed <n>", "which", count, Math.floor(Math.random() * 2 ** 31))
  .option("--faults", "with lost calls, lost workers, commands and more")
  .option("--features <names>", "what the workflows make use of: all, or names with commas")
  .action(simulate)
  .parseAsync();
