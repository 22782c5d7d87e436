/** The commands and flags as completions need them, read from the program itself: nothing is listed twice. */
import type { Command, Option } from "commander";

export interface CompletionFlag {
  /** Such as `--json` and `-h`. */
  names: string[];
  description: string;
  takesValue: boolean;
  choices: readonly string[];
}

/** One command, by its place: `""` is the program, `run list` a subcommand. */
export interface CompletionPlace {
  place: string;
  commands: { name: string; description: string }[];
  flags: CompletionFlag[];
}

/** All places, the program first. */
export function completionTree(program: Command): CompletionPlace[] {
  return placesOf(program, [], flagsOf(program));
}

function placesOf(command: Command, names: readonly string[], common: CompletionFlag[]): CompletionPlace[] {
  const help = names.length === 0 || command.commands.length > 0 ? [HELP] : [];
  const children = command.commands.map((child) => ({
    name: child.name(),
    description: child.description(),
  }));
  // What an argument may be, as the shell's name of `completion`, is offered like commands.
  const words = command.registeredArguments.flatMap(({ argChoices, description }) =>
    (argChoices ?? []).map((name) => ({ name, description })),
  );
  const own = names.length === 0 ? [] : flagsOf(command);
  const here: CompletionPlace = {
    place: names.join(" "),
    commands: [...children, ...words, ...help],
    flags: [...own, ...common, HELP_FLAG],
  };
  const below = command.commands.flatMap((child) => placesOf(child, [...names, child.name()], common));
  return [here, ...below];
}

const HELP = { name: "help", description: "explain a command" };
const HELP_FLAG: CompletionFlag = {
  names: ["--help", "-h"],
  description: "explain a command",
  takesValue: false,
  choices: [],
};

/** Those that help shows. */
function flagsOf({ options }: Command): CompletionFlag[] {
  return options.filter(({ hidden }) => !hidden).map(flagOf);
}

function flagOf(option: Option): CompletionFlag {
  return {
    names: [option.long, option.short].filter((name) => name !== undefined && name !== null),
    description: option.description,
    takesValue: option.required || option.optional,
    choices: option.argChoices ?? [],
  };
}
