/**
 * The letters of states, outcomes and kinds, and the names of fields: one table in TypeScript, one in the scripts, which agree; and nobody
 * else spells them.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import * as fields from "../../../src/redis/run_state.ts";
import * as letters from "../../../src/token/letters.ts";

const LUA = new URL("../../../lua/", import.meta.url);
const SRC = new URL("../../../src/", import.meta.url);

function filesIn(folder: URL, ending: string): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names.filter((name) => name.endsWith(ending)).sort();
}

const tablesOf = (file: string) =>
  new Map(
    [...readFileSync(new URL(file, LUA), "utf8").matchAll(/^local (\w+) = \{([^}]*)\}/gm)].map(
      ([, table, pairs]) => [
        table as string,
        Object.fromEntries(
          [...(pairs as string).matchAll(/(\w+) = '([^']*)'/g)].map(([, name, letter]) => [name, letter]),
        ) as Record<string, string>,
      ],
    ),
  );
const tables = tablesOf("lib/letters.lua");

test("names of fields are the same in TypeScript and in the scripts", () => {
  const named = Object.entries(fields).filter(([, table]) => typeof table === "object");
  expect(Object.fromEntries(tablesOf("lib/fields.lua"))).toEqual(Object.fromEntries(named));
});

/** Tables of which TypeScript has the letters that it meets: the others stay within the scripts. */
const SHARED_IN_PART = ["EXECUTION", "STATUS", "MODE"];
const ONLY_OF_SCRIPTS = ["ASIDE"];

describe("letters", () => {
  test.each(Object.entries(letters))("%s are the same in TypeScript and in the scripts", (name, table) => {
    const others = SHARED_IN_PART.includes(name) ? tables.get(name) : {};
    expect(tables.get(name)).toEqual({ ...others, ...table });
  });

  test("of every table of the scripts are TypeScript's, too", () => {
    expect([...tables.keys()].sort()).toEqual([...Object.keys(letters), ...ONLY_OF_SCRIPTS].sort());
  });

  test.each([...tables])("%s differ from each other", (_name, table) => {
    expect(new Set(Object.values(table)).size).toBe(Object.keys(table).length);
  });
});

/** What else is one letter long: marks in the list of what is put aside. */
const OTHER_LETTERS = ["(guarded and 'g' or '-') .. kept", "string.sub(parked.text, 1, 1) == 'g'"];
/** Behind each event of the journal. */
const DETAIL_AND_OUTPUT = /'d', (?:''|detail), 'o', (?:''|output)/g;

/** Fields of a stream's entry. */
const OF_ENTRY = /'XADD', .*$/;

function spelledByScript(text: string): string[] {
  return text.split("\n").flatMap((written) => {
    let line = written.replace(/--.*$/, "").trim().replace(DETAIL_AND_OUTPUT, "").replace(OF_ENTRY, "");
    for (const other of OTHER_LETTERS) line = line.replace(other, "");
    // A letter alone, before the colon of a packed value, or in a pattern.
    return /'\^?[A-Za-z=~%][:(@]?'|'[A-Z]:|\|[a-z]\||'\^[A-Z]\(/.test(line) ? [line] : [];
  });
}

/** Flags of a pattern, the name of a blob, a rule. */
const OTHERS = /\bRegExp\(|`i\$\{map\}\$\{scope|`q\$\{rule\.quorum\}`/;

function spelledBySource(text: string): string[] {
  return text.split("\n").flatMap((written) => {
    const line = written.trim();
    if (/^(?:\*|\/\*|\/\/)/.test(line) || OTHERS.test(line)) return [];
    return /(?<![\w)])"[A-Za-z=]"|`(?:[A-Z]:|[A-Za-z=]\$\{)/.test(line) ? [line] : [];
  });
}

function spelled(folder: URL, names: readonly string[], find: (text: string) => string[]): string[] {
  return names.flatMap((name) =>
    find(readFileSync(new URL(name, folder), "utf8")).map((line) => `${name}: ${line}`),
  );
}

describe("nobody spells a letter but its table", () => {
  test("in the scripts", () => {
    const names = filesIn(LUA, ".lua").filter((name) => !/^lib\/(?:letters|fields)\.lua$/.test(name));
    expect(spelled(LUA, names, spelledByScript)).toEqual([]);
  });

  test("in TypeScript", () => {
    const names = filesIn(SRC, ".ts").filter((name) => /^(?:engine|redis|token)\//.test(name));
    // One has the table; the other has arguments of commands.
    const owners = ["token/letters.ts", "redis/run_state.ts", "redis/rights.ts"];
    const others = names.filter((name) => !owners.includes(name));
    expect(spelled(SRC, others, spelledBySource)).toEqual([]);
  });

  test.each([
    "if kind ~= 'A' then return end",
    "local held = 'A:' .. call.nonce",
    "put(run, field, table.concat({ 'X', nonce }, ':'))",
    "put(run, FIELD.execution .. target, 'S:' .. reason)",
    "put(run, 'n' .. target, state)",
    "local field = 'c@' .. scope",
    "redis.call('HGET', run.key, 'g')",
    "work[#work + 1] = { node, scope, 1, 'N' }",
    "  return 'n'",
    "wake(step, run, node, scope, queue, 'K' .. told)",
    "local total = string.match(top[4], '^D(%d+)$')",
    "string.match(kept, '^[^|]*|n|[^|]*$')",
    "put_active(run, field, nonce, delivery, attempt, run.paused and '~' or '', sources)",
    "journal_step('w', journal_record(step, run, first_event, {}), '', '')",
  ])("not as here: %s", (line) => {
    expect(spelledByScript(line)).toEqual([line.trim()]);
  });

  test.each([
    "return `n$" + "{node}`;",
    'outcome: failed ? "F" : "C",',
    'if (woken.startsWith("K")) {',
    "return `j$" + "{text}`;",
  ])("not as here: %s", (line) => {
    expect(spelledBySource(line)).toEqual([line]);
  });
});
