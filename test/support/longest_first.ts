/** Starts the files that take longest first, so that none of them is left over at the end, when the other workers have nothing to do. */
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Longest first, as measured. */
const LONG = [
  "simulation/faults",
  "e2e/pack",
  "integration/recovery",
  "integration/local_servers",
  "e2e/kill",
  "e2e/up",
  "e2e/workers",
  "e2e/deadly",
  "e2e/bench",
  "integration/leases",
  "integration/offers",
  "simulation/found",
  "simulation/generator",
  "integration/drain",
  "simulation/engine",
  "e2e/run",
  "integration/migrate",
  "e2e/demo",
  "e2e/steer",
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const index = LONG.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
      return index < 0 ? LONG.length : index;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}
