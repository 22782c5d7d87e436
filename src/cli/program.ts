/** The command line as a whole: global flags, commands, and the place where every error ends. */
import { Command, Option } from "commander";
import { HitzeroError } from "../base/errors.ts";
import { LOG_LEVELS } from "../base/log.ts";
import { passwordsIn } from "../base/server_url.ts";
import { serverUrls } from "../engine/settings.ts";
import { VERSION } from "../engine/version.ts";
import { isOfExecution } from "../engine/worker/escapes.ts";
import { addBench } from "./commands/bench.ts";
import { addClearRedis } from "./commands/clear_redis.ts";
import { addCompile } from "./commands/compile.ts";
import { addCompletion } from "./commands/completion.ts";
import { addDeadLetter } from "./commands/dead_letter.ts";
import { addDemo } from "./commands/demo.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addInit } from "./commands/init.ts";
import { addMigrate } from "./commands/migrate.ts";
import { addRun } from "./commands/run.ts";
import { addSubmit } from "./commands/submit.ts";
import { addSupervisor } from "./commands/supervisor.ts";
import { addUp } from "./commands/up.ts";
import { addWorker } from "./commands/worker.ts";
import { addWorkflow } from "./commands/workflow.ts";
import { Invocation } from "./shell/invocation.ts";
import { reportJson, reportOf, reportText, UsageError } from "./shell/report.ts";
import { Terminal } from "./shell/terminal.ts";

/** What a command does; answers the exit code. */
type Work<Flags extends object> = (invocation: Invocation<Flags>) => Promise<number>;

/** Makes a commander action of it. */
export type Act = <Flags extends object>(work: Work<Flags>) => (...args: unknown[]) => Promise<void>;

/** Performs a command line (without `node` and the program's name); answers the exit code. */
export async function runCli(argv: readonly string[]): Promise<number> {
  const report = (error: unknown) => showError(error, argv);
  process.on("uncaughtException", (error) => {
    if (!isOfExecution()) process.exit(report(uncaught(error)));
  });
  for (const stream of [process.stdout, process.stderr]) {
    // Whoever read along has gone (`| head`, a parent that died): what is printed is lost, the work goes on.
    stream.on("error", () => {});
  }
  let exitCode = 0;
  const act: Act =
    (work) =>
    async (...args) => {
      exitCode = await work(new Invocation(args.at(-1) as Command));
    };
  try {
    await createProgram(act).parseAsync([...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    return report(error);
  }
}

function uncaught(error: unknown): HitzeroError {
  return new HitzeroError("INTERNAL", `an error that nothing caught ended the process: ${error}`, {
    hint: "In a worker it comes from what the handler module started while it was loaded. Run it again with --log-level debug to see where.",
    exitCode: 1,
    cause: error,
  });
}

function showError(error: unknown, argv: readonly string[]): number {
  // Help and version are printed by commander, which ends by throwing. Help for want of a command is a wrong usage.
  if (error instanceof UsageError && /^commander\.(help|helpDisplayed|version)$/.test(error.cause.code)) {
    return error.cause.exitCode === 0 ? 0 : 2;
  }
  const flagValue = (flag: string) =>
    argv.find((_, index) => argv[index - 1] === flag) ??
    argv.find((arg) => arg.startsWith(`${flag}=`))?.slice(flag.length + 1);
  const urls = serverUrls([flagValue("--redis-url"), flagValue("--database-url")]);
  const shown = reportOf(error, urls.flatMap(passwordsIn));
  const terminal = new Terminal(argv.includes("--json"));
  const debug = /(^|=)debug$/.test(flagValue("--log-level") ?? process.env.HITZERO_LOG_LEVEL ?? "");
  if (terminal.json) terminal.document(reportJson(shown));
  if (!terminal.json || debug) terminal.remark(reportText(shown, terminal.remarkColors, debug));
  return shown.exitCode;
}

/** In the order of the help. */
const COMMANDS = [
  ...[addUp, addDemo, addInit, addMigrate, addCompile, addSubmit, addWorker, addSupervisor],
  ...[addRun, addWorkflow, addDeadLetter, addDoctor, addBench, addClearRedis, addCompletion],
];

function createProgram(act: Act): Command {
  const program = new Command("hitzero")
    .description("Runs workflows (DAGs) on Redis Streams, with their full history in Postgres.")
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "explain a command")
    .helpCommand("help [command]", "explain a command")
    .option("--redis-url <url>", "Redis, as redis://user:password@host:port/db (env HITZERO_REDIS_URL)")
    .option(
      "--database-url <url>",
      "Postgres, as postgres://user:password@host:port/db (env HITZERO_DATABASE_URL)",
    )
    .option("--namespace <name>", "prefix of all keys in Redis (env HITZERO_NAMESPACE; default hitzero)")
    .option("--json", "print one JSON document instead of text")
    .addOption(
      new Option("--log-level <level>", "least level of log lines (JSON, on stderr)")
        .choices([...LOG_LEVELS])
        .env("HITZERO_LOG_LEVEL"),
    )
    .addHelpText(
      "after",
      `
Examples:
  npx hitzero demo                                        see it work: nothing to install or set up
  npx hitzero up --handlers handlers.ts                   local servers and workers, until Ctrl-C
  npx hitzero submit workflow.yaml --wait                 run a workflow and watch it

Exit codes: 0 success, 1 the run FAILED or was CANCELLED, 2 wrong usage or input, 3 a server cannot be reached, 130 Ctrl-C cut it short.`,
    );
  for (const add of COMMANDS) add(program, act);
  configure(program);
  return program;
}

/** Errors are thrown and shown in one place; help shows the global flags too. */
function configure(command: Command, parents = ""): void {
  const name = `${parents}${command.name()}`;
  command
    .exitOverride((error) => {
      throw new UsageError(error, name);
    })
    .showSuggestionAfterError(true)
    .configureOutput({ outputError: () => {}, writeErr: (help) => process.stdout.write(help) })
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false });
  for (const child of command.commands) configure(child, `${name} `);
}
