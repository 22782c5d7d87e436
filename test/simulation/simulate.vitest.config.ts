import { defineConfig } from "vitest/config";

/** For `npm run simulate`: servers of its own, and no other test. */
export default defineConfig({
  test: {
    hookTimeout: 120_000,
    pool: "forks",
    include: ["test/simulation/simulate.spec.ts"],
    globalSetup: ["test/support/global_setup.ts"],
  },
});
