import { join } from "node:path";
import type { Command } from "commander";
import { HitzeroError } from "../../base/errors.ts";
import { pause } from "../../base/wait.ts";
import type { Measured } from "../bench/measure.ts";
import type { Scratch } from "../bench/scratch.ts";
import type { Act } from "../program.ts";
import { plural } from "../shell/format.ts";
import { type Invocation, SERVERS_FOLDER, wholeNumber } from "../shell/invocation.ts";
import { exitCodeOf, Lifetime } from "../shell/lifetime.ts";
import type { Terminal } from "../shell/terminal.ts";

interface Flags {
  seconds: number;
  workers: number;
}

const MOST_SECONDS = 3_600;
/** What a signal finds under way has this long to end in order; a server that does not answer keeps nobody longer. */
const FAREWELL_MS = 1_000;

export function addBench(program: Command, act: Act): void {
  program
    .command("bench")
    .description("measure steps per second and latencies on your servers")
    .option("--seconds <count>", "how long to measure", wholeNumber(1, MOST_SECONDS), 10)
    .option("--workers <count>", "worker processes", wholeNumber(1, 64), 1)
    .addHelpText(
      "after",
      `
Runs chains of 10 function nodes that do nothing, with a supervisor and workers of its own on this machine, on the Redis and the
Postgres of your settings. Your data are not touched: it makes a database of its own on the Postgres server (the user needs
CREATEDB) and a namespace of its own in Redis (the user needs SCAN, and keys of any namespace bench-*), and removes both at the
end, also after Ctrl-C. What a killed one left behind is removed by the next. The servers have to work hard meanwhile: do
not measure those that others depend on.

A run counts when its row in Postgres is final.

Examples:
  npx hitzero bench
  npx hitzero bench --seconds 60 --workers 4
  npx hitzero bench --json | jq .steps_per_second`,
    )
    .action(act<Flags>(bench));
}

async function bench(invocation: Invocation<Flags>): Promise<number> {
  const { terminal } = invocation;
  const servers = invocation.servers();
  const lifetime = new Lifetime({ onSecond: () => terminal.remark("ending at once") });
  void lifetime.end.then(() => terminal.remark("\nstopping and removing everything (Ctrl-C again: at once)"));
  const dim = (line: string) => terminal.remark(terminal.remarkColors.dim(line));
  const { Scratch } = await import("../bench/scratch.ts");
  const scratch = await Scratch.create(servers, dim);
  try {
    const measured = await measureThere(invocation, scratch, servers.redisUrl, lifetime);
    if (lifetime.ended || !measured) return exitCodeOf(lifetime.ended ?? "SIGINT");
    if (terminal.json) terminal.document({ ...measured, workers: invocation.flags.workers });
    else tell(measured, invocation.flags.workers, terminal);
    return 0;
  } finally {
    await removeAll(scratch, terminal);
    lifetime.release();
  }
}

/** A supervisor and workers for as long as it is measured. */
async function measureThere(
  invocation: Invocation<Flags>,
  scratch: Scratch,
  redisUrl: string,
  lifetime: Lifetime,
): Promise<Measured | undefined> {
  const { flags, terminal } = invocation;
  const { LocalStack } = await import("../processes/local_stack.ts");
  const { databaseUrl, namespace, handlers, folder } = scratch;
  const stack = new LocalStack({
    ...{ redisUrl, databaseUrl, namespace, handlers, workers: flags.workers, cwd: folder },
    folder: join(folder, SERVERS_FOLDER),
    childArgs: ["--log-level", flags.logLevel ?? "warn"],
    onWarning: (line) => terminal.remark(line),
    onNotice: () => {},
    onOutput: (name, line) => terminal.remark(`${name} | ${line}`),
  });
  try {
    await stack.start(lifetime.signal);
    if (lifetime.ended) return undefined;
    const measuring = measureOn(invocation, scratch, redisUrl, lifetime);
    const late = lifetime.end.then(() => pause(FAREWELL_MS)).then(() => undefined);
    return await Promise.race([measuring, late]);
  } catch (error) {
    // Cut short by the signal: whatever failed then is no news.
    if (lifetime.ended) return undefined;
    throw error;
  } finally {
    // Nobody will miss what is cut short.
    await stack.stopAtOnce();
  }
}

