import { Argument, type Command } from "commander";
import { completionScript, SHELLS, type Shell } from "../completion/scripts.ts";
import { completionTree } from "../completion/tree.ts";
import type { Act } from "../program.ts";

export function addCompletion(program: Command, act: Act): void {
  program
    .command("completion")
    .description("print a script that completes commands and flags in a shell")
    .addArgument(new Argument("<shell>", "which shell").choices(SHELLS))
    .addHelpText(
      "after",
      `
For the command \`hitzero\`, as \`npm install --global hitzero\` makes it. With --json the commands and flags themselves.

Examples:
  bash   echo 'source <(hitzero completion bash)' >> ~/.bashrc
  zsh    echo 'source <(hitzero completion zsh)' >> ~/.zshrc        after compinit
  fish   hitzero completion fish > ~/.config/fish/completions/hitzero.fish`,
    )
    .action(
      act(async ({ args, terminal }) => {
        const tree = completionTree(program);
        if (terminal.json) terminal.document({ places: tree });
        else terminal.print(completionScript(args[0] as Shell, tree));
        return 0;
      }),
    );
}
