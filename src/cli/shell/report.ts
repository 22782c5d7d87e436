/** The one way in which errors reach the user: what, where, what to do. Never a stack, never a password. */
import type { CommanderError } from "commander";
import { type Fault, HitzeroError, InvalidInputError } from "../../base/errors.ts";
import { presentable } from "../../base/text.ts";
import type { Colors } from "./terminal.ts";

interface ErrorReport {
  code: string;
  message: string;
  hint: string;
  faults: Fault[];
  exitCode: number;
  /** For `--log-level debug` only. */
  stack: string;
}

/** A command line that commander refused. */
export class UsageError extends Error {
  override readonly cause: CommanderError;
  /** With all its names: `hitzero run show`. */
  readonly command: string;

  constructor(cause: CommanderError, command: string) {
    super(cause.message);
    this.cause = cause;
    this.command = command;
  }
}

/**
 * What to tell of anything that was thrown. Coded errors hold no secrets; in all other texts URLs lose their passwords, and
 * `secrets` are masked wherever they stand.
 */
export function reportOf(error: unknown, secrets: readonly string[] = []): ErrorReport {
  const clean = (text: string) =>
    presentable(secrets.reduce((masked, secret) => masked.replaceAll(secret, "***"), text));
  const report = rawReport(error);
  const stack = clean(report.stack);
  return report.code === "INTERNAL"
    ? { ...report, message: clean(report.message), stack }
    : { ...report, stack };
}

function rawReport(error: unknown): ErrorReport {
  const stack = error instanceof Error ? stackOf(error) : "";
  if (error instanceof UsageError) return { ...usageReport(error), stack };
  if (error instanceof HitzeroError) {
    const { code, message, hint, exitCode } = error;
    const faults = error instanceof InvalidInputError ? error.faults.map(plainFault) : [];
    return { code, message, hint, faults, exitCode, stack };
  }
  return {
    code: "INTERNAL",
    message: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
    hint: "This should not happen. Run it again with --log-level debug to see where, and report it.",
    faults: [],
    exitCode: 1,
    stack,
  };
}

/** Nothing but what is documented. */
function plainFault({ code, path, message, hint }: Fault): Fault {
  return { code, path, message, hint };
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${stackOf(error.cause)}` : "";
  return `${error.stack ?? error.message}${cause}`;
}

/** Commander writes `error: MESSAGE` and, on a line of its own, `(Did you mean X?)`. */
function usageReport({ cause, command }: UsageError): Omit<ErrorReport, "stack"> {
  const [first = "", ...rest] = cause.message.split("\n");
  const suggestion = rest.join(" ").replaceAll(/[()]/g, "").trim();
  return {
    code: "USAGE",
    message: first.replace(/^error: /, ""),
    hint: suggestion || `\`npx ${command} --help\` explains it.`,
    faults: [],
    exitCode: 2,
  };
}

/** For people. */
export function reportText(report: ErrorReport, colors: Colors, withStack: boolean): string {
  const lines = [`${colors.red(`error ${report.code}:`)} ${report.message}`];
  const numbered = report.faults.length > 1;
  for (const [index, fault] of report.faults.entries()) {
    const number = numbered ? `${String(index + 1).padStart(String(report.faults.length).length)}. ` : "";
    const indent = " ".repeat(2 + number.length);
    lines.push(`  ${number}${colors.bold(fault.code)} at ${colors.cyan(fault.path)}: ${fault.message}`);
    if (fault.hint) lines.push(`${indent}${colors.dim("hint:")} ${fault.hint}`);
  }
  if (report.hint && report.faults.length === 0) lines.push(`${colors.dim("hint:")} ${report.hint}`);
  if (withStack && report.stack) lines.push(report.stack);
  return lines.join("\n");
}

/** For programs. */
export function reportJson(report: ErrorReport): object {
  const { code, message, hint, faults } = report;
  return { error: { code, message, hint, faults } };
}
