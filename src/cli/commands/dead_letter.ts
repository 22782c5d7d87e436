import type { Command } from "commander";
import type { DeadLetterId, DeadLetterRow } from "../../postgres/dead_letters.ts";
import type { Act } from "../program.ts";
import { coloured, moment, plural, table } from "../shell/format.ts";
import { type Invocation, wholeNumber } from "../shell/invocation.ts";
import type { Terminal } from "../shell/terminal.ts";
import { withClient } from "../shell/with_client.ts";

interface ListFlags {
  all?: boolean;
  workflow?: string;
  limit: number;
}

const EXAMPLE = "0190a6a2-7b5c-7c3e-9d43-5a1f0c2b7e11 extract";

export function addDeadLetter(program: Command, act: Act): void {
  const deadLetter = program
    .command("dead-letter")
    .description("look at executions that killed their workers, and decide about them");
  deadLetter
    .command("list")
    .description("list dead letters that nobody decided about, newest first")
    .option("--all", "those that were redriven or discarded, too")
    .option("--workflow <name>", "dead letters of this workflow only")
    .option("--limit <count>", "how many", wholeNumber(1, 10_000), 100)
    .addHelpText(
      "after",
      `
An execution with which two workers died is performed with nothing else in its process. When three more die with it, it is
put aside: its node FAILED with the code DEAD_LETTER.

Examples:
  npx hitzero dead-letter list
  npx hitzero dead-letter list --all --workflow nightly --json`,
    )
    .action(act<ListFlags>(list));
  withId(
    deadLetter.command("show"),
    "show a dead letter with its error",
    `  npx hitzero dead-letter show ${EXAMPLE}`,
  ).action(act(show));
  withId(
    deadLetter.command("redrive"),
    "repeat its run: a new run with the same workflow version and input",
    `  npx hitzero dead-letter redrive ${EXAMPLE}`,
    "The new run's parent_run_id is the old run, which keeps its final status. The decision stands: a second one is refused.",
  ).action(act(redrive));
  withId(
    deadLetter.command("discard"),
    "decide that nothing is to be done",
    `  npx hitzero dead-letter discard ${EXAMPLE}`,
    "The row stays, with the time of the decision. The decision stands: a second one is refused.",
  ).action(act(discard));
}

function withId(command: Command, description: string, example: string, text = ""): Command {
  return command
    .description(description)
    .argument("<run_id>", "the run's id")
    .argument("<node_id>", "the node's id")
    .argument("[scope]", "path of loop iterations and map items; none outside them")
    .addHelpText("after", `${text ? `\n${text}\n` : ""}\nExample:\n${example}`);
}

function idOf(invocation: Invocation): DeadLetterId {
  const [runId, nodeId, scope] = invocation.args as [string, string, string?];
  return { runId, nodeId, ...(scope === undefined ? {} : { scope }) };
}

async function list(invocation: Invocation<ListFlags>): Promise<number> {
  const { flags, terminal } = invocation;
  const filter = {
    decided: flags.all === true,
    limit: flags.limit,
    ...(flags.workflow === undefined ? {} : { workflow: flags.workflow }),
  };
  const letters = await withClient(invocation, (client) => client.listDeadLetters(filter));
  if (terminal.json) terminal.document({ dead_letters: letters });
  else if (letters.length === 0)
    terminal.print(flags.all ? "no dead letters" : "no dead letters wait for a decision");
  else {
    const scoped = letters.some(({ scope }) => scope !== "");
    const head = ["RUN", "NODE", ...(scoped ? ["SCOPE"] : []), "WORKFLOW", "LOSSES", "DIED", "DECISION"];
    const rows = letters.map((letter) => [
      letter.run_id,
      letter.node_id,
      ...(scoped ? [letter.scope] : []),
      letter.workflow_name,
      String(letter.losses),
      moment(letter.died_at),
      letter.resolution ?? "",
    ]);
    terminal.print(table(head, rows, terminal.colors));
  }
  return 0;
}

async function show(invocation: Invocation): Promise<number> {
  const letter = await withClient(invocation, (client) => client.getDeadLetter(idOf(invocation)));
  if (invocation.terminal.json) invocation.terminal.document(letter);
  else print(letter, invocation.terminal);
  return 0;
}

function print(letter: DeadLetterRow, terminal: Terminal): void {
  const { colors } = terminal;
  const { run_id, node_id, scope, resolution, resolved_at, redriven_as } = letter;
  const facts: [string, string][] = [
    ["run", `${run_id} ${coloured(letter.run_status, colors)}`],
    ["workflow", `${letter.workflow_name} version ${letter.workflow_version}`],
    ["node", node_id],
    ...(scope === "" ? [] : ([["scope", scope]] as [string, string][])),
    ["died", `${moment(letter.died_at)}, after it was handed out ${plural(letter.deliveries, "time")}`],
    ["losses", `${plural(letter.losses, "worker")} died with it and nothing else`],
    ...(letter.last_words === null ? [] : ([["last", letter.last_words]] as [string, string][])),
    ["aside by", letter.worker_id ?? ""],
    [
      "decision",
      resolution === null ? "none yet" : `${resolution} ${resolved_at ? moment(resolved_at) : ""}`,
    ],
    ...(redriven_as === null ? [] : ([["new run", redriven_as]] as [string, string][])),
  ];
  for (const [name, value] of facts) terminal.print(`${colors.dim(name.padEnd(9))}  ${value}`);
  if (letter.error) terminal.print(`${colors.red(`error ${letter.error.code}:`)} ${letter.error.message}`);
  if (resolution !== null) return;
  const id = [run_id, node_id, ...(scope === "" ? [] : [scope])].join(" ");
  terminal.print(colors.dim(`npx hitzero dead-letter redrive ${id}\nnpx hitzero dead-letter discard ${id}`));
}

async function redrive(invocation: Invocation): Promise<number> {
  const { terminal } = invocation;
  const id = idOf(invocation);
  const { runId, openBesides } = await withClient(invocation, (client) => client.redrive(id));
  if (terminal.json) {
    terminal.document({ run_id: runId, parent_run_id: id.runId, node_id: id.nodeId, scope: id.scope ?? "" });
    return 0;
  }
  terminal.print(`${terminal.colors.green("✔")} run ${runId} repeats run ${id.runId}`);
  if (openBesides > 0) {
    terminal.print(
      `  ${plural(openBesides, "more dead letter")} of the old run ${openBesides === 1 ? "is" : "are"} open; the new run repeats ${openBesides === 1 ? "its node" : "their nodes"}, too`,
    );
  }
  terminal.print(terminal.colors.dim(`npx hitzero run watch ${runId}`));
  return 0;
}

async function discard(invocation: Invocation): Promise<number> {
  const { terminal } = invocation;
  const id = idOf(invocation);
  await withClient(invocation, (client) => client.discard(id));
  const { runId, nodeId, scope = "" } = id;
  if (terminal.json) terminal.document({ run_id: runId, node_id: nodeId, scope, resolution: "discarded" });
  else terminal.print(`${terminal.colors.green("✔")} the dead letter of node ${nodeId} is discarded`);
  return 0;
}
