/** Loads a handler module, JavaScript or TypeScript. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { types } from "node:util";
import { HitzeroError } from "../base/errors.ts";
import { describe, isOf } from "../base/foreign.ts";
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

/** Node itself imports JavaScript. tsx, which takes a while to load, serves TypeScript, and then for as long as the process lives. */
async function importModule(file: string): Promise<Record<string, unknown>> {
  if (/\.[cm]?tsx?$/.test(file)) {
    const [commonJs, esm] = await Promise.all([import("tsx/cjs/api"), import("tsx/esm/api")]);
    commonJs.register();
    esm.register();
  }
  return (await import(pathToFileURL(file).href)) as Record<string, unknown>;
}

/**
 * Imports a module of handlers by path.
 * @throws HitzeroError HANDLERS_NOT_FOUND, HANDLERS_BROKEN (it throws when imported), HANDLERS_EMPTY, HANDLER_IS_GENERATOR
 */
export async function loadHandlers(path: string): Promise<Handlers> {
  const file = resolve(path);
  if (!existsSync(file)) {
    throw new HitzeroError("HANDLERS_NOT_FOUND", `there is no handler module ${file}`, {
      hint: "Give --handlers the path of a JavaScript or TypeScript module.",
    });
  }
  let exports: Record<string, unknown>;
  try {
    exports = await importModule(file);
  } catch (error) {
    throw new HitzeroError(
      "HANDLERS_BROKEN",
      `handler module ${file} cannot be imported: ${presentable(isOf(error, Error) ? String(error) : describe(error))}`,
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
