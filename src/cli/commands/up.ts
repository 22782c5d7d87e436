import { existsSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { type Command, Option } from "commander";
import { HitzeroError } from "../../base/errors.ts";
import { presentable } from "../../base/text.ts";
import { EXAMPLES } from "../package_files.ts";
import { HandlerReload } from "../processes/handler_reload.ts";
import type { LocalStack as Stack } from "../processes/local_stack.ts";
import { readableLog } from "../processes/log_line.ts";
import type { Act } from "../program.ts";
import { plural } from "../shell/format.ts";
import { type Invocation, localServers, SERVERS_FOLDER, wholeNumber } from "../shell/invocation.ts";
import { Lifetime } from "../shell/lifetime.ts";
import type { Terminal } from "../shell/terminal.ts";

interface Flags {
  handlers?: string;
  workers: number;
  dir: string;
  watch: boolean;
  showPasswords?: boolean;
  printDatabaseUrl?: boolean;
  printRedisUrl?: boolean;
}

export function addUp(program: Command, act: Act): void {
  program
    .command("up")
    .description("run Redis, Postgres, a supervisor and workers here, until Ctrl-C")
    .option(
      "--handlers <module>",
      "JavaScript or TypeScript module whose exported functions are the handlers",
    )
    .option("--workers <count>", "worker processes", wholeNumber(0, 64), 2)
    .option("--dir <folder>", `project folder: the servers' data are kept in its ${SERVERS_FOLDER}`, ".")
    .option("--no-watch", "do not reload the handlers when a file of theirs changes")
    .option("--show-passwords", "print URLs with their passwords")
    .addOption(new Option("--print-database-url", "print the URL of the Postgres that runs, and end"))
    .addOption(
      new Option("--print-redis-url", "print the URL of the Redis that runs, and end").conflicts(
        "printDatabaseUrl",
      ),
    )
    .addHelpText(
      "after",
      `
Redis and Postgres are found on this machine, or fetched, or taken from the flags and environment if they name servers.
Other commands in the same folder find them by themselves. Ctrl-C ends everything in order; a second one at once.
Data stay in ${SERVERS_FOLDER}/ for the next time. A change of the handlers, or of a file that they import, replaces the workers: those
before end what they perform. One that does not load leaves them in place.

Examples:
  npx hitzero up --handlers handlers.ts
  npx hitzero up --handlers handlers.ts --workers 4
  psql "$(npx hitzero up --print-database-url)"        in another terminal, while it runs`,
    )
    .action(act<Flags>(up));
}

async function up(invocation: Invocation<Flags>): Promise<number> {
  const { flags, terminal } = invocation;
  if (flags.printDatabaseUrl || flags.printRedisUrl) return printUrl(flags, terminal);
  refuseMissingFolder(flags.dir);
  const settings = invocation.settings();
  const notice = (line: string) => terminal.remark(terminal.remarkColors.dim(line));
  const lifetime = new Lifetime({ onSecond: () => terminal.remark("ending at once") });
  const { LocalStack } = await import("../processes/local_stack.ts");
  const stack = new LocalStack({
    ...settings,
    folder: join(resolve(flags.dir), SERVERS_FOLDER),
    workers: flags.workers,
    watch: flags.watch,
    childArgs: invocation.flags.logLevel === undefined ? [] : ["--log-level", invocation.flags.logLevel],
    onNotice: notice,
    onWarning: (line) => terminal.remark(`${terminal.remarkColors.yellow("warning:")} ${line}`),
    onOutput: (name, line) => {
      const lines = terminal.json ? [line] : readableLog(line, terminal.remarkColors);
      for (const shown of lines) terminal.remark(`${terminal.remarkColors.dim(`${name} |`)} ${shown}`);
    },
  });
  let serves = false;
  let reload: HandlerReload | undefined;
  const tellStopping = lifetime.end.then(() => {
    const what = serves ? "nodes that run may end, then the servers stop" : "the start is given up";
    terminal.remark(`\nstopping: ${what} (Ctrl-C again: at once)`);
  });
  try {
    await stack.start(lifetime.signal);
    serves = true;
    if (!lifetime.ended) {
      if (flags.watch && flags.workers > 0 && settings.handlers !== undefined)
        reload = new HandlerReload(stack, (line) => terminal.remark(line));
      tellReady(stack, settings.namespace, flags, terminal, reload?.size ?? 0);
    }
    await tellStopping;
  } finally {
    reload?.close();
    await stack.stop();
  }
  terminal.remark("stopped");
  return 0;
}

function refuseMissingFolder(folder: string): void {
  if (existsSync(folder)) return;
  throw new HitzeroError("FOLDER_NOT_FOUND", `there is no folder ${folder}`, {
    hint: "Make it first, or leave --dir out.",
  });
}

function printUrl(flags: Flags, terminal: Terminal): number {
  const { redisUrl, databaseUrl } = localServers(flags.dir);
  const url = flags.printRedisUrl ? redisUrl : databaseUrl;
  if (url === undefined) {
    throw new HitzeroError("NO_SERVERS", `no servers of \`hitzero up\` run in ${resolve(flags.dir)}`, {
      hint: "Start them with `npx hitzero up` in that folder, or name it with --dir.",
      exitCode: 3,
    });
  }
  terminal.print(url);
  return 0;
}

function tellReady(stack: Stack, namespace: string, flags: Flags, terminal: Terminal, watched: number): void {
  const { redisUrl, databaseUrl, origin } = stack.servers;
  const shown = (url: string) => (flags.showPasswords ? url : presentable(url));
  if (terminal.json) {
    terminal.document({
      redis_url: shown(redisUrl),
      database_url: shown(databaseUrl),
      namespace,
      folder: resolve(flags.dir),
      supervisor_pid: stack.supervisorPid,
      worker_pids: stack.workerPids,
      functions: stack.functions,
    });
    return;
  }
  const { colors } = terminal;
  const cd = resolve(flags.dir) === process.cwd() ? "" : `cd ${flags.dir} && `;
  terminal.print(`${colors.green("✔")} ${colors.bold("hitzero is up")}`);
  terminal.print(`  Redis       ${shown(redisUrl)}  ${colors.dim(origin.redis)}`);
  terminal.print(`  Postgres    ${shown(databaseUrl)}  ${colors.dim(origin.postgres)}`);
  terminal.print(
    `  processes   1 supervisor, ${plural(flags.workers, "worker")} with ${plural(stack.functions.length, "function")}`,
  );
  if (watched > 0) {
    terminal.print(
      `  watching    ${plural(watched, "file")} of the handlers ${colors.dim("(--no-watch leaves it)")}`,
    );
  }
  if (localServers(flags.dir).databaseUrl === databaseUrl) {
    terminal.print(`  SQL         ${cd}psql "$(npx hitzero up --print-database-url)"`);
  }
  terminal.print(`  next        ${nextCommand(stack.functions, cd)}`);
  terminal.print(colors.dim("Ctrl-C stops everything."));
}

/** What to type next, in another terminal. */
function nextCommand(functions: readonly string[], cd: string): string {
  if (functions.length === 0)
    return "Ctrl-C, then: npx hitzero up --handlers MODULE   (workers without functions do little)";
  const hello = ["greet", "count_letters"].every((name) => functions.includes(name));
  const file = hello ? relative(process.cwd(), join(EXAMPLES, "hello.yaml")) : "WORKFLOW.yaml";
  return `${cd}npx hitzero submit ${file}${hello ? ` --input '{"name": "Ada"}'` : ""} --wait`;
}
