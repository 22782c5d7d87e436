import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/support/longest_first.ts";

/** What takes long and seldom changes: the benchmarks, the package, the local servers, and what moves much data. `npm run test:long`. */
const LONG = [
  "test/e2e/bench.test.ts",
  "test/e2e/user_bench.test.ts",
  "test/e2e/large_outputs.test.ts",
  "test/e2e/pack.test.ts",
  "test/integration/local_servers.test.ts",
  "test/integration/packed_migration.test.ts",
];

/** `unit` needs no server; `servers` and `long` start a Redis and a Postgres of their own for the whole run. */
export default defineConfig({
  test: {
    setupFiles: ["test/support/setup.ts"],
    // Longer than any wait within a test (test/support/until.ts), which says what it waited for.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    pool: "forks",
    maxWorkers: 6,
    sequence: { sequencer: LongestFirst },
    // Modules are loaded once per worker, not once per file: they keep no state that a later file would see.
    isolate: false,
    // Keeps what was compiled from TypeScript, by its text, for both projects and the next run.
    experimental: { fsModuleCache: true },
    coverage: { provider: "v8", include: ["src/**"], reporter: ["text-summary", "text"] },
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          // After the others, which wait for servers now and then; each worker more would load all modules again.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
          include: ["test/unit/**/*.test.ts", "test/simulation/reference*.test.ts"],
        },
      },
      {
        extends: true,
        test: {
          name: "servers",
          include: ["test/**/*.test.ts"],
          exclude: ["test/unit/**", "test/simulation/reference*.test.ts", ...LONG],
          globalSetup: ["test/support/global_setup.ts"],
        },
      },
      {
        extends: true,
        test: {
          name: "long",
          maxWorkers: 3,
          include: LONG,
          globalSetup: ["test/support/global_setup.ts"],
        },
      },
    ],
  },
});
