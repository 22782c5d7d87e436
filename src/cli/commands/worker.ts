import { type Command, Option } from "commander";
import { pause } from "../../base/wait.ts";
import { checkQueues } from "../../engine/checked_texts.ts";
import {
  BLOCKED_GRACE_MS,
  DEFAULT_CONCURRENCY,
  DRAIN_TIMEOUT_MS,
  LEASE_MS,
  LONGEST_DRAIN_MS,
  LONGEST_LEASE_MS,
  MAX_CONCURRENCY,
  SHORTEST_LEASE_MS,
} from "../../engine/limits.ts";
import { nameExits } from "../../engine/worker/exits.ts";
import type { Worker as EngineWorker } from "../../engine/worker/worker.ts";
import type { Handler } from "../../handlers/types.ts";
import { SuspectProcess } from "../processes/suspect_process.ts";
import { keepWorkers, workerProcess } from "../processes/worker_processes.ts";
import type { Act } from "../program.ts";
import { plural } from "../shell/format.ts";
import { type Invocation, wholeNumber } from "../shell/invocation.ts";
import { hasParent, Lifetime, startUnlessEnded, tellParent } from "../shell/lifetime.ts";

interface Flags {
  handlers?: string;
  concurrency: number;
  processes?: number;
  queues: string;
  suspects?: boolean;
  blockedGraceMs?: number;
}

const MOST_PROCESSES = 256;

export function addWorker(program: Command, act: Act): void {
  program
    .command("worker")
    .description("perform nodes of runs, until a signal")
    .option(
      "--handlers <module>",
      "JavaScript or TypeScript module whose exported functions are the handlers (env HITZERO_HANDLERS)",
    )
    .option(
      "--concurrency <count>",
      "nodes performed at once, by each process",
      wholeNumber(1, MAX_CONCURRENCY),
      DEFAULT_CONCURRENCY,
    )
    .option(
      "--processes <count>",
      "worker processes, kept alive by this one (without it this process is the worker)",
      wholeNumber(1, MOST_PROCESSES),
    )
    .option("--queues <names>", "queues to read, separated by commas", "default")
    .option(
      "--lease-ms <ms>",
      `after this time without a sign of life a worker's nodes go to others (env HITZERO_LEASE_MS; default ${LEASE_MS})`,
      wholeNumber(SHORTEST_LEASE_MS, LONGEST_LEASE_MS),
    )
    .option(
      "--drain-timeout-ms <ms>",
      `a stop lets nodes that run go on for this long (env HITZERO_DRAIN_TIMEOUT_MS; default ${DRAIN_TIMEOUT_MS})`,
      wholeNumber(0, LONGEST_DRAIN_MS),
    )
    // For the process that a worker starts for its suspects.
    .addOption(new Option("--suspects").hideHelp())
    // For tests, which cannot wait for 30 s each time that a handler does not come back.
    .addOption(new Option("--blocked-grace-ms <ms>").argParser(wholeNumber(1, BLOCKED_GRACE_MS)).hideHelp())
    .addHelpText(
      "after",
      `
Any number of workers may run. Without --handlers a worker performs the built-in node types only.
SIGINT or SIGTERM: takes no more nodes, lets those that run end, exits with 0. After --drain-timeout-ms their handlers are told to stop,
and what does not end within 0.2 s is performed again by another worker. A second signal: exits at once.
With --processes, 1 included, one parent keeps that many workers: it starts a dead one again and ends them all in order.
A lease of 1,000 to 600,000 ms suits; longer ones survive longer pauses of a process, shorter ones mend losses sooner.

Examples:
  npx hitzero worker --handlers handlers.ts
  npx hitzero worker --handlers handlers.ts --processes 4
  npx hitzero worker --handlers dist/handlers.js --concurrency 100 --queues default,reports`,
    )
    .action(
      act<Flags>(async (invocation) => {
        const queues = checkQueues(invocation.flags.queues.split(",").map((queue) => queue.trim()));
        const { processes } = invocation.flags;
        return processes === undefined
          ? work(invocation, queues)
          : keepWorkers(invocation, queues, processes);
      }),
    );
}

/** One worker in this process. */
async function work(invocation: Invocation<Flags>, queues: readonly string[]): Promise<number> {
  const { flags, terminal } = invocation;
  const { concurrency } = flags;
  const suspects = flags.suspects
    ? undefined
    : suspectsOf(invocation, queues, (death) => worker.reportDeath(death));
  const lifetime = new Lifetime({ onSecond: () => suspects?.kill() });
  const [{ Worker }, { importHandlers }, { addresses }] = await Promise.all([
    import("../../engine/worker/worker.ts"),
    import("../processes/import_watch.ts"),
    import("../shell/addresses.ts"),
  ]);
  const servers = invocation.servers();
  const importing =
    servers.handlers === undefined
      ? new Map<string, Handler>()
      : importHandlers(servers.handlers, () => lifetime.ended !== undefined);
  const handlers = await Promise.race([importing, lifetime.end]);
  if (typeof handlers === "string") return 0;
  const log = invocation.log("info");
  const worker: EngineWorker = new Worker({
    ...{ ...servers, handlers, concurrency, queues, log },
    suspects: suspects ? () => suspects.start() : "only",
    ...(flags.blockedGraceMs !== undefined && { blockedGraceMs: flags.blockedGraceMs }),
  });
  nameExits((text) => {
    log.error(text);
    worker.sayLastWords(text);
  });
  if (!(await startUnlessEnded(worker, lifetime))) return 0;
  const functions = [...handlers.keys()].sort();
  tellParent({ ready: true, id: worker.id, functions });
  if (terminal.json && !hasParent())
    terminal.document({ worker_id: worker.id, functions, queues, concurrency, lease_ms: servers.leaseMs });
  if (!hasParent()) {
    const from = servers.handlers === undefined ? "" : ` of ${servers.handlers}`;
    const what = `${plural(functions.length, "function")}${from}, ${concurrency} at once`;
    terminal.remark(
      `${worker.id} serves ${queues.length > 1 ? "queues" : "queue"} ${queues.join(", ")}: ${what} (${addresses(servers)})`,
    );
  }
  await lifetime.end;
  if (!hasParent()) terminal.remark("stopping: nodes that run may end (a second signal ends them at once)");
  await Promise.all([worker.stop(), suspects?.stop()]);
  return 0;
}

/** Whoever kills a group of processes, or their machine, kills parent and child within moments: then it is nobody's fault. */
const SURVIVED_MS = 200;

function suspectsOf(
  invocation: Invocation<Flags>,
  queues: readonly string[],
  report: (death: { worker: string; words: string }) => Promise<void>,
): SuspectProcess {
  const like = workerProcess(invocation, queues, 1);
  return new SuspectProcess({
    ...like,
    name: "the process for suspects",
    args: [...like.args, "--suspects"],
    // A suspect ends it three times at most.
    longestPauseMs: 1_000,
    onDeath: (worker, words) => void pause(SURVIVED_MS).then(() => report({ worker, words })),
  });
}
