/** The command line as a whole: global flags, commands, and the place where every error ends. */
import { Command, CommanderError, Option } from "commander";
import { LOG_LEVELS } from "../base/log.ts";
import { VERSION } from "../engine/version.ts";
import { addCompile } from "./commands/compile.ts";
import { addDemo } from "./commands/demo.ts";
import { addMigrate } from "./commands/migrate.ts";
import { addRun } from "./commands/run.ts";
import { addSubmit } from "./commands/submit.ts";
import { addSupervisor } from "./commands/supervisor.ts";
import { addUp } from "./commands/up.ts";
import { addWorker } from "./commands/worker.ts";
import { Invocation, passwordsIn } from "./invocation.ts";
import { Ended, reportJson, reportOf, reportText } from "./report.ts";
import { Terminal } from "./terminal.ts";

/** What a command does; answers the exit code. */
export type Work<Flags extends object> = (invocation: Invocation<Flags>) => Promise<number>;

/** Makes a commander action of it. */
export type Act = <Flags extends object>(work: Work<Flags>) => (...args: unknown[]) => Promise<void>;

/** Performs a command line (without `node` and the program's name); answers the exit code. */
export async function runCli(argv: readonly string[]): Promise<number> {
  const report = (error: unknown) => showError(error, argv);
  process.on("uncaughtException", (error) => process.exit(report(error)));
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      // Whoever read along has gone (`| head`): nobody is left to tell.
      if (error.code === "EPIPE") process.exit(0);
    });
  }
  let exitCode = 0;
  const act: Act = (work) => async (...args) => {
    exitCode = await work(new Invocation(args.at(-1) as Command));
  };
  try {
    await createProgram(act).parseAsync([...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    return report(error);
  }
}

function showError(error: unknown, argv: readonly string[]): number {
  if (error instanceof Ended) return error.exitCode;
  // Help and version are printed by commander, which ends by throwing. Help for want of a command is a wrong usage.
  if (error instanceof CommanderError && /^commander\.(help|helpDisplayed|version)$/.test(error.code)) {
    return error.exitCode === 0 ? 0 : 2;
  }
  const valueOf = (flag: string) =>
    argv.find((arg, index) => argv[index - 1] === flag) ?? argv.find((arg) => arg.startsWith(`${flag}=`));
  const { env } = process;
  const urls = [valueOf("--redis-url"), valueOf("--database-url"), env.HITZERO_REDIS_URL, env.REDIS_URL];
  const secrets = passwordsIn([...urls, env.HITZERO_DATABASE_URL, env.DATABASE_URL]);
  const shown = reportOf(error, secrets);
  const terminal = new Terminal(argv.includes("--json"));
  const debug = /(^|=)debug$/.test(valueOf("--log-level") ?? env.HITZERO_LOG_LEVEL ?? "");
  if (terminal.json) terminal.document(reportJson(shown));
  if (!terminal.json || debug) terminal.remark(reportText(shown, terminal.remarkColors, debug));
  return shown.exitCode;
}

function createProgram(act: Act): Command {
  const program = new Command("hitzero")
    .description("Runs workflows (DAGs) on Redis Streams, with their full history in Postgres.")
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "explain a command")
    .helpCommand("help [command]", "explain a command")
    .option("--redis-url <url>", "Redis, as redis://user:password@host:port/db (env HITZERO_REDIS_URL)")
    .option("--database-url <url>", "Postgres, as postgres://user:password@host:port/db (env HITZERO_DATABASE_URL)")
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

Exit codes: 0 success, 1 the run FAILED or was CANCELLED, 2 wrong usage or input, 3 a server cannot be reached.`,
    );
  for (const add of [addUp, addDemo, addMigrate, addCompile, addSubmit, addWorker, addSupervisor, addRun]) add(program, act);
  configure(program);
  return program;
}

/** Errors are thrown and shown in one place; help shows the global flags too. */
function configure(command: Command): void {
  command
    .exitOverride()
    .showSuggestionAfterError(true)
    .configureOutput({ outputError: () => {}, writeErr: (help) => process.stdout.write(help) })
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false });
  for (const child of command.commands) configure(child);
}
