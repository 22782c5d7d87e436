/** What `npm run simulate` runs: a campaign whose size, seed and roughness come from the environment. */
import { expect, test } from "vitest";
import { startEngine } from "../support/engine.ts";
import { Campaign } from "./campaign.ts";
import { Dice } from "./dice.ts";
import { RoughEngine } from "./rough_engine.ts";
import { smallLimits } from "./small_limits.ts";

const runs = Number(process.env.HITZERO_SIMULATION_RUNS);
const seed = Number(process.env.HITZERO_SIMULATION_SEED);
const rough = process.env.HITZERO_SIMULATION_FAULTS === "true";

const tell = (line: string): void => {
  process.stdout.write(`simulation: ${line}\n`);
};

test("campaign", { timeout: 0 }, async () => {
  const limits = smallLimits(new Dice(seed + 4));
  const campaign = new Campaign({ seed, rough });
  const handlers = (worker: string) => campaign.handlers(worker);
  const roughEngine = rough ? await RoughEngine.start(seed, handlers, { limits }) : undefined;
  const engine =
    roughEngine ??
    (await startEngine({ queues: [["default", "left"], ["right"]], handlers: handlers("worker"), limits }));
  const told = (): string => `${campaign.compared} of ${runs} runs, ${roughEngine?.faults.total ?? 0} faults`;
  let reported = 0;
  const report = (): void => {
    for (; reported < campaign.disagreements.length; reported += 1)
      tell(campaign.disagreements[reported] as string);
  };
  try {
    roughEngine?.begin();
    await campaign.run(engine, runs, () => {
      report();
      tell(`${told()}, ${campaign.disagreements.length} disagreements`);
    });
    await roughEngine?.cease();
  } finally {
    await engine.stop();
    report();
    tell(`${told()}, ${campaign.disagreements.length} disagreements, seed ${seed}`);
  }
  expect([campaign.compared, campaign.disagreements]).toEqual([runs, []]);
});