async function measureOn(
  invocation: Invocation<Flags>,
  scratch: Scratch,
  redisUrl: string,
  lifetime: Lifetime,
): Promise<Measured | undefined> {
  const { seconds } = invocation.flags;
  const { Client } = await import("../../engine/client/client.ts");
  const { measure, STEPS } = await import("../bench/measure.ts");
  const { databaseUrl, namespace } = scratch;
  const { signal } = lifetime;
  const log = invocation.log("silent");
  const client = await Client.connect({ redisUrl, databaseUrl, namespace, log, signal });
  const stepsOnRecord = () => scratch.stepsOnRecord();
  const bar = await progressBar(invocation.terminal, seconds);
  try {
    const measured = await measure(client, { seconds, signal, stepsOnRecord, onProgress: bar.show });
    if (measured) refuseGaps(await stepsOnRecord(), measured.runs * STEPS);
    return measured;
  } finally {
    bar.stop();
    await client.close();
  }
}

/** @throws HitzeroError when the record is not whole: then nothing has been measured */
function refuseGaps(found: number, wanted: number): void {
  if (found === wanted) return;
  throw new HitzeroError("INTERNAL", `the record holds ${found} executions instead of ${wanted}`, {
    hint: "This should not happen. Please report it with your versions of Redis and Postgres (`hitzero doctor`).",
    exitCode: 1,
  });
}

interface Bar {
  show: (phase: string, share: number) => void;
  stop: () => void;
}

/** Redrawn on a terminal; elsewhere a line for each phase. */
async function progressBar(terminal: Terminal, seconds: number): Promise<Bar> {
  let last = "";
  if (!terminal.isLive) {
    const show = (phase: string) => {
      if (phase !== last) terminal.remark(`measuring ${phase}`);
      last = phase;
    };
    return { show, stop: () => {} };
  }
  const { SingleBar } = await import("cli-progress");
  const bar = new SingleBar({
    format: `{bar} {percentage} % of ${plural(seconds, "second")}: {phase}`,
    hideCursor: true,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    clearOnComplete: true,
  });
  bar.start(100, 0, { phase: "" });
  return { show: (phase, share) => bar.update(Math.round(share * 100), { phase }), stop: () => bar.stop() };
}

function tell(measured: Measured, workers: number, terminal: Terminal): void {
  const { colors } = terminal;
  const rounded = (value: number) => Math.round(value).toLocaleString("en");
  const ms = (value: number) => `${value.toFixed(value < 10 ? 2 : 1)} ms`;
  const { hop, submit_to_final: whole } = measured;
  const line = (what: string, value: string, note: string) =>
    terminal.print(`${what.padEnd(18)} ${colors.bold(value.padStart(24))}  ${colors.dim(note)}`);
  const both = ({ p50_ms, p99_ms }: Measured["hop"]) => `p50 ${ms(p50_ms)}, p99 ${ms(p99_ms)}`;
  line(
    "steps per second",
    rounded(measured.steps_per_second),
    `on record, chains of 10 steps, ${plural(workers, "worker")}, ${measured.seconds.toFixed(1)} s`,
  );
  line("step to step", both(hop), `idle, ${plural(hop.count, "hop")}`);
  line(
    "submit to final",
    both(whole),
    `idle, ${plural(whole.count, "run")} of 10 steps, until the row is final`,
  );
}

async function removeAll(scratch: Scratch, terminal: Terminal): Promise<void> {
  try {
    await scratch.remove();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    terminal.warn(
      `the benchmark's database ${scratch.databaseName} and namespace ${scratch.namespace} are left behind: ${reason}`,
      "The next `npx hitzero bench` on these servers removes them.",
    );
  }
}
