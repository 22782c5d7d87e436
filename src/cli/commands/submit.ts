import type { Command } from "commander";
import { HitzeroError } from "../../base/errors.ts";
import type { Client, RegisteredWorkflow, Submission } from "../../engine/client/client.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { Act } from "../program.ts";
import { followRun } from "../run/follow_run.ts";
import { counts, duration, functionText, plural } from "../shell/format.ts";
import { collected, type Invocation, wholeNumber } from "../shell/invocation.ts";
import { exitCodeOf, type Lifetime } from "../shell/lifetime.ts";
import type { Terminal } from "../shell/terminal.ts";
import { withWaitingClient } from "../shell/with_client.ts";

interface Flags {
  input?: string;
  idempotencyKey?: string;
  tag?: string[];
  count: number;
  wait?: boolean;
}

const MAX_COUNT = 100_000;
const IDS_SHOWN = 10;

export function addSubmit(program: Command, act: Act): void {
  program
    .command("submit")
    .description("start runs of a workflow")
    .argument(
      "<workflow>",
      "workflow file or IR (- reads standard input), or NAME[@VERSION] of a registered workflow",
    )
    .option("--input <json>", "the run's input, as JSON or @FILE")
    .option("--idempotency-key <key>", "the same key again answers the run that it made")
    .option("--tag <tag>", "tag of the runs; may be repeated", collected)
    .option("--count <number>", "how many runs to start", wholeNumber(1, MAX_COUNT), 1)
    .option("--wait", "show the runs until they end; exit code 1 unless all are COMPLETED")
    .addHelpText(
      "after",
      `
With --json one document {"run_id","status","output","error"}, waited for or not; with --count of 2 and more one such line for each run,
after --wait once all have ended, in the order in which they were submitted.

Examples:
  npx hitzero submit workflow.yaml --input '{"name": "Ada"}' --wait
  npx hitzero submit workflow.yaml --input @input.json --wait --json | jq .output
  npx hitzero submit hello@2 --idempotency-key order-4711 --tag nightly
  npx hitzero submit hello --count 1000 --wait --json | jq -r 'select(.status == "FAILED") | .run_id'`,
    )
    .action(act<Flags>(submit));
}

async function submit(invocation: Invocation<Flags>): Promise<number> {
  const { flags, terminal } = invocation;
  const { compileDocument, namedAfter, readDocument, readInput, sourceOf } = await import(
    "../shell/documents.ts"
  );
  // Whatever is wrong with flags, input or file is told before anything is stored.
  refuseEmpty(flags);
  const source = sourceOf(invocation.args[0] as string);
  const input = flags.input === undefined ? undefined : readInput(flags.input);
  const document = "file" in source ? readDocument(source.file) : undefined;
  const compiled = "file" in source ? compileDocument(document, source.file) : undefined;
  const { encodeInput } = await import("../../engine/client/input.ts");
  if (compiled !== undefined) encodeInput(compiled.ir, input);
  return withWaitingClient(invocation, async (client, lifetime) => {
    const workflow =
      "file" in source
        ? await client.register(document, namedAfter(source.file))
        : await client.find(source.name, source.version);
    terminal.warnOf(workflow.warnings);
    await warnOfIdleness(client, workflow.ir, terminal);
    const begun = performance.now();
    const submission = await client.submit(workflow, {
      input,
      count: flags.count,
      tags: flags.tag ?? [],
      ...(flags.idempotencyKey === undefined ? {} : { idempotencyKey: flags.idempotencyKey }),
    });
    const besides = {
      ...(flags.idempotencyKey === undefined ? {} : { existing: submission.existing }),
      ...(workflow.warnings.length === 0 ? {} : { warnings: workflow.warnings }),
    };
    if (!flags.wait && terminal.json) return tellAccepted(client, submission, terminal, besides);
    if (!flags.wait) return tellSubmitted(workflow, submission, terminal);
    return flags.count === 1
      ? waitForOne(client, workflow, submission, terminal, lifetime, besides)
      : waitForAll(client, submission, begun, terminal, lifetime);
  });
}

function refuseEmpty(flags: Flags): void {
  const empty =
    flags.idempotencyKey === "" ? "--idempotency-key" : flags.tag?.includes("") ? "--tag" : undefined;
  if (empty === undefined) return;
  throw new HitzeroError("USAGE", `${empty} is empty`, { hint: "Leave the flag out, or give it a text." });
}

