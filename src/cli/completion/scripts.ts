/** Completion scripts: a `case` over the words typed so far finds the place, and the place has its commands and flags. */
import type { CompletionFlag, CompletionPlace } from "./tree.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

export function completionScript(shell: Shell, places: readonly CompletionPlace[]): string {
  return { bash, zsh, fish }[shell](places);
}

/** Flags whose value is one of a few words, once each. */
function choiceFlags(places: readonly CompletionPlace[]): CompletionFlag[] {
  const flags = places.flatMap((place) => place.flags).filter(({ choices }) => choices.length > 0);
  return [...new Map(flags.map((flag) => [flag.names[0], flag])).values()];
}

/** Flags whose value may be anything: file names are offered. */
function valueFlags(places: readonly CompletionPlace[]): string[] {
  const flags = places
    .flatMap((place) => place.flags)
    .filter(({ takesValue, choices }) => takesValue && choices.length === 0);
  return [...new Set(flags.flatMap(({ names }) => names))];
}

/** In bash and zsh: how the words before lead from place to place. */
function steps(places: readonly CompletionPlace[]): string[] {
  return places
    .filter(({ place }) => place !== "")
    .map(({ place }) => {
      const words = place.split(" ");
      const from = words.slice(0, -1).join(" ");
      return `      "${from} ${words.at(-1)}") at="${place}" ;;`;
    });
}

function bash(places: readonly CompletionPlace[]): string {
  const cases = places.map(({ place, commands, flags }) => {
    const names = commands.map(({ name }) => name).join(" ");
    return `    "${place}") commands="${names}"; flags="${flags.flatMap((flag) => flag.names).join(" ")}" ;;`;
  });
  const choices = choiceFlags(places).map(
    ({ names, choices }) =>
      `    ${names.join("|")}) COMPREPLY=($(compgen -W "${choices.join(" ")}" -- "$current")); return ;;`,
  );
  return `# bash completion of hitzero
_hitzero() {
  local current="\${COMP_WORDS[COMP_CWORD]}" before="" at="" commands="" flags="" index
  if ((COMP_CWORD > 0)); then before="\${COMP_WORDS[COMP_CWORD - 1]}"; fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    case "$at \${COMP_WORDS[index]}" in
${steps(places).join("\n")}
    esac
  done
  case "$before" in
${choices.join("\n")}
    ${valueFlags(places).join("|")}) COMPREPLY=(); return ;;
  esac
  case "$at" in
${cases.join("\n")}
  esac
  if [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  else
    COMPREPLY=($(compgen -W "$commands" -- "$current"))
  fi
}
complete -o default -F _hitzero hitzero`;
}

function zsh(places: readonly CompletionPlace[]): string {
  const described = (items: readonly { name: string; description: string }[]) =>
    items
      .map(({ name, description }) => quoted(`${name}:${description.replaceAll(":", "\\:")}`, "zsh"))
      .join(" ");
  const cases = places.map(({ place, commands, flags }) => {
    const named = flags.flatMap(({ names, description }) => names.map((name) => ({ name, description })));
    return `    "${place}")\n      commands=(${described(commands)})\n      flags=(${described(named)}) ;;`;
  });
  const choices = choiceFlags(places).map(
    ({ names, choices }) => `    ${names.join("|")}) compadd -- ${choices.join(" ")}; return ;;`,
  );
  return `#compdef hitzero
# zsh completion of hitzero
_hitzero() {
  local at="" index
  local -a commands flags
  for ((index = 2; index < CURRENT; index++)); do
    case "$at \${words[index]}" in
${steps(places).join("\n")}
    esac
  done
  case "\${words[CURRENT - 1]}" in
${choices.join("\n")}
    ${valueFlags(places).join("|")}) _files; return ;;
  esac
  case "$at" in
${cases.join("\n")}
  esac
  if [[ "\${words[CURRENT]}" == -* ]]; then
    _describe flag flags
  elif ((\${#commands})); then
    _describe command commands
  else
    _files
  fi
}
compdef _hitzero hitzero`;
}

function fish(places: readonly CompletionPlace[]): string {
  const moves = places
    .filter(({ place }) => place !== "")
    .map(({ place }) => {
      const words = place.split(" ");
      return `      case ${quoted(`${words.slice(0, -1).join(" ")} ${words.at(-1)}`)}\n        set at ${quoted(place)}`;
    });
  const lines = places.flatMap(({ place, commands, flags }) => {
    const here = `complete -c hitzero -n ${quoted(`__hitzero_at ${quoted(place)}`)}`;
    return [
      ...commands.map(({ name, description }) => `${here} -f -a ${name} -d ${quoted(description)}`),
      ...flags.map((flag) => `${here} ${fishFlag(flag)}`),
    ];
  });
  return `# fish completion of hitzero
function __hitzero_at
  set -l at ''
  for word in (commandline -opc)[2..-1]
    switch "$at $word"
${moves.join("\n")}
    end
  end
  test "$at" = "$argv[1]"
end
${lines.join("\n")}`;
}

function fishFlag({ names, description, takesValue, choices }: CompletionFlag): string {
  const forms = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const value = choices.length > 0 ? ` -x -a ${quoted(choices.join(" "))}` : takesValue ? " -r" : "";
  return `${forms.join(" ")}${value} -d ${quoted(description)}`;
}

/** A word in single quotes. Fish, unlike the others, takes a backslash there for an escape. */
function quoted(text: string, shell: Shell = "fish"): string {
  const escaped = shell === "fish" ? text.replaceAll("\\", "\\\\") : text;
  return `'${escaped.replaceAll("'", "'\\''")}'`;
}
