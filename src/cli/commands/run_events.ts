import { type Command, InvalidArgumentError } from "commander";
import { EVENT_LEVELS, type EventLevel } from "../../postgres/events.ts";
import type { Act } from "../program.ts";
import { type RunEvent, readRunEvents } from "../run/events.ts";
import { moment } from "../shell/format.ts";
import type { Invocation } from "../shell/invocation.ts";
import { exitCodeOf } from "../shell/lifetime.ts";
import type { Terminal } from "../shell/terminal.ts";
import { withWaitingClient } from "../shell/with_client.ts";

interface Flags {
  level: EventLevel;
  follow?: boolean;
}

export function addRunEvents(run: Command, act: Act): void {
  run
    .command("events")
    .description("tell what happened to a run, in order")
    .argument("<run_id>", "the run's id")
    .option("--level <level>", `this level and above (${EVENT_LEVELS.join(", ")})`, levelOf, "INFO")
    .option("--follow", "go on until the run ends")
    .addHelpText(
      "after",
      `
Starts of nodes (node_started) are taken from the executions, of the last attempt each; they have no seq.
With --json one line of JSON for each event: seq, level, event_type, node_id, scope, at, message, data.

Examples:
  npx hitzero run events 0190a6a2-7b5c-7c3e-9d43-5a1f0c2b7e11
  npx hitzero run events $RUN_ID --level WARN
  npx hitzero run events $RUN_ID --follow --json | jq .message`,
    )
    .action(act<Flags>(events));
}

function levelOf(text: string): EventLevel {
  const level = EVENT_LEVELS.find((known) => known === text.toUpperCase());
  if (level === undefined) throw new InvalidArgumentError(`Use one of ${EVENT_LEVELS.join(", ")}.`);
  return level;
}

function events(invocation: Invocation<Flags>): Promise<number> {
  const { flags, terminal } = invocation;
  const runId = invocation.args[0] as string;
  return withWaitingClient(invocation, async (client, lifetime) => {
    const options = { level: flags.level, follow: flags.follow === true, signal: lifetime.signal };
    for await (const page of readRunEvents(client, runId, options)) {
      terminal.print(page.map((event) => lineOf(runId, event, terminal)).join("\n"));
    }
    return lifetime.ended ? exitCodeOf(lifetime.ended) : 0;
  });
}

function lineOf(runId: string, event: RunEvent, terminal: Terminal): string {
  const { seq, level, event_type, node_id, scope, at, message, data } = event;
  if (terminal.json)
    return JSON.stringify({ run_id: runId, seq, level, event_type, node_id, scope, at, message, data });
  const { colors } = terminal;
  const paint = { DEBUG: colors.dim, INFO: colors.cyan, WARN: colors.yellow, ERROR: colors.red }[level];
  const time = `${moment(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  const where = scope ? colors.dim(` @ ${scope}`) : "";
  return `${colors.dim(time)}  ${paint(level.padEnd(5))}  ${event_type.padEnd(16)}  ${message}${where}`;
}