/** A run that nobody works on is accepted nevertheless; its submitter should know. */
async function warnOfIdleness(client: Client, ir: IR, terminal: Terminal): Promise<void> {
  const [live, { queues, functions }] = await Promise.all([client.liveProcesses(), client.unserved(ir)]);
  if (live.supervisors === 0) {
    terminal.warn(
      "no supervisor is alive: the run will not be recorded until one is",
      "Start `npx hitzero supervisor`.",
    );
  }
  if (live.workers === 0) {
    terminal.warn(
      "no worker is alive: the run waits for one",
      "Start `npx hitzero worker --handlers MODULE`.",
    );
  } else if (queues.length > 0) {
    terminal.warn(
      `no live worker reads ${queues.length === 1 ? "queue" : "queues"} ${queues.join(", ")}: such nodes wait for one`,
      `Start \`npx hitzero worker --handlers MODULE --queues ${queues.join(",")}\`, or correct the queue of the nodes.`,
    );
  }
  if (functions.length > 0) {
    terminal.warn(
      `no live worker offers ${functions.length === 1 ? "function" : "functions"} ${functions.map(functionText).join(", ")}: such nodes wait for one, and fail in the end`,
      "Start a worker with --handlers MODULE that exports them, or correct the name. The supervisor's --unoffered-timeout-ms says how long they wait.",
    );
  }
}

/** One document, or a line for each of several runs. New runs are told as they were accepted: their ids must not hang on another look. */
async function tellAccepted(
  client: Client,
  { runIds, existing }: Submission,
  terminal: Terminal,
  besides: Record<string, unknown>,
): Promise<number> {
  const accepted = (runId: string) => ({ run_id: runId, status: "PENDING", output: null, error: null });
  if (runIds.length > 1) {
    for (const runId of runIds) terminal.line(accepted(runId));
    return 0;
  }
  const runId = runIds[0] as string;
  const { run_id, status, output, error } = existing ? await client.getRun(runId) : accepted(runId);
  terminal.document({ run_id, status, output, error, ...besides });
  return 0;
}

function tellSubmitted(workflow: RegisteredWorkflow, submission: Submission, terminal: Terminal): number {
  const { runIds, existing, waiting } = submission;
  const what = `${workflow.workflowName} version ${workflow.version}`;
  const verb = existing ? "was submitted before with this key" : "submitted";
  terminal.print(`${terminal.colors.green("✔")} ${plural(runIds.length, "run")} of ${what} ${verb}`);
  for (const runId of runIds.slice(0, IDS_SHOWN)) terminal.print(`  ${runId}`);
  if (runIds.length > IDS_SHOWN) terminal.print(`  and ${runIds.length - IDS_SHOWN} more`);
  if (waiting > 0)
    terminal.print(`  ${plural(waiting, "run")} could not start at once; the supervisor starts them`);
  terminal.print(
    terminal.colors.dim(runIds.length === 1 ? `npx hitzero run show ${runIds[0]}` : "npx hitzero run list"),
  );
  return 0;
}

async function waitForOne(
  client: Client,
  workflow: RegisteredWorkflow,
  submission: Submission,
  terminal: Terminal,
  lifetime: Lifetime,
  besides: Record<string, unknown>,
): Promise<number> {
  const runId = submission.runIds[0] as string;
  const { ir, workflowName, version } = workflow;
  if (submission.existing) terminal.remark(`run ${runId} was submitted before with this key`);
  const watched = { client, runId, ir, title: `${workflowName} version ${version}` };
  return followRun(watched, terminal, lifetime, besides);
}

async function waitForAll(
  client: Client,
  { runIds }: Submission,
  begun: number,
  terminal: Terminal,
  lifetime: Lifetime,
): Promise<number> {
  const bar = terminal.isLive
    ? new (await import("cli-progress")).SingleBar({
        format: "{bar} {value}/{total} runs, {duration_formatted}",
        hideCursor: true,
        barCompleteChar: "█",
        barIncompleteChar: "░",
      })
    : undefined;
  bar?.start(runIds.length, 0);
  const byStatus = await client
    .waitAll(runIds, { onProgress: (final) => bar?.update(final), signal: lifetime.signal })
    .finally(() => bar?.stop());
  const elapsedMs = performance.now() - begun;
  const final = Object.values(byStatus).reduce((total, count) => total + count, 0);
  const perSecond = Math.round((final / elapsedMs) * 1_000);
  if (terminal.json) {
    for await (const { run_id, status, output, error } of client.listResults(runIds))
      terminal.line({ run_id, status, output, error });
  } else {
    terminal.print(
      `${plural(final, "run")} ended: ${counts(byStatus)}; ${duration(elapsedMs)}, ${perSecond} runs/s`,
    );
  }
  if (lifetime.ended && final < runIds.length) {
    terminal.remark(`\n${plural(runIds.length - final, "run")} go on; see them with: npx hitzero run list`);
    return exitCodeOf(lifetime.ended);
  }
  return byStatus.COMPLETED === runIds.length ? 0 : 1;
}
