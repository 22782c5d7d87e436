/** Workflow files and inputs as the user names them: paths, `-` for standard input, names of registered workflows. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import { HitzeroError, InvalidInputError } from "../../base/errors.ts";
import { type Compiled, type CompileOptions, compile } from "../../workflow/compile/compile.ts";
import { parseWorkflowText } from "../../workflow/file/parse.ts";

/** What a command's FILE, IR or NAME stands for. */
type Source = { file: string } | { name: string; version?: number };

/** A path has a slash or an ending of JSON or YAML; anything else is the name of a registered workflow. */
export function sourceOf(text: string): Source {
  if (text === "-" || /[/\\]|\.(json|ya?ml)$/i.test(text)) return { file: text };
  const [, name = text, version] = /^(.*)@(\d+)$/.exec(text) ?? [];
  if (name === "" || text.endsWith("@")) {
    throw new HitzeroError("BAD_NAME", `${JSON.stringify(text)} names no workflow`, {
      hint: "Write a file's path, NAME or NAME@VERSION.",
    });
  }
  return version === undefined ? { name } : { name, version: Number(version) };
}

/**
 * Reads a workflow file or IR; `-` is standard input.
 * @throws HitzeroError FILE_NOT_FOUND, FILE_UNREADABLE, FILE_TOO_LARGE; InvalidInputError when it does not parse
 */
export function readDocument(path: string): unknown {
  return parseWorkflowText(readText(path), path === "-" ? "standard input" : path);
}

/** Where neither the file nor its metadata names the workflow, the file's own name does; standard input has none. */
export function namedAfter(path: string): CompileOptions {
  if (path === "-") return {};
  return { defaultName: basename(path).replace(/\.(json|ya?ml)$/i, "") };
}

/** Compiles what was read from `path`. @throws InvalidInputError that names the file */
export function compileDocument(document: unknown, path: string): Compiled {
  try {
    return compile(document, namedAfter(path));
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    throw new InvalidInputError(path === "-" ? "standard input" : path, error.faults);
  }
}

/**
 * The value of a flag (the run's input, unless another is named): JSON, or `@FILE` with JSON or YAML in it.
 * @throws HitzeroError and InvalidInputError as `readDocument`
 */
export function readInput(text: string, flag = "--input"): unknown {
  if (text.startsWith("@")) return readDocument(text.slice(1));
  try {
    return parseWorkflowText(text, "input.json");
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    // The usual slip: the @ before a file's name is missing.
    if (!existsSync(text)) throw new InvalidInputError(flag, error.faults);
    throw new HitzeroError("BAD_INPUT", `${flag} holds the name of a file, not JSON`, {
      hint: `Write an @ before it: ${flag} @${text}`,
    });
  }
}

/** Larger files are no workflows; they are not even read. Bytes. */
const MOST_BYTES = 128 * 1024 * 1024;

function readText(path: string): string {
  try {
    if (path !== "-" && statSync(path).size > MOST_BYTES) {
      throw new HitzeroError("FILE_TOO_LARGE", `${path} has more than ${MOST_BYTES} bytes`, {
        hint: "Pass large data by reference (a path, a URL).",
      });
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path === "-" ? 0 : path));
  } catch (error) {
    throw fileFault(error, path);
  }
}

function fileFault(error: unknown, path: string): unknown {
  if (error instanceof TypeError) {
    return new HitzeroError("FILE_UNREADABLE", `${path} is not UTF-8 text`, { hint: "Save it as UTF-8." });
  }
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof HitzeroError || code === undefined) return error;
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new HitzeroError("FILE_NOT_FOUND", `there is no file ${path}`, {
      hint: "Check the path; it is taken from the current folder.",
    });
  }
  const what = code === "EISDIR" ? "is a folder" : `cannot be read (${code})`;
  return new HitzeroError("FILE_UNREADABLE", `${path} ${what}`, { hint: "Name a file that you may read." });
}
