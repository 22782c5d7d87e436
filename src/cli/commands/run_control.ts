/** `run cancel`, `run pause`, `run resume`: commands that are on record once they are accepted, and applied once. */
import type { Command } from "commander";
import { HitzeroError } from "../../base/errors.ts";
import type { Client } from "../../engine/client/client.ts";
import { RUN_IS_OVER, type UserCommand } from "../../postgres/commands.ts";
import type { Act } from "../program.ts";
import { coloured, icon } from "../shell/format.ts";
import type { Invocation } from "../shell/invocation.ts";
import { exitCodeOf, type Lifetime } from "../shell/lifetime.ts";
import type { Terminal } from "../shell/terminal.ts";
import { withWaitingClient } from "../shell/with_client.ts";

interface Flags {
  wait?: boolean;
}

type Control = Exclude<UserCommand, "signal">;

const DESCRIPTIONS: Record<Control, { does: string; waits: string; text: string }> = {
  cancel: {
    does: "cancel a run: what waits is CANCELLED, what runs is told to stop, what completed is kept",
    waits: "wait for the run's final status; exit code 1 unless it is CANCELLED",
    text: "Handlers hear of it by their abort signal. A node that completes nevertheless is recorded as COMPLETED.",
  },
  pause: {
    does: "pause a run: nodes that run may end, no other begins",
    waits: "wait until the pause is on record",
    text: "A run that has not started yet is paused as soon as it starts. Its child runs are paused, too. `run resume` ends the pause.",
  },
  resume: {
    does: "end a run's pause",
    waits: "wait until the end of the pause is on record",
    text: "What was held back is handed out again. Its child runs go on, too, whoever paused them.",
  },
};

export function addRunControl(run: Command, act: Act): void {
  for (const kind of ["cancel", "pause", "resume"] as const) {
    const { does, waits, text } = DESCRIPTIONS[kind];
    run
      .command(kind)
      .description(does)
      .argument("<run_id>", "the run's id")
      .option("--wait", waits)
      .addHelpText(
        "after",
        `
${text}
The command is on record when this ends, and takes effect within a second. A run that is over is refused (exit code 2);
with --wait so is a pause of a paused run, and a resume of one that is not paused.

Examples:
  npx hitzero run ${kind} 0190a6a2-7b5c-7c3e-9d43-5a1f0c2b7e11
  npx hitzero run ${kind} $RUN_ID --wait`,
      )
      .action(
        act<Flags>((invocation) =>
          withWaitingClient(invocation, (client, lifetime) =>
            steer({ kind }, (runId) => client.command(runId, kind), invocation, client, lifetime),
          ),
        ),
      );
  }
}

/** What is given to a run; of a signal its name, too. */
interface Given {
  kind: UserCommand;
  signal?: string;
}

/** Gives a command to the run that the first argument names, and with --wait waits for its effect. Answers the exit code. */
export async function steer(
  given: Given,
  accept: (runId: string) => Promise<{ commandId: string }>,
  invocation: Invocation<{ wait?: boolean }>,
  client: Client,
  lifetime: Lifetime,
): Promise<number> {
  const { terminal, flags } = invocation;
  const runId = invocation.args[0] as string;
  const { commandId } = await accept(runId);
  const { supervisors } = await client.liveProcesses();
  if (supervisors === 0) {
    terminal.warn(
      `no supervisor is alive: the ${given.kind} is on record and waits for one`,
      "Start `npx hitzero supervisor`.",
    );
  }
  if (flags.wait) return waitFor(given, { runId, commandId }, terminal, client, lifetime);
  if (terminal.json) terminal.document(factsOf(given, runId, commandId));
  else {
    terminal.print(`${terminal.colors.green("✔")} ${nameOf(given)} of run ${runId} is accepted`);
    terminal.print(terminal.colors.dim(`npx hitzero run watch ${runId}`));
  }
  return 0;
}

function nameOf({ kind, signal }: Given): string {
  return signal === undefined ? kind : `${kind} ${signal}`;
}

function factsOf({ kind, signal }: Given, runId: string, commandId: string): object {
  return { run_id: runId, command_id: commandId, command: kind, ...(signal === undefined ? {} : { signal }) };
}

async function waitFor(
  given: Given,
  { runId, commandId }: { runId: string; commandId: string },
  terminal: Terminal,
  client: Client,
  lifetime: Lifetime,
): Promise<number> {
  const { kind } = given;
  const { signal } = lifetime;
  const outcome = await client.waitForCommand(commandId, { signal });
  // What was refused was over: its final status is about to be recorded.
  const ends = kind === "cancel" || outcome === RUN_IS_OVER;
  const run =
    ends && outcome !== undefined ? await client.wait(runId, { signal }) : await client.getRun(runId);
  if (lifetime.ended && (outcome === undefined || (ends && run.completed_at === null))) {
    terminal.remark(`\nthe ${kind} stays on record; see the run with: npx hitzero run show ${runId}`);
    return exitCodeOf(lifetime.ended);
  }
  if (outcome !== undefined && outcome !== "applied" && outcome !== RUN_IS_OVER) {
    throw new HitzeroError("COMMAND_REFUSED", `the ${nameOf(given)} of run ${runId} was ${outcome}`, {
      hint: `See its status with: npx hitzero run show ${runId}`,
    });
  }
  if (outcome !== "applied") {
    throw new HitzeroError(
      "RUN_FINAL",
      `run ${runId} was over before the ${nameOf(given)} reached it: it is ${run.status}`,
      {
        hint: "A final status never changes.",
      },
    );
  }
  const { status } = run;
  const effect = kind === "signal" ? await client.commandEffect(commandId) : undefined;
  if (terminal.json) terminal.document({ ...factsOf(given, runId, commandId), outcome, effect, status });
  else {
    if (effect !== undefined) terminal.print(`${terminal.colors.green("✔")} ${effect}`);
    const sign = status === "PAUSED" ? icon("PENDING") : icon(status);
    terminal.print(`${sign}run ${runId} is ${coloured(status, terminal.colors)}`);
  }
  return kind === "cancel" && status !== "CANCELLED" ? 1 : 0;
}
