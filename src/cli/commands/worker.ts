import type { Command } from "commander";
import { HitzeroError } from "../../base/errors.ts";
import { DEFAULT_CONCURRENCY, MAX_CONCURRENCY } from "../../engine/limits.ts";
import type { Handlers } from "../../handlers/types.ts";
import { plural } from "../format.ts";
import { wholeNumber } from "../invocation.ts";
import { hasParent, Lifetime, tellParent } from "../lifetime.ts";
import type { Act } from "../program.ts";

interface Flags {
  handlers?: string;
  concurrency: number;
  queues: string;
}

export function addWorker(program: Command, act: Act): void {
  program
    .command("worker")
    .description("perform nodes of runs, until a signal")
    .option(
      "--handlers <module>",
      "JavaScript or TypeScript module whose exported functions are the handlers",
    )
    .option(
      "--concurrency <count>",
      "nodes performed at once",
      wholeNumber(1, MAX_CONCURRENCY),
      DEFAULT_CONCURRENCY,
    )
    .option("--queues <names>", "queues to read, separated by commas", "default")
    .addHelpText(
      "after",
      `
Any number of workers may run. Without --handlers a worker performs the built-in node types only.
SIGINT or SIGTERM: takes no more nodes, lets those that run end, exits with 0. A second signal: exits at once.

Examples:
  npx hitzero worker --handlers handlers.ts
  npx hitzero worker --handlers dist/handlers.js --concurrency 100 --queues default,reports`,
    )
    .action(
      act<Flags>(async (invocation) => {
        const { flags, terminal } = invocation;
        const lifetime = new Lifetime();
        const { addresses, loadHandlers, Worker } = await import("../engine.ts");
        const queues = queuesOf(flags.queues);
        const servers = invocation.servers();
        const handlers: Handlers =
          servers.handlers === undefined ? new Map() : await loadHandlers(servers.handlers);
        const { concurrency } = flags;
        const log = invocation.log("info");
        const worker = new Worker({ ...servers, handlers, concurrency, queues, log });
        await worker.start();
        const functions = [...handlers.keys()].sort();
        tellParent({ ready: true, id: worker.id, functions });
        if (!hasParent()) {
          const from = servers.handlers === undefined ? "" : ` of ${servers.handlers}`;
          const what = `${plural(functions.length, "function")}${from}, ${concurrency} at once`;
          terminal.remark(
            `${worker.id} serves ${queues.length > 1 ? "queues" : "queue"} ${queues.join(", ")}: ${what} (${addresses(servers)})`,
          );
        }
        await lifetime.end;
        if (!hasParent())
          terminal.remark("stopping: nodes that run may end (a second signal ends them at once)");
        await worker.stop();
        return 0;
      }),
    );
}

function queuesOf(text: string): string[] {
  const queues = text.split(",").map((queue) => queue.trim());
  const bad = queues.find((queue) => !/^[a-zA-Z0-9_.-]{1,128}$/.test(queue));
  if (bad === undefined) return [...new Set(queues)];
  throw new HitzeroError("BAD_QUEUE", `${JSON.stringify(bad)} is no name of a queue`, {
    hint: "Separate names of letters, digits, _, . and - by commas: --queues default,reports",
  });
}
