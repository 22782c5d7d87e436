import { writeFileSync } from "node:fs";
import type { Command } from "commander";
import { HitzeroError, InvalidInputError } from "../../base/errors.ts";
import type { Compiled } from "../../workflow/compile/compile.ts";
import { explain } from "../../workflow/compile/explain.ts";
import type { Act } from "../program.ts";
import { explanationLines, listed } from "../run/explain_text.ts";
import { plural } from "../shell/format.ts";
import type { Terminal } from "../shell/terminal.ts";

interface Flags {
  out?: string;
  explain?: boolean;
  strict?: boolean;
}

export function addCompile(program: Command, act: Act): void {
  program
    .command("compile")
    .description("check a workflow file, and compile it")
    .argument("<file>", "workflow file (JSON or YAML) or IR; - reads standard input")
    .option("--out <file>", "write the compiled form (IR, JSON) to this file; - is standard output")
    .option(
      "--explain",
      "tell what it will do: levels, bodies, joins, cancel regions, compensations, semaphores",
    )
    .option("--strict", "refuse what only gives warnings elsewhere")
    .addHelpText(
      "after",
      `
Needs no server. All faults are listed at once, each with its place and what to do.

Examples:
  npx hitzero compile workflow.yaml
  npx hitzero compile workflow.yaml --explain
  npx hitzero compile workflow.yaml --out workflow.ir.json
  cat workflow.json | npx hitzero compile - --json`,
    )
    .action(
      act<Flags>(async ({ args, flags, terminal }) => {
        const { compileDocument, readDocument } = await import("../shell/documents.ts");
        const file = args[0] as string;
        const compiled = compileDocument(readDocument(file), file);
        if (flags.strict && compiled.warnings.length > 0)
          throw new InvalidInputError(file === "-" ? "standard input" : file, compiled.warnings);
        if (flags.out === "-") terminal.print(JSON.stringify(compiled.ir, null, 2));
        else if (flags.out !== undefined) writeIr(flags.out, compiled);
        if (flags.out !== "-") show(compiled, terminal, flags);
        return 0;
      }),
    );
}

function writeIr(path: string, { ir }: Compiled): void {
  try {
    writeFileSync(path, `${JSON.stringify(ir, null, 2)}\n`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new HitzeroError("FILE_UNWRITABLE", `${path} cannot be written (${code})`, {
      hint: "Name a file in a folder that exists and that you may write to.",
    });
  }
}

function show({ ir, digest, warnings }: Compiled, terminal: Terminal, flags: Flags): void {
  const { out } = flags;
  const ids = (indexes: readonly number[]) => indexes.map((index) => ir.nodes[index]?.id as string);
  const facts = { name: ir.name, digest, nodes: ir.nodes.length, edges: ir.edges.length, levels: ir.levels };
  const [entries, terminals] = [ids(ir.entries), ids(ir.terminals)];
  const explanation = flags.explain ? explain(ir) : undefined;
  if (terminal.json) {
    terminal.document({
      ...facts,
      entries,
      terminals,
      warnings,
      ...(out ? { out } : {}),
      ...(explanation ? { explanation } : {}),
    });
    return;
  }
  const { colors } = terminal;
  terminal.print(`${colors.green("✔")} ${colors.bold(ir.name)} is valid`);
  terminal.print(`  digest     ${digest}`);
  terminal.print(
    `  graph      ${plural(facts.nodes, "node")}, ${plural(facts.edges, "edge")}, ${plural(facts.levels, "level")}`,
  );
  terminal.print(`  entries    ${listed(entries)}`);
  terminal.print(`  terminals  ${listed(terminals)}`);
  if (out) terminal.print(`  IR         ${out}`);
  for (const line of explanation ? explanationLines(explanation, colors) : []) terminal.print(line);
  terminal.warnOf(warnings);
}
