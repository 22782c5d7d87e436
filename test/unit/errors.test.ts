/** docs/errors.md lists the codes that the source can raise: all of them, and no others. */
import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";

const ROOT = resolve(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(resolve(ROOT, path), "utf8");

/** Words of the same form that are no codes of ours: of the system, of libraries, of files. */
const OTHERS =
  /^(HITZERO_\w+|EAI_AGAIN|ERR_BUFFER_TOO_LARGE|MULTIPLE_DOCS|TAG_RESOLVE_FAILED|PG_VERSION|VERSION_ID)$/;

/** `"LIKE_THIS"` anywhere; a code of one word where an error or a fault is made. */
const WORDS = /"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"/g;
const SINGLE = /(?:\bcode: |(?:Error|super|coded|fault|add|report)\(\s*)"([A-Z][A-Z0-9]+)"/g;

const source = readdirSync(resolve(ROOT, "src"), { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .map((path) => read(`src/${path}`))
  .join("\n");
const raised = [WORDS, SINGLE]
  .flatMap((form) => [...source.matchAll(form)])
  .map(([, code]) => code as string)
  .filter((code) => !OTHERS.test(code));

/** First cells of the tables. */
const documented = read("docs/errors.md")
  .split("\n")
  .filter((line) => line.startsWith("| `"))
  .flatMap((line) => [...(line.split(" | ")[0] as string).matchAll(/`([A-Z0-9_]+)`/g)])
  .map(([, code]) => code as string);

test("every code that the source can raise is documented", () => {
  expect([...new Set(raised)].filter((code) => !documented.includes(code)).sort()).toEqual([]);
});

test("every documented code can be raised", () => {
  expect(documented.filter((code) => !raised.includes(code))).toEqual([]);
});
