/**
 * The command line within the test's own process: for what a command says and answers, when its being a process is not the
 * point. A process costs half a second of CPU.
 */
import { inject } from "vitest";
import { runCli as perform } from "../../src/cli/program.ts";
import { type CliOptions, type CliResult, environment } from "./cli.ts";

let last: Promise<unknown> = Promise.resolve();

/** Like `runCli` without standard input. Calls wait for each other: they share the environment, the folder and the streams. */
export function runHere(
  args: readonly string[],
  options: Omit<CliOptions, "input"> = {},
): Promise<CliResult> {
  const result = last.then(() => runAlone(args, options));
  last = result.catch(() => {});
  return result;
}

async function runAlone(args: readonly string[], options: CliOptions): Promise<CliResult> {
  const before = { env: process.env, cwd: process.cwd() };
  const heard = process.listeners("uncaughtException");
  const [stdout, stderr] = [listen(process.stdout), listen(process.stderr)];
  try {
    process.env = { ...environment(), ...options.env };
    process.chdir(options.cwd ?? inject("runFolder"));
    const code = await perform(args);
    return { code, stdout: stdout.text, stderr: stderr.text };
  } finally {
    stdout.end();
    stderr.end();
    process.env = before.env;
    process.chdir(before.cwd);
    for (const listener of process.listeners("uncaughtException"))
      if (!heard.includes(listener)) process.off("uncaughtException", listener);
  }
}

/** Takes what is written to a stream. */
function listen(stream: NodeJS.WriteStream) {
  const write = stream.write;
  const heard = stream.listeners("error");
  const listening = {
    text: "",
    end: () => {
      stream.write = write;
      for (const listener of stream.listeners("error"))
        if (!heard.includes(listener)) stream.off("error", listener as () => void);
    },
  };
  stream.write = ((text: string | Uint8Array) => {
    listening.text += typeof text === "string" ? text : Buffer.from(text).toString("utf8");
    return true;
  }) as typeof stream.write;
  return listening;
}
