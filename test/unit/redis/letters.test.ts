/**
 * The letters of states, outcomes and kinds: one table in TypeScript, one in the scripts, which agree; and nobody else spells them. A letter
 * is told from the name of a field, which a run's state and IR have many of, by where it stands.
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
          [...(pairs as string).matchAll(/(\w+) = '(.)'/g)].map(([, name, letter]) => [name, letter]),
        ) as Record<string, string>,
      ],
    ),
  );
const tables = tablesOf("lib/letters.lua");

test("names of fields are the same in TypeScript and in the scripts", () => {
  expect(Object.fromEntries(tablesOf("lib/fields.lua"))).toEqual({ ...fields });
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

/** Where a script names a field of a hash or of a stream entry; what is asked is the line before the letter, then the whole line. */
const FIELD_BEFORE = [
  /\brun, $/,
  /\bfields?(?:\[[^\]]*\])? = $/,
  /\breturn $/,
  /'HM?GET', [^)]*$/,
  /'XADD', .*$/,
];
const FIELD_LINES = [
  /^local fields = edges_of\(run, /,
  /^outputs\[index\] = /,
  /^local name = 'w' \.\. integer\(run\.events\)/,
];
/** What else is one letter long: places in the list of what is put aside, and what an item's beginning stands for instead of a node. */
const OTHER_LETTERS = [
  "(guarded and 'g' or '-') .. kept",
  "string.sub(parked.text, 1, 1) == 'g'",
  "activate(step, run, edge, 'B' .. node",
  "string.sub(from, 1, 1) == 'B'",
];
/** Behind each event of the journal. */
const DETAIL_AND_OUTPUT = /'d', (?:''|detail), 'o', (?:''|output)/g;

function spelledByScript(text: string): string[] {
  return text.split("\n").flatMap((written) => {
    let line = written.replace(/--.*$/, "").trim().replace(DETAIL_AND_OUTPUT, "");
    for (const other of OTHER_LETTERS) line = line.replace(other, "");
    if (FIELD_LINES.some((field) => field.test(line))) return [];
    // A letter alone, before the colon of a packed value, or in a pattern.
    const spelled = [...line.matchAll(/'\^?[A-Za-z=~%][:(]?'|'[A-Z]:|\|[a-z]\||'\^[A-Z]\(/g)];
    return spelled.flatMap(({ index }) => {
      const before = line.slice(0, index);
      // What is returned is the name of a field when more of it follows.
      const isName = FIELD_BEFORE.some((field) => field.test(before));
      return isName && !/return '.'$/.test(line) ? [] : [line];
    });
  });
}

/** Names of fields that TypeScript reads or writes in a call, and flags of a pattern. */
const OTHER_CALLS = /\b(?:readFields|hmget|xadd|RegExp)\(/;

function spelledBySource(text: string): string[] {
  return text.split("\n").flatMap((written) => {
    const line = written.trim();
    if (/^(?:\*|\/\*|\/\/)/.test(line) || OTHER_CALLS.test(line)) return [];
    return /(?<![\w)])"[A-Za-z=]"|`(?:[A-Z]:|[j=]\$\{|b\$\{name|e\$\{JSON)/.test(line) ? [line] : [];
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
    "put(run, 'n' .. target, 'S:' .. reason)",
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

  test.each(['outcome: failed ? "F" : "C",', 'if (woken.startsWith("K")) {', "return `j$" + "{text}`;"])(
    "not as here: %s",
    (line) => {
      expect(spelledBySource(line)).toEqual([line]);
    },
  );
});
