/** What a run came to, for people. */
import type { RunRow } from "../../postgres/runs.ts";
import type { ErrorCause } from "../../token/journal.ts";
import { coloured, duration, icon } from "../shell/format.ts";
import type { Terminal } from "../shell/terminal.ts";

const MOST_OUTPUT = 4_000;

/** Time from submission to the end, or until now. Milliseconds. */
export function runDuration(run: Pick<RunRow, "submitted_at" | "completed_at">): number {
  return Math.max(0, (run.completed_at ?? new Date()).getTime() - run.submitted_at.getTime());
}

export function printOutcome(run: RunRow, terminal: Terminal): void {
  const { colors } = terminal;
  const sign = run.status === "PAUSED" ? icon("PENDING") : icon(run.status);
  const time = duration(runDuration(run));
  terminal.print(
    `${sign}run ${run.run_id} ${coloured(run.status, colors)} ${run.completed_at ? "in" : "for"} ${time}`,
  );
  printResult(run, terminal);
}

/** What led to an error, each cause indented below what it led to. */
export function causeLines(causes: readonly ErrorCause[] = []): string[] {
  return causes.map(({ depth, code, message }) => {
    const text = code === undefined || message.includes(code) ? message : `${code}: ${message}`;
    return `${"  ".repeat(depth)}caused by ${text}`;
  });
}

/** Output or error. */
export function printResult(run: RunRow, terminal: Terminal): void {
  const { colors } = terminal;
  if (run.error) {
    terminal.print(`${colors.red(`error ${run.error.code}:`)} ${run.error.message}`);
    for (const line of causeLines(run.error.causes)) terminal.print(colors.dim(line));
  }
  if (run.status !== "COMPLETED") return;
  const text = JSON.stringify(run.output, null, 2) ?? "null";
  const rest = text.length - MOST_OUTPUT;
  terminal.print(`${colors.dim("output")} ${rest > 0 ? `${text.slice(0, MOST_OUTPUT)}…` : text}`);
  if (rest > 0) terminal.print(colors.dim(`(${rest} more characters; --json prints it whole)`));
}
