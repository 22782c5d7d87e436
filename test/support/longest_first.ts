/** Starts the files that take longest first, so that none of them is left over at the end, when the other workers have nothing to do. */
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Longest first, as measured. */
const LONG = [
  "e2e/pack",
  "integration/recovery",
  "e2e/up",
  "e2e/workers",
  "integration/local_servers",
  "e2e/bench",
  "integration/leases",
  "integration/silent_links",
  "simulation/faults",
  "e2e/deadly",
  "e2e/kill",
  "integration/silent_servers",
  "integration/owner",
  "e2e/run",
  "simulation/found",
  "integration/postgres_servers",
  "integration/offers",
  "e2e/demo",
  "integration/drain",
  "e2e/errors",
  "integration/engine",
  "e2e/steer",
  "e2e/large_outputs",
  "integration/refused",
  "integration/migrate_limits",
  "integration/migrate",
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
