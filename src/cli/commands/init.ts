import { mkdirSync, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import type { Command } from "commander";
import { HitzeroError } from "../../base/errors.ts";
import { VERSION } from "../../engine/version.ts";
import { PACKAGE } from "../package_files.ts";
import type { Act } from "../program.ts";
import type { Terminal } from "../shell/terminal.ts";
import { starterFiles } from "../starter_files.ts";

export function addInit(program: Command, act: Act): void {
  program
    .command("init")
    .description("write a starter project: a workflow, its functions, servers, a README")
    .argument("[folder]", "where to; made if missing", ".")
    .addHelpText(
      "after",
      `
Needs no server. Files that are there already are left as they are.

Examples:
  npx hitzero init my-workflows
  cd existing-project && npx hitzero init`,
    )
    .action(
      act(async ({ args, terminal }) => {
        const folder = args[0] ?? ".";
        const { created, kept } = write(folder);
        if (terminal.json) terminal.document({ folder: resolve(folder), created, kept });
        else tell(folder, created, kept, terminal);
        return 0;
      }),
    );
}

/** Names of the files that were written, and of those that were there. */
function write(folder: string): { created: string[]; kept: string[] } {
  const files = starterFiles(packageName(folder), dependencyOn(folder));
  const result = { created: [] as string[], kept: [] as string[] };
  try {
    mkdirSync(folder, { recursive: true });
    for (const { name, text } of files) {
      const list = writeNew(join(folder, name), text) ? result.created : result.kept;
      list.push(name);
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new HitzeroError("FILE_UNWRITABLE", `files cannot be written to ${folder} (${code})`, {
      hint: "Name a folder that you may write to.",
      cause: error,
    });
  }
  return result;
}

/** False: there is such a file already, and it stays as it is. */
function writeNew(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function packageName(folder: string): string {
  const name = basename(resolve(folder))
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, "-")
    .replaceAll(/^[._-]+|-+$/g, "");
  return name || "workflows";
}

/** This release; a checkout, which npm knows nothing of, by its path. */
function dependencyOn(folder: string): string {
  if (/[/\\]node_modules[/\\]/.test(PACKAGE)) return `^${VERSION}`;
  return `file:${relative(resolve(folder), PACKAGE).replaceAll("\\", "/") || "."}`;
}

function tell(folder: string, created: readonly string[], kept: readonly string[], terminal: Terminal): void {
  const { colors } = terminal;
  for (const name of created) terminal.print(`${colors.green("✔")} ${join(folder, name)}`);
  for (const name of kept)
    terminal.print(`${colors.dim("·")} ${join(folder, name)} was there and stays as it is`);
  const steps = [
    ...(resolve(folder) === process.cwd() ? [] : [`cd ${folder}`]),
    "npm install",
    "npx hitzero up                      local servers and workers, until Ctrl-C; then in a second terminal:",
    `npx hitzero submit workflow.yaml --input '{"order_id": "A-17"}' --wait`,
  ];
  terminal.print(`\nNext:\n${steps.map((step) => `  ${step}`).join("\n")}`);
}
