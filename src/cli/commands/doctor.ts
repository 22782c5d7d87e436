import type { Command } from "commander";
import type { Check, CheckStatus } from "../doctor/check.ts";
import type { Act } from "../program.ts";
import { plural } from "../shell/format.ts";
import type { Invocation } from "../shell/invocation.ts";
import type { Terminal } from "../shell/terminal.ts";

export function addDoctor(program: Command, act: Act): void {
  program
    .command("doctor")
    .description("check versions, connections, durability, partitions, processes, and say what to do")
    .addHelpText(
      "after",
      `
Changes nothing. Exit code 0: nothing fails (warnings may be there), 1: something fails, 3: a server is away.

Examples:
  npx hitzero doctor
  npx hitzero doctor --json | jq '.checks[] | select(.status != "ok")'`,
    )
    .action(act(doctor));
}

async function doctor(invocation: Invocation): Promise<number> {
  const { terminal } = invocation;
  const servers = invocation.servers();
  const { examine } = await import("../doctor/examine.ts");
  const { checks, away } = await examine(servers);
  const failed = checks.filter(({ status }) => status === "fail").length;
  if (terminal.json) terminal.document({ ok: failed === 0, away, checks });
  else print(checks, terminal);
  return away ? 3 : failed > 0 ? 1 : 0;
}

const SIGNS: Record<CheckStatus, string> = { ok: "✔", warn: "!", fail: "✘" };

function print(checks: readonly Check[], terminal: Terminal): void {
  const { colors } = terminal;
  const paint = { ok: colors.green, warn: colors.yellow, fail: colors.red };
  const width = Math.max(...checks.map(({ area }) => area.length));
  for (const { area, status, message, hint } of checks) {
    terminal.print(`${paint[status](SIGNS[status])} ${colors.dim(area.padEnd(width))}  ${message}`);
    if (hint) terminal.print(`${" ".repeat(width + 4)}${colors.dim(`hint: ${hint}`)}`);
  }
  const count = (status: CheckStatus) => checks.filter((check) => check.status === status).length;
  const [warnings, failures] = [count("warn"), count("fail")];
  const verdict =
    failures + warnings === 0
      ? colors.green("everything is well")
      : [plural(failures, "failure"), plural(warnings, "warning")].join(", ");
  terminal.print(`\n${verdict}`);
}
