import type { Command } from "commander";
import {
  LONGEST_PERIOD_MS,
  LONGEST_UNOFFERED_TIMEOUT_MS,
  SHORTEST_PERIOD_MS,
  UNOFFERED_TIMEOUT_MS,
} from "../../engine/limits.ts";
import { PERIOD_MS } from "../../postgres/periods.ts";
import type { Act } from "../program.ts";
import { wholeNumber } from "../shell/invocation.ts";
import { hasParent, Lifetime, startUnlessEnded, tellParent } from "../shell/lifetime.ts";

export function addSupervisor(program: Command, act: Act): void {
  program
    .command("supervisor")
    .description("record what happens in Postgres and finish runs, until a signal")
    .option(
      "--unoffered-timeout-ms <ms>",
      `a node fails whose function no live worker of its queue has offered for this long (env HITZERO_UNOFFERED_TIMEOUT_MS; default ${UNOFFERED_TIMEOUT_MS})`,
      wholeNumber(1, LONGEST_UNOFFERED_TIMEOUT_MS),
    )
    .option(
      "--period-ms <ms>",
      `runs of so long a time have tables of their own in Postgres (env HITZERO_PERIOD_MS; default ${PERIOD_MS}, a week)`,
      wholeNumber(SHORTEST_PERIOD_MS, LONGEST_PERIOD_MS),
    )
    .addHelpText(
      "after",
      `
At least one supervisor must run. With two, one takes over when the other dies.
SIGINT or SIGTERM: ends the batch under way, exits with 0. A second signal: exits at once.

Example:
  npx hitzero supervisor`,
    )
    .action(
      act(async (invocation) => {
        const { terminal } = invocation;
        const lifetime = new Lifetime();
        const [{ Supervisor }, { addresses }] = await Promise.all([
          import("../../engine/reader/supervisor.ts"),
          import("../shell/addresses.ts"),
        ]);
        const servers = invocation.servers();
        const supervisor = new Supervisor({ ...servers, log: invocation.log("info") });
        if (!(await startUnlessEnded(supervisor, lifetime))) return 0;
        tellParent({ ready: true, id: supervisor.id, functions: [] });
        if (!hasParent()) terminal.remark(`${supervisor.id} records runs (${addresses(servers)})`);
        await lifetime.end;
        await supervisor.stop();
        return 0;
      }),
    );
}
