/** Imports go down only (STYLE, Layers). */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { expect, test } from "vitest";

/** What each folder may import from besides itself. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  base: [],
  workflow: ["base"],
  token: ["workflow", "base"],
  redis: ["token", "workflow", "base"],
  postgres: ["token", "workflow", "base"],
  handlers: ["token", "workflow", "base"],
  local: ["postgres", "base"],
  engine: ["handlers", "redis", "postgres", "token", "workflow", "base"],
  cli: ["local", "engine", "handlers", "redis", "postgres", "token", "workflow", "base"],
};
/** Folders that do no input or output. */
const PURE = ["workflow", "token"];
const ENTRY = ["index.ts"];

const source = resolve(import.meta.dirname, "../../src");
const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) =>
  file.endsWith(".ts"),
);

function importsOf(file: string): string[] {
  const text = readFileSync(join(source, file), "utf8");
  return [...text.matchAll(/^(?:import|export)[^;]*?from "([^"]+)"|import\("([^"]+)"\)/gms)].map(
    (match) => match[1] ?? (match[2] as string),
  );
}

test.each(files.filter((file) => !ENTRY.includes(file)))("%s imports downwards only", (file) => {
  const layer = file.split("/")[0] as string;
  expect(Object.keys(MAY_IMPORT), `${file} lies in no known layer`).toContain(layer);
  for (const specifier of importsOf(file)) {
    if (!specifier.startsWith(".")) {
      if (PURE.includes(layer))
        expect(specifier, `${file} is pure`).not.toMatch(/^node:(?!crypto)|^(ioredis|pg|pino)$/);
      continue;
    }
    const target = relative(source, resolve(source, dirname(file), specifier)).split("/")[0] as string;
    if (target !== layer) expect(MAY_IMPORT[layer], `${file} imports ${specifier}`).toContain(target);
  }
});

test("only redis/ speaks to Redis and only postgres/ to Postgres (local/ asks whether its own is up)", () => {
  const speakers = (library: string) =>
    files.filter((file) => importsOf(file).includes(library)).map((file) => file.split("/")[0]);
  expect(new Set(speakers("ioredis"))).toEqual(new Set(["redis"]));
  expect(speakers("pg").filter((layer) => layer !== "postgres" && layer !== "local")).toEqual([]);
});
