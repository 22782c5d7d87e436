import { rmSync } from "node:fs";
import { chmod, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { EXAMPLES, MONTAGE } from "../package_files.ts";
import type { LocalStack as Stack } from "../processes/local_stack.ts";
import { readableLog } from "../processes/log_line.ts";
import type { Act } from "../program.ts";
import { watchRun } from "../run/watch_run.ts";
import { type Invocation, SERVERS_FOLDER, wholeNumber } from "../shell/invocation.ts";
import { exitCodeOf, Lifetime, unlessInterrupted } from "../shell/lifetime.ts";

interface Flags {
  scale: number;
  workers: number;
  keep?: boolean;
}

/** Recorded seconds become this many. The run's critical path of 21 s then takes 5 s. */
const STANDARD_SCALE = 0.25;

export function addDemo(program: Command, act: Act): void {
  program
    .command("demo")
    .description("run a recorded scientific workflow on a throw-away stack, and show what came of it")
    .option(
      "--scale <factor>",
      "how long tasks last, in parts of their recorded times",
      factor,
      STANDARD_SCALE,
    )
    .option("--workers <count>", "worker processes", wholeNumber(1, 64), 2)
    .option("--keep", "leave servers and data until Ctrl-C, to look around")
    .addHelpText(
      "after",
      `
Starts Redis, Postgres, a supervisor and workers in a temporary folder, runs 103 tasks with 231 dependencies (Montage, from
WfCommons), and removes everything again. Servers of the environment are not touched; --redis-url and --database-url are.

Examples:
  npx hitzero demo
  npx hitzero demo --scale 0.05
  npx hitzero demo --keep`,
    )
    .action(act<Flags>(demo));
}

function factor(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && value >= 0 && value <= 10) return value;
  throw new InvalidArgumentError("Give a number from 0 to 10.");
}

async function demo(invocation: Invocation<Flags>): Promise<number> {
  const { flags, terminal } = invocation;
  const lifetime = new Lifetime({ onSecond: () => terminal.remark("ending at once") });
  const project = await mkdtemp(join(tmpdir(), "hitzero-demo-"));
  const remove = () => rmSync(project, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  process.once("exit", remove);
  // As root, Postgres runs as another user, who must be able to pass.
  await chmod(project, 0o711);
  void lifetime.end.then(() => terminal.remark("\nstopping and removing everything (Ctrl-C again: at once)"));
  const { redisUrl, databaseUrl, namespace = "hitzero" } = invocation.flags;
  const { LocalStack } = await import("../processes/local_stack.ts");
  const stack = new LocalStack({
    folder: join(project, SERVERS_FOLDER),
    throwAway: true,
    ...(redisUrl === undefined ? {} : { redisUrl }),
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    namespace,
    cwd: project,
    handlers: join(EXAMPLES, "handlers.ts"),
    workers: flags.workers,
    childArgs: ["--log-level", invocation.flags.logLevel ?? "warn"],
    onWarning: (line) => terminal.remark(line),
    onNotice: (line) => terminal.remark(terminal.remarkColors.dim(line)),
    onOutput: (name, line) => {
      for (const shown of readableLog(line, terminal.remarkColors))
        terminal.remark(`${terminal.remarkColors.dim(`${name} |`)} ${shown}`);
    },
  });
  try {
    terminal.remark(
      terminal.remarkColors.dim(
        `starting Redis, Postgres, a supervisor and ${flags.workers} workers in ${project}`,
      ),
    );
    await stack.start(lifetime.signal);
    // The servers' own exit handler has to come first: it writes to the folder.
    process.off("exit", remove).once("exit", remove);
    const exitCode = lifetime.ended
      ? 0
      : await unlessInterrupted(lifetime, runMontage(invocation, stack, lifetime));
    if (flags.keep && !lifetime.ended) {
      terminal.print(`\nEverything runs on until Ctrl-C. In another terminal:`);
      terminal.print(`  psql "$(npx hitzero up --dir ${project} --print-database-url)"`);
      terminal.print(`  cd ${project} && npx hitzero run list`);
      await lifetime.end;
      return exitCode;
    }
    return lifetime.ended ? exitCodeOf(lifetime.ended) : exitCode;
  } finally {
    // In servers that are thrown away nobody will miss what is cut short.
    await ((redisUrl ?? databaseUrl) ? stack.stop() : stack.stopAtOnce());
    remove();
    process.off("exit", remove);
  }
}

async function runMontage(invocation: Invocation<Flags>, stack: Stack, lifetime: Lifetime): Promise<number> {
  const { terminal, flags } = invocation;
  const { Client } = await import("../../engine/client/client.ts");
  const { readDocument } = await import("../shell/documents.ts");
  const { tellDemo } = await import("../demo_report.ts");
  const { redisUrl, databaseUrl } = stack.servers;
  const { namespace = "hitzero" } = invocation.flags;
  const log = invocation.log("silent");
  const client = await Client.connect({ redisUrl, databaseUrl, namespace, log, signal: lifetime.signal });
  try {
    const workflow = await client.register(readDocument(MONTAGE));
    const { runIds } = await client.submit(workflow, { input: { time_scale: flags.scale }, tags: ["demo"] });
    const runId = runIds[0] as string;
    const watched = { client, runId, ir: workflow.ir, title: "montage" };
    const run = await watchRun(watched, terminal, lifetime.signal);
    if (lifetime.ended) return exitCodeOf(lifetime.ended);
    await tellDemo({ run, nodes: await client.listNodes(runId), ir: workflow.ir, databaseUrl, terminal });
    return run.status === "COMPLETED" ? 0 : 1;
  } finally {
    await client.close();
  }
}
