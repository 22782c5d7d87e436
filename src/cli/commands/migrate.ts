import type { Command } from "commander";
import { LONGEST_PERIOD_MS, SHORTEST_PERIOD_MS } from "../../engine/limits.ts";
import { PERIOD_MS } from "../../postgres/periods.ts";
import type { Act } from "../program.ts";
import { plural } from "../shell/format.ts";
import { wholeNumber } from "../shell/invocation.ts";

interface Flags {
  partitions?: number;
}

export function addMigrate(program: Command, act: Act): void {
  program
    .command("migrate")
    .description("bring the database to this release's schema")
    .option(
      "--partitions <count>",
      "slices of runs, fixed by the first migrate (default 1)",
      wholeNumber(1, 256),
    )
    .option(
      "--period-ms <ms>",
      `runs of so long a time have tables of their own in Postgres (env HITZERO_PERIOD_MS; default ${PERIOD_MS}, a week)`,
      wholeNumber(SHORTEST_PERIOD_MS, LONGEST_PERIOD_MS),
    )
    .addHelpText(
      "after",
      `
Safe to repeat, and safe when several processes do it at once.

Examples:
  npx hitzero migrate --database-url postgres://user:password@localhost:5432/hitzero
  npx hitzero migrate --partitions 8        one partition suits one Redis; take more for a Redis Cluster`,
    )
    .action(
      act<Flags>(async (invocation) => {
        const { flags, terminal } = invocation;
        const { migrate } = await import("../../postgres/migrate.ts");
        const result = await migrate(invocation.databaseUrl(), {
          ...(flags.partitions === undefined ? {} : { partitions: flags.partitions }),
          periodMs: invocation.settings().periodMs,
          onApplied: (name) => {
            if (!terminal.json) terminal.print(`applied ${name}`);
          },
        });
        if (terminal.json) terminal.document(result);
        else {
          const done =
            result.applied.length === 0
              ? "nothing to do"
              : `${plural(result.applied.length, "migration")} applied`;
          terminal.print(
            `${terminal.colors.green("✔")} ${done}; the database has ${plural(result.partitions, "partition")}`,
          );
        }
        return 0;
      }),
    );
}
