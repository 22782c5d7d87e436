/** Loads a handler module, JavaScript or TypeScript. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { types } from "node:util";
import { HitzeroError } from "../base/errors.ts";
import { describe, isOf, read } from "../base/foreign.ts";
import { presentable } from "../base/text.ts";
import type { Handler, Handlers } from "./types.ts";

/** A generator function only makes an iterator: nothing of it would run, and its output would be {}. */
function refuseGenerator(name: string, handler: Handler): void {
  if (!types.isGeneratorFunction(handler)) return;
  throw new HitzeroError("HANDLER_IS_GENERATOR", `handler ${name} is a generator function (function*)`, {
    hint: "Write async function without the *, and return a list; do not export it if it is no handler.",
  });
}

/**
 * Each function that an object holds, by its name; a default export that is an object counts too. A CommonJS module, which is what
 * TypeScript becomes outside `"type": "module"`, has all its exports, `default` among them, under `default`.
 * @throws HitzeroError HANDLER_IS_GENERATOR
 */
export function handlersOf(exports: Record<string, unknown>): Handlers {
  const handlers = new Map<string, Handler>();
  const outer = objectAt(exports, "default");
  for (const source of [objectAt(outer, "default"), outer, exports]) {
    for (const [name, value] of Object.entries(source)) {
      if (typeof value !== "function" || name === "default") continue;
      refuseGenerator(name, value as Handler);
      handlers.set(name, value as Handler);
    }
  }
  return handlers;
}

function objectAt(value: Record<string, unknown>, key: string): Record<string, unknown> {
  const inner = value[key];
  return typeof inner === "object" && inner !== null ? (inner as Record<string, unknown>) : {};
}

/** A module that is not imported by then never will be. Milliseconds. */
export const IMPORT_LIMIT_MS = 20_000;

/** Node itself imports JavaScript. tsx, which takes a while to load, serves TypeScript, and then for as long as the process lives. */
async function importModule(file: string): Promise<Record<string, unknown>> {
  if (/\.[cm]?tsx?$/.test(file)) {
    const [commonJs, esm] = await Promise.all([import("tsx/cjs/api"), import("tsx/esm/api")]);
    commonJs.register();
    esm.register();
  }
  return (await import(pathToFileURL(file).href)) as Record<string, unknown>;
}

async function withinLimit<T>(work: Promise<T>, file: string, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const message = `handler module ${file} was not imported within ${limitMs / 1_000} s: it awaits something that does not come`;
    const hint = "Do the work in a handler, not at the top level of the module.";
    timer = setTimeout(() => reject(new HitzeroError("HANDLERS_HANG", message, { hint })), limitMs);
  });
  // Whichever comes second is nobody's.
  work.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Where in the user's code an error was thrown, ` (at …)`. */
function placeOf(error: unknown): string {
  const stack = read(error, "stack");
  const frame =
    typeof stack === "string" ? /\n\s+at (?!.*(?:node:|node_modules))(.+)/.exec(stack)?.[1] : undefined;
  return frame === undefined ? "" : ` (at ${frame})`;
}

/**
 * Imports a module of handlers by path.
 * @throws HitzeroError HANDLERS_NOT_FOUND, HANDLERS_BROKEN (it throws when imported), HANDLERS_HANG (not imported in time), HANDLERS_EMPTY, HANDLER_IS_GENERATOR
 */
export async function loadHandlers(path: string, limitMs = IMPORT_LIMIT_MS): Promise<Handlers> {
  const file = resolve(path);
  if (!existsSync(file)) {
    throw new HitzeroError("HANDLERS_NOT_FOUND", `there is no handler module ${file}`, {
      hint: "Give --handlers the path of a JavaScript or TypeScript module.",
    });
  }
  let exports: Record<string, unknown>;
  try {
    exports = await withinLimit(importModule(file), file, limitMs);
  } catch (error) {
    if (isOf(error, HitzeroError) && error.code === "HANDLERS_HANG") throw error;
    throw new HitzeroError(
      "HANDLERS_BROKEN",
      `handler module ${file} cannot be imported: ${presentable(isOf(error, Error) ? String(error) : describe(error))}${placeOf(error)}`,
      {
        hint: "Mend the module; `node --check` or `npx tsx` on it shows the place.",
        ...(isOf(error, Error) ? { cause: error } : {}),
      },
    );
  }
  const handlers = handlersOf(exports);
  if (handlers.size === 0) {
    throw new HitzeroError("HANDLERS_EMPTY", `handler module ${file} exports no function`, {
      hint: "Export each handler by its name: export async function fetch_data({ data }) { … }",
    });
  }
  return handlers;
}
